"""What a user brings, through the stages: a change runs what it touches, by command and under DVC, and nothing else."""

import json
import shutil
import sys

import pytest
import yaml
from PIL import Image

from tests.stages.locked import committed
from tests.stages.tiny import ROOT, run_all, tiny
from winnow.cli import main as cli
from winnow.config.methods import strategy
from winnow.core.errors import Refused
from winnow.pipelines import evaluate, inputs, prepare, search
from winnow.pipelines import select as selecting
from winnow.run import files
from winnow.run.checkpoint import _basis
from winnow.run.outside import READS, changed_since, digests
from winnow.run.work import working
from winnow.search.methods import STRATEGIES, TRIES, tries
from winnow.search.selections import RETRAIN
from winnow.search.strategy import TRIALS
from winnow.trust import verify as verifying
from winnow.trust.why import HERE, OTHER, why

NET = """
from torch import nn

from own_parts_of_a_test import KERNELS
from winnow.core.holes import Choice
from winnow.core.space import Space


def build(classes, image_channels, width=4):
    kernels = {f"conv_{k}": nn.Conv2d(image_channels, width, k, padding=k // 2) for k in KERNELS}
    layers = [Choice("layer/0", kernels), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Space(nn.Sequential(*layers, nn.Linear(width, classes)))
"""
PHOTOS = 40
MINE = {
    "data__source": "image_folder",
    "data__path": "photos",
    "data__limit_train": None,
    "space__name": "own_net_of_a_test:build",
    "search__epochs": 1,
    "search__batch": 4,
    "select__methods": ["magnitude"],
    "tune__trials": 0,
    "retrain__seeds": [0],
    "retrain__epochs": 1,
    "retrain__batch": 4,
    "evaluate__controls": 1,
}


def params(**changes):
    return tiny(**{**MINE, **changes})


