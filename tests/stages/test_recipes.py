"""Recipes: each is a file that is taken, whole for DVC, told in docs/recipes.md, and trains."""

import re

import pytest
import yaml

from tests.stages.tiny import ROOT
from winnow.cli import main as cli
from winnow.config.reading import check_params, read_params
from winnow.pipelines import prepare
from winnow.tools import plan as planning
from winnow.tools.recipes import about, recipes

NAMES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
SQUARES = "tests.data.squares:boxed_squares"
TASKS = {  # recipes of other tasks than images: data to try them on
    "clicks": "tests.data.visits:clicked",
    "speech": "tests.data.sounds:heard",
    **dict.fromkeys(("detection", "opanas", "opanas_small"), SQUARES),
    **dict.fromkeys(("nir", "retrieval"), "tests.data.characters:drawn"),
}
OURS = sorted(
    ["clicks", "detection", "federated", "nir", "retrieval", "smaller", "speech", "vit"]
)  # small from the start
PUBLISHED = [name for name in NAMES if not name.endswith("_small") and name not in OURS]
SMALL = [name for name in NAMES if name.endswith("_small")]
QUICK = ["smaller", "beta_darts_nas_bench_201_small", "az_nas_small", "clicks", "retrieval"]
FEW = {  # of images and of what is made of them: two steps take seconds, at the sizes that the recipe has
    "data": {"source": "digits", "path": None, "limit_train": 100, "image_size": 32},
    "search": {"batch": 4},
    "select": {"batch": 8, "calibration_images": 8},
    "retrain": {"batch": 4},
    "tracking": {"enabled": False},
}


def path_of(name: str):
    return ROOT / "recipes" / f"{name}.yaml"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_taken_and_holds_what_dvc_reads(name):
    assert read_params(path_of(name))
    content = yaml.safe_load(path_of(name).read_text())
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        for key in stage.get("params", ()):
            place = content
            for part in key.split("."):
                assert part in place, f"{name}.yaml has no {key}"
                place = place[part]


def test_each_published_setting_has_a_small_form_and_each_small_form_a_published_one():
    assert {f"{name}_small" for name in PUBLISHED} == set(SMALL)


@pytest.mark.parametrize("name", TASKS)
def test_a_recipe_of_a_task_is_of_that_task_and_says_which_data_it_wants(name):
    params = read_params(path_of(name))
    assert params.task != "image_classification"
    assert params.data.path is None or params.data.path in " ".join(about(path_of(name)))
    assert params.evaluate.controls >= 19 or name in PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_small_form_runs_the_same_method_on_digits(name):
    small, published = read_params(path_of(f"{name}_small")), read_params(path_of(name))
    assert small.data.source == "digits" or f"{name}_small" in TASKS
    assert small.search.strategy == published.search.strategy
    assert small.select.methods == published.select.methods
    assert small.evaluate.controls >= 19


def test_the_page_has_the_first_line_of_each():
    rows = re.findall(r"(?m)^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/recipes.md").read_text())
    assert rows == [(name, about(path_of(name))[0]) for name in [*OURS, *PUBLISHED]]


def test_those_of_the_project_are_found_from_anywhere(tmp_path, capsys):
    assert [*recipes(tmp_path)] == NAMES
    assert cli.run(["use", "darts_pt", "--folder", str(tmp_path)]) == 0
    assert (tmp_path / "params.yaml").read_bytes() == path_of("darts_pt").read_bytes()
    assert "params.yaml is now recipe darts_pt\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_it_takes_a_few_steps(name, tmp_path, monkeypatch):
    """Those that `winnow plan` times: of the search, with its strategy, and of a child by its recipe.

    How large children are is left out: on twenty layers that alone takes minutes.
    """
    monkeypatch.setattr(planning, "SAMPLE", 2)
    monkeypatch.setattr(planning, "_range", lambda *_: (1, 1, 1))
    content = yaml.safe_load(path_of(name).read_text())
    for section, changes in FEW.items():
        content.setdefault(section, {}).update(changes)
    if name in TASKS:
        content["data"] |= {"source": TASKS[name], "limit_train": None, "image_size": None, "options": {}}
    if content["space"]["name"] == "fpn":
        content["space"]["fpn"]["strides"] = [2, 4, 8, 16]  # of 32 pixels
    params = check_params(content)
    prepare.main(params, tmp_path)
    found = planning.plan(params, tmp_path)
    assert found.seconds["retrain"] > 0
    assert (found.step_seconds > 0) is (params.search.trials.evaluator != "table")
