"""A model file on its own: loaded in three lines, refused where it is not what it says, and never obeyed."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from tests.stages.tiny import tiny
from winnow.core.errors import Refused
from winnow.data.inputs.images import facts_of
from winnow.data.loaders import open_split
from winnow.pipelines import retrain, select
from winnow.run import files
from winnow.run.model import load_model, prepared
from winnow.run.revision import md5_of
from winnow.spaces import build
from winnow.tasks.classify import IMAGES
from winnow.tracking.run import Run


def rewritten(finished, tmp_path, change):
    """The model file with what it says of itself changed."""
    tensors, about = files.read_tensors(finished / files.MODEL, "retrain")
    change(about)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, {"winnow": json.dumps(about)})
    return path


def test_three_lines_load_a_model_without_the_project(finished, tmp_path, monkeypatch):
    images = open_split(finished / files.SPLITS, "test", IMAGES, stage="evaluate")
    shutil.copy(finished / files.MODEL, tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)

    model, about = load_model("model.safetensors")
    with torch.no_grad():
        predicted = [about["classes"][i] for i in model(prepared(images.columns["image"], about)).argmax(1)]

    right = sum(images.facts["classes"][y] == name for y, name in zip(images.answers, predicted, strict=True))
    accuracies = json.loads((finished / "reports/evaluate.json").read_text())["accuracies"]
    assert 100 * right / len(images) == pytest.approx(accuracies[0])
    with pytest.raises(Refused, match=r"shape \(2, 1, 9, 8\)"):
        prepared(torch.zeros(2, 1, 9, 8), about)


def test_a_file_does_not_choose_the_function_that_is_called(finished, tmp_path, monkeypatch):
    """A space by dotted path in a foreign file would otherwise be any callable with any arguments."""
    (tmp_path / "theirs.py").write_text(
        "from pathlib import Path\ndef build(**all):\n    Path('called').touch()\n    raise ValueError\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = rewritten(finished, tmp_path, lambda about: about.update(space="theirs:build"))
    with pytest.raises(Refused, match="which is not winnow's"):
        load_model(path)
    with pytest.raises(Refused, match="which is not winnow's"):
        load_model(path, space="mine:build")
    assert not (tmp_path / "called").exists()
    with pytest.raises(Refused):
        load_model(path, space="theirs:build")
    assert (tmp_path / "called").exists()


@pytest.mark.parametrize("told", [{"image_size": 32}, facts_of((1, 32, 16))])
def test_a_file_is_built_by_what_it_says_of_its_images(told, tmp_path):
    """In older files images of 32 x 16 pixels have the size 32, by which the network was built; new ones say both."""
    told = {"classes": 3, "image_channels": 1, **told}
    space = build("mobile", {"width": 0.1}, **told, final=True)
    arch = space.decide(lambda d: d.values[0])
    about = {"space": "mobile", "options": {"width": 0.1}, "facts": told, "auxiliary": False, "shape": [1, 32, 16]}
    about |= {"choices": dict(arch.choices), "classes": ["a", "b", "c"], "mean": [0.5], "std": [0.2]}
    model = space.derive(arch).eval()
    files.write_tensors(tmp_path / "model.safetensors", model.state_dict(), about)
    again, _ = load_model(tmp_path / "model.safetensors")
    x = torch.rand(2, 1, 32, 16)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.pop("choices"),
        lambda about: about.pop("space"),
        lambda about: about.update(choices=[]),
        lambda about: about.update(choices={"1<-0": "nor_conv_9x9"}),
        lambda about: about.update(facts=None),
        lambda about: about.update(options={"channels": "many"}),
        lambda about: about.update(options={"channels": 8}),
        lambda about: about.update(space={}),
        lambda about: about.update(mean=[]),
        lambda about: about.clear(),
    ],
)
def test_a_model_that_misstates_itself_is_one_sentence(finished, tmp_path, change):
    with pytest.raises(Refused):
        load_model(rewritten(finished, tmp_path, change))


def test_a_model_says_what_it_was_made_from(finished):
    _, about = load_model(finished / files.MODEL)
    manifest = json.loads((finished / "data/splits/manifest.json").read_text())
    origin = about["provenance"]
    assert origin["data"]["digest"] == manifest["source_digest"]
    assert origin["data"]["splits"]["test"] == manifest["splits"]["test"]["digest"]
    assert origin["recipe"] == json.loads((finished / files.RECIPE).read_text())["recipe"]
    assert origin["environment"]["device"].endswith("1 threads")
    assert origin["code"]["src/winnow/core"].endswith(".dir")


def test_runs_are_tagged_with_what_they_are_of(finished, tmp_path, monkeypatch):
    """What MLflow is searched by: the architecture, the data, the code."""
    told: dict[str, object] = {}
    monkeypatch.setattr(Run, "tag", lambda run, name, value: told.update({f"{run.stage}: {name}": value}))
    folder = shutil.copytree(finished, tmp_path / "work")
    retrain.main(tiny(), folder, 0)
    _, about = load_model(folder / files.retrained(0))
    origin = about["provenance"]
    assert told["retrain-0: winnow.data"] == origin["data"]["digest"]
    assert told["retrain-0: winnow.model"] == md5_of(folder / files.retrained(0))
    assert told["retrain-0: winnow.architecture"] == about["digest"]
    assert {name: told[f"retrain-0: winnow.code.{name}"] for name in origin["code"]} == origin["code"]
    select.main(tiny(select__methods=["magnitude"]), folder)
    assert told["select: winnow.architecture"] == json.loads((folder / files.ARCHITECTURE).read_text())["digest"]
