"""The pipeline with clients: what stages leave, equal bits in parallel, after a kill, and twice."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from tests.stages.tiny import run_all, tiny
from winnow.core.errors import Refused
from winnow.data.loaders import join, open_split
from winnow.pipelines import inputs, prepare, retrain, search
from winnow.run import files, pool
from winnow.run.federation import clients_of
from winnow.tasks.audio import AUDIO
from winnow.tasks.classify import IMAGES
from winnow.train import checkpoint
from winnow.train.checkpoint import Keeper
from winnow.trials.executors import Inline
from winnow.trials.worker import evaluator

FEDERATION = {"algorithm": "average", "clients": 3, "ks": 0.5, "rounds": 2, "held_out": 0.2}
CHANGES = {
    "search__strategy": "trials",
    "search__trials": {"count": 2, "evaluator": "federated", "federated": {"rounds": 1}, "sampler": "random"},
    "select__methods": ["best"],
    "tune__trials": 0,
    "retrain__seeds": [0],
    "retrain__federation": FEDERATION,
    "evaluate__controls": 1,
}


@pytest.fixture(scope="module")
def federated(tmp_path_factory):
    return run_all(tiny(**CHANGES), tmp_path_factory.mktemp("federated"))


def delivered(folder):
    return [(folder / path).read_bytes() for path in (files.retrained(0), files.rounds(0))]


def test_trials_and_networks_are_judged_by_federated_training(federated):
    trial = pq.read_table(federated / files.TRIALS).to_pylist()[0]
    metrics = dict(trial["metrics"])
    assert {"accuracy", "loss", "forgetting", "params"} <= set(metrics)
    assert dict(trial["fidelity"]) == {"rounds": 1.0}
    told = json.loads((federated / "reports/retrain/0.json").read_text())
    assert told["clients"] == 3
    assert told["skew"] == pytest.approx(0.5, abs=0.02)
    assert "train_held_out_accuracy" in told
    rounds = pq.read_table(federated / files.rounds(0)).to_pylist()
    assert len(rounds) == 2 * (3 + 1)
    assert [row["client"] for row in rounds[:4]] == [0, 1, 2, None]
    page = (federated / "reports/report.html").read_text()
    assert "3 clients of " in page
    assert "on held-out rows" in page


@pytest.mark.slow
def test_clients_side_by_side_give_the_same_bytes(federated):
    before = delivered(federated)
    retrain.main(tiny(**CHANGES, trials__executor="processes", trials__workers=2), federated, 0)
    assert delivered(federated) == before


def test_clients_behind_an_executor_give_the_same_bytes(federated, monkeypatch):
    """As processes do, by files and jobs, but in this one."""
    before, made = delivered(federated), []

    def inline(work, factory, settings):
        made.append(Inline(evaluator(factory, {**settings, "device": "cpu"})))
        return made[-1]

    monkeypatch.setattr(pool, "executor", inline)
    retrain.main(tiny(**CHANGES, trials__executor="processes"), federated, 0)
    assert len(made) == 1
    assert delivered(federated) == before
    assert not list((federated / ".winnow/federation").iterdir())


def test_killed_between_two_rounds_it_goes_on_to_the_same_bytes(federated, monkeypatch):
    before, due, calls = delivered(federated), Keeper.due, []
    monkeypatch.setattr(checkpoint, "MOST", float("inf"))

    def killed(self):
        self.seconds = 0
        due(self)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keeper, "due", killed)
    with pytest.raises(KeyboardInterrupt):
        retrain.main(tiny(**CHANGES), federated, 0)
    assert list((federated / ".winnow/checkpoints").glob("retrain-0-*/*.safetensors"))
    monkeypatch.setattr(Keeper, "due", due)
    retrain.main(tiny(**CHANGES), federated, 0)
    assert delivered(federated) == before


def test_without_clients_the_table_of_rounds_is_empty_and_recipe_json_as_ever(tmp_path):
    inputs.main(tiny(), tmp_path)
    assert "federation" not in json.loads((tmp_path / "artifacts/inputs/recipe.json").read_text())
    inputs.main(tiny(**CHANGES), tmp_path)
    assert json.loads((tmp_path / "artifacts/inputs/recipe.json").read_text())["federation"]["clients"] == 3


@pytest.mark.parametrize(
    ("federation", "said"),
    [
        ({"clients": 1}, "retrain.federation: clients: one alone is ordinary training: take 2 or more"),
        ({"column": "group", "ks": 0.5}, "column 'group' says who the clients are: leave clients and ks out"),
        (
            {"algorithm": "avarage"},
            "retrain.federation.algorithm: .* not 'avarage' .did you mean 'average'",
        ),
        ({"rounds": 0}, "retrain.federation.rounds: input should be greater than or equal to 1, not 0"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(federation, said):
    with pytest.raises(Refused, match=said):
        tiny(**{**CHANGES, "retrain__federation": federation})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tune__trials": 2}, "tune.trials: they train on all rows at once, and retrain.federation by clients"),
        ({"retrain__ema": 0.9}, "federation averages the weights of clients, not those of steps: set ema to null"),
        ({"retrain__federation": None}, "federated trains by the clients of retrain.federation: give those"),
    ],
)
def test_what_does_not_go_with_clients_is_one_sentence(changes, said):
    with pytest.raises(Refused, match=said):
        tiny(**{**CHANGES, **changes})


@pytest.mark.parametrize(
    ("federation", "said"),
    [
        (
            {"column": "speaker"},
            "have no column 'speaker' that says whose a row is .there are label.; 'group'",
        ),
        ({"column": "label"}, None),  # any column will do: here each class is a client
        ({"clients": 4, "ks": 1.0, "held_out": 0.9}, None),
        ({"clients": 12, "ks": 1.0}, "skew 1 is out of reach: 12 clients of these 10 classes have 0.01 to 0.97"),
        ({"clients": 400}, "400 (would|has)|client .* of 400"),
    ],
)
def test_clients_that_the_data_has_not_are_one_sentence(federated, federation, said):
    params = tiny(**{**CHANGES, "retrain__federation": {"rounds": 1, **federation}})
    if said is None:
        retrain.main(params, federated, 0)
        return
    with pytest.raises(Refused, match=said):
        retrain.main(params, federated, 0)


def test_a_search_without_clients_asks_for_them_before_it_trains(prepared, tmp_path):
    shutil.copytree(prepared / "data", tmp_path / "data")
    shutil.copytree(prepared / "artifacts", tmp_path / "artifacts")
    clients = {"tune__trials": 0, "retrain__federation": {"rounds": 1, "column": "speaker"}}
    with pytest.raises(Refused, match="have no column 'speaker'"):
        search.main(tiny(search__strategy="spos", select__methods=["evolution"], **clients), tmp_path)
    assert not (tmp_path / files.SEARCH).exists()


def test_speakers_are_clients(tmp_path):
    """No speaker is in two splits, and each of those in training is a client."""
    sounds = pytest.importorskip("tests.data.sounds", reason="needs the extra winnow[audio]")
    params = tiny(**{
        **CHANGES, "task": "audio_classification", "data__source": "audio_parquet", "data__limit_train": None,
        "data__path": str(sounds.write_clips(tmp_path / "clips.parquet")),
        "data__options": {"group_column": "speaker", "test_groups": [3], "mels": 12},
        "retrain__federation": {"column": "group", "rounds": 1},
    })  # fmt: skip
    prepare.main(params, tmp_path)
    splits = [open_split(tmp_path / files.SPLITS, name, AUDIO, stage="retrain") for name in params.retrain.splits]
    clients = clients_of(params.retrain.federation, join(splits))
    assert [set((c.train.columns["group"]).tolist()) for c in clients] == [{0}, {1}, {2}, {4}]
    assert [len(c.train) + len(c.held) for c in clients] == [12] * 4


def test_shared_rows_are_everybodys(federated):
    params = tiny(**CHANGES)
    split = open_split(federated / files.SPLITS, "weights", IMAGES, stage="retrain")
    settings = params.retrain.federation
    alone = clients_of(settings, split)
    sharing = clients_of(settings.model_copy(update={"algorithm": "share", "shared": 0.2}), split)
    total = sum(len(client.train) for client in alone)
    assert sum(len(c.train) for c in sharing) == total + (len(alone) - 1) * round(0.2 * total)
    assert [c.held.digest for c in sharing] == [c.held.digest for c in alone]
