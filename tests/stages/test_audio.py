"""The pipeline on speech: spectrograms of clips, by people whom no training has heard."""

import json
import re

import pytest
import torch

from tests.data.sounds import write_clips
from tests.stages.tiny import run_all, tiny
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.data.schema import columns_of
from winnow.data.storage import read_manifest, read_split
from winnow.run.model import load_model, prepared
from winnow.run.work import augmentation
from winnow.tasks import task_named
from winnow.trust.export import export

OWN = {"group_column": "speaker", "test_groups": [3], "mels": 12, "window_ms": 16.0, "hop_ms": 8.0}
CHANGES = {
    "task": "audio_classification",
    "data__source": "audio_parquet",
    "data__options": OWN,
    "data__limit_train": None,
    "data__augment": {"shift_ms": 10.0, "bands": 0},
    "search__epochs": 1,
    "search__batch": 16,
    "search__collapse": "off",
    "select__methods": ["magnitude"],
    "tune__trials": 0,
    "retrain__seeds": [0],
    "retrain__epochs": 6,
    "retrain__batch": 16,
    "evaluate__controls": 1,
}


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """Every stage, on tones in the voices of five speakers, one held out."""
    folder = tmp_path_factory.mktemp("audio")
    path = write_clips(folder / "clips.parquet", takes=range(6))
    return run_all(tiny(**CHANGES, data__path=str(path)), folder)


def test_no_speaker_is_in_two_splits(heard):
    splits = heard / "data" / "splits"
    manifest = read_manifest(splits)
    tables = {name: read_split(splits, name, manifest) for name in manifest["splits"]}
    speakers = {name: {int(row) // 18 for row in table["row"].to_pylist()} for name, table in tables.items()}
    assert speakers["test"] == {3}
    assert sorted(speaker for each in speakers.values() for speaker in each) == [0, 1, 2, 3, 4]
    assert {name: columns_of(table)["clip"].shape[1] for name, table in tables.items()} == dict.fromkeys(tables, 800)


def test_unheard_speakers_are_told_and_judged(heard):
    told = json.loads((heard / "reports" / "evaluate.json").read_text())
    assert told["test_images"] == 18
    assert told["accuracy_mean"] > 60  # three classes; the tones differ in pitch
    assert told["control_n"] == 1
    assert told["outcome"] == "cannot tell"
    assert told["classes"] == ["0", "1", "2"]
    rows = (heard / "reports" / "errors" / "confusion.csv").read_text().splitlines()
    assert rows[0] == "actual,predicted,count"
    assert sum(int(row.rpartition(",")[2]) for row in rows[1:]) == 18


def test_the_delivered_network_takes_clips_as_they_are_stored(heard):
    model, about = load_model(heard / "artifacts" / "model.safetensors")
    test = split_of(heard)
    x = prepared(test.columns["clip"], about)
    assert x.shape[1:] == (1, 12, 11)
    with torch.no_grad():
        right = (model(x).argmax(1) == test.answers).double().mean()
    told = json.loads((heard / "reports" / "evaluate.json").read_text())
    assert 100 * float(right) == pytest.approx(told["accuracies"][0])


@pytest.mark.slow
def test_it_is_exported_and_checked_on_the_test_clips(heard, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra winnow[onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra winnow[onnx]")
    told = export(heard / "artifacts" / "model.safetensors", heard, tmp_path)
    assert told["checked_on"] == f"test split {split_of(heard).digest}"
    assert told["agreeing"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__augment": {"flip": True}}, "unknown key data.augment.flip; there are shift_ms, frames, bands"),
        ({"data__augment": {"shift": 10}}, "unknown key data.augment.shift (did you mean 'shift_ms'?)"),
        ({"data__augment": {"frames": -1}}, "data.augment.frames: input should be greater than or equal to 0, not -1"),
        ({"data__options": {"secs": 1.0}}, "unknown key data.options.secs"),
        ({"data__options": {"seconds": "1"}}, "data.options.seconds: input should be a valid number, not '1'"),
        ({"data__flip": True}, "data: flip has moved: write augment: {flip: True}"),
    ],
)
def test_options_of_another_task_or_source_are_a_sentence(changes, said):
    with pytest.raises(Refused, match=re.escape(said)):
        tiny(**CHANGES | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__augment": {"frames": 99}}, "augmentation frames takes 0 to 10 of 11; got 99"),
        ({"retrain__cutout": 4}, "retrain.cutout: task 'audio_classification' has no such augmentation; set it to 0"),
    ],
)
def test_augmentation_that_cannot_be_is_a_sentence(heard, changes, said):
    with pytest.raises(Refused, match=re.escape(said)):
        augmentation(tiny(**CHANGES | changes), split_of(heard), tiny(**CHANGES | changes).retrain.recipe().cutout)


def split_of(folder):
    return open_split(folder / "data" / "splits", "test", task_named("audio_classification"), stage="evaluate")