def bring(folder):
    """Photos, a network and what it imports, beside params.yaml; and a file that must not hide Python's own."""
    for i in range(PHOTOS):
        path = folder / "photos" / ("light" if i % 2 else "dark") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 128 * (i % 2) + 3 * i).save(path)
    (folder / "own_net_of_a_test.py").write_text(NET)
    (folder / "own_parts_of_a_test.py").write_text("KERNELS = (1, 3)\n")
    (folder / "queue.py").write_text("raise RuntimeError('this is not the queue of Python')\n")
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The whole pipeline on them, in this process."""
    path = list(sys.path)
    yield run_all(params(), bring(tmp_path_factory.mktemp("mine")))
    sys.path[:] = path


@pytest.fixture
def folder(done, tmp_path, monkeypatch):
    """A copy to change, the one place that its modules come from."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(done)])
    for name in ("own_net_of_a_test", "own_parts_of_a_test"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    shutil.copytree(done, tmp_path / "work", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "work"


def fewer_photos(folder):
    for i in range(10):
        next((folder / "photos").rglob(f"{i}.png")).unlink()


def another_network(folder):
    (folder / "own_parts_of_a_test.py").write_text("KERNELS = (1, 3, 5)\n")


def test_the_stages_ran_on_modules_beside_params_yaml(done):
    told = json.loads((done / files.RUNS / "search.json").read_text())
    assert set(told["outside"]) == {"space.name"}
    assert set(json.loads((done / files.RUNS / "prepare.json").read_text())["outside"]) == {"data.path"}
    assert json.loads((done / "artifacts/inputs/space.json").read_text()) == told["outside"]


@pytest.mark.parametrize(
    ("change", "stage", "told"),
    [
        (fewer_photos, search, r"^data\.path changed since prepare: run `winnow prepare` again"),
        (fewer_photos, selecting, r"^data\.path changed since prepare"),
        (fewer_photos, evaluate, r"^data\.path changed since prepare"),
        (another_network, selecting, r"^space\.name changed since search: run `winnow search` again"),
        (another_network, evaluate, r"^space\.name changed since search"),
    ],
)
def test_by_command_a_stage_stops_where_something_changed_before_it(folder, change, stage, told):
    before = {path: path.read_bytes() for path in (folder / "artifacts").rglob("*") if path.is_file()}
    change(folder)
    with pytest.raises(Refused, match=told):
        stage.main(params(), folder)
    assert before == {path: path.read_bytes() for path in (folder / "artifacts").rglob("*") if path.is_file()}


def test_the_stage_that_reads_it_runs_and_those_after_it_go_on(folder, capsys):
    another_network(folder)
    search.main(params(), folder)
    selecting.main(params(), folder)
    assert len(json.loads((folder / files.LOGITS).read_text())["options"]["layer/0"]) == 3
    inputs.main(params(), folder)
    assert "space.name changed since tune, retrain-0, evaluate, which `dvc repro` runs again" in capsys.readouterr().out


def test_every_stage_looks_at_the_code_of_a_task_of_ones_own(tmp_path):
    (tmp_path / "own_task_of_a_test.py").write_text("WIDTH = 3\n")
    own = tiny(task="own_task_of_a_test:WIDTH")
    before = {stage: digests(own, tmp_path, groups) for stage, groups in READS.items()}
    (tmp_path / "own_task_of_a_test.py").write_text("WIDTH = 4\n")
    for stage, groups in READS.items():
        assert changed_since(before[stage], own, tmp_path, groups) == ["task"], stage


def test_the_raw_data_may_be_gone_once_it_is_prepared(folder):
    shutil.rmtree(folder / "photos")
    search.main(params(), folder)
    with pytest.raises(Refused, match=r"^data\.path: no file or folder"):
        inputs.main(params(), folder)


def test_inputs_says_what_changed_and_that_nothing_did(folder, capsys):
    def told():
        inputs.main(params(), folder)
        return capsys.readouterr().out.splitlines()[-1]

    assert told() == "inputs: data.path, space.name unchanged since the stages read them: up to date"
    assert told().endswith("up to date")
    fewer_photos(folder)
    assert told() == "inputs: data.path changed since prepare, which `dvc repro` runs again with what follows"
    assert "up to date" not in told()
    shutil.rmtree(folder / files.RUNS)
    assert told() == "inputs: data.path, space.name written down; no stage has read them here yet"
    inputs.main(tiny(), folder)
    assert "names nothing outside winnow: up to date" in capsys.readouterr().out


@pytest.mark.parametrize(("method", "runs_again"), [("finalists", True), ("evolution", False)])
def test_select_reads_the_recipe_of_retraining_where_it_trains(tmp_path, method, runs_again):
    def seen(lr):
        inputs.main(tiny(search__strategy="spos", select__methods=[method], retrain__lr=lr), tmp_path)
        return (tmp_path / "artifacts/inputs/select.json").read_bytes()

    assert (seen(0.1) != seen(0.2)) == runs_again


@pytest.mark.parametrize(("evaluator", "runs_again"), [("training", True), ("inherited", False)])
def test_a_search_by_trials_reads_the_recipe_that_trials_train_by(tmp_path, evaluator, runs_again):
    def seen(lr):
        changes = {
            "search__strategy": "trials",
            "search__trials": {"evaluator": evaluator},
            "select__methods": ["best"],
        }
        inputs.main(tiny(**changes, retrain__lr=lr), tmp_path)
        return (tmp_path / "artifacts/inputs/search.json").read_bytes()

    assert (seen(0.1) != seen(0.2)) == runs_again


def test_the_selections_that_train_are_those_that_ask_for_a_trained_network():
    places = (ROOT / "src/winnow/search/selections").glob("*.py")
    assert {path.stem for path in places if ".trained(" in path.read_text()} == set(RETRAIN)


def test_which_strategies_search_by_trials_is_known_without_them():
    assert {name for name in STRATEGIES if TRIALS in strategy(name).leaves} == set(TRIES)
    assert [tries(name) for name in ("trials", "darts", "my_methods:mine")] == [True, False, True]


def test_a_checkpoint_is_of_the_network_that_it_was_begun_with(folder):
    def basis():
        with working("search", params(), folder, splits=("weights",)) as work:
            return _basis(work, (), {})

    before = basis()
    assert basis() == before
    another_network(folder)
    assert basis() != before


def test_why_lists_what_was_brought_and_whether_it_is_the_same(folder):
    committed(folder)

    def step(path=folder / files.MODEL):
        return next(step for step in why(path) if step.name == "inputs")

    assert step().vouched == HERE
    assert set(step().facts) == {"data.path", "space.name"}
    assert step().facts["space.name"].endswith("by the file; the same now")
    assert step().facts["data.path"].endswith("by prepare; the same now")
    fewer_photos(folder)
    assert step().vouched == OTHER
    assert "by prepare; changed, now" in step().facts["data.path"]
    shutil.rmtree(folder / "photos")
    assert step().facts["data.path"].endswith("by prepare; not here now")
    alone = folder.parent / "given.safetensors"
    shutil.copy(folder / files.MODEL, alone)
    assert list(step(alone).facts) == ["space.name"]
    assert step(alone).vouched == OTHER  # what it was made of is not here to compare with


def test_verify_runs_again_on_what_was_brought_and_says_what_changed(folder, tmp_path, monkeypatch):
    committed(folder)
    monkeypatch.chdir(folder)

    def run(name, project, scratch):
        return f"status {cli.run([name, '--folder', str(scratch)])}".removesuffix("status 0")

    monkeypatch.setattr(verifying, "_run", run)
    given = params(space__options={"width": 4}, data__path=str(folder / "photos"))
    found = verifying.verify(given, folder, tmp_path / "one", ["inputs", "prepare", "search"])
    assert {name: stage.verdict for name, stage in found.stages.items()} == dict.fromkeys(found.stages, verifying.BITS)
    fewer_photos(folder)
    found = verifying.verify(given, folder, tmp_path / "two", ["inputs", "search"])
    assert {name: stage.verdict for name, stage in found.stages.items()} == dict.fromkeys(
        found.stages, verifying.DIFFERS
    )
    assert "input data.path: not what was recorded" in found.circumstances.differences


def test_the_command_prepares_and_teaches(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    bring(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params().model_dump()))
    assert cli.run(["inputs", "--folder", str(tmp_path)]) == 0
    assert "data.path  photos  " in capsys.readouterr().out
    assert cli.run(["inputs", "--help"]) == 0
    assert "your code: each file that it imports" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "photos")
    assert cli.run(["inputs", "--folder", str(tmp_path)]) == 2
    assert "winnow: data.path: no file or folder" in capsys.readouterr().err
    assert prepare.__file__.startswith(str(ROOT))
