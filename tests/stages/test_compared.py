"""What stage evaluate compares: random networks within the limits, trained alike, resumable; and what it says."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.stages.tiny import tiny
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.measure import cost
from winnow.measure.judgement import fewest_controls
from winnow.pipelines import evaluate, search, select
from winnow.run import compared as training
from winnow.run import controls, files, searches
from winnow.run.answers import packed, unpacked
from winnow.run.beside import Pair, random_search
from winnow.run.verdict import Alike, verdict
from winnow.run.work import final_space
from winnow.tasks.task import PERCENT
from winnow.tools.plan import plan
from winnow.trust.same import LATENCY


@pytest.fixture
def unseen(monkeypatch):
    """Without the page and its pictures, which take most of the time and are tested elsewhere."""
    monkeypatch.setattr(evaluate, "write_report", lambda *given: given[-1].write_text("<html>"))


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    for name in ("data", "artifacts", "reports"):
        shutil.copytree(finished / name, tmp_path / name)
    return tmp_path


def told(folder: Path) -> dict:
    found = json.loads((folder / "reports/evaluate.json").read_text())
    return {name: value for name, value in found.items() if name not in LATENCY}


def test_random_networks_keep_the_limits_of_the_search_and_their_sizes_are_told(project):
    params = tiny(select__methods=["evolution"], select__max_params=9000, evaluate__controls=3)
    evaluate.main(params, project)
    found = told(project)
    space = final_space(tiny(), project)
    arch = files.read_architecture(project / files.ARCHITECTURE, space, "nas_bench_201")
    drawn = controls.controls(params, project, (arch,))
    assert found["controls"] == [each.digest for each in drawn]
    assert found["control_params"] == [cost.params(space.derive(each)) for each in drawn]
    assert max(found["control_params"]) <= 9000
    assert len(found["control_macs"]) == len(found["control_accuracies"]) == found["control_n"] == 3
    assert len({arch.digest, *found["controls"]}) == 4
    assert "9,000" in found["limits"]
    assert "within the same limits" in found["verdict"]
    page = (project / "reports/report.html").read_text()
    assert "class='verdict open'" in page
    assert all(digest in page for digest in found["controls"])


def test_found_and_random_networks_are_trained_by_the_recipe_that_was_tuned_on_none(project, unseen):
    """Another tuned recipe changes what is delivered, nothing of what is compared."""
    before = told(project)
    recipe = json.loads((project / files.RECIPE).read_text())
    recipe["recipe"]["lr"] = recipe["tuned"]["lr"] = 0.123
    (project / files.RECIPE).write_text(json.dumps(recipe))
    evaluate.main(tiny(), project)
    assert told(project) == before
    assert before["found_accuracies"] == before["accuracies"]  # here trial 0 won: the recipe as it stands


def test_killed_it_goes_on_and_ends_in_the_same_bytes(project, unseen, monkeypatch):
    before, trained, real = told(project), [], training.train_child

    def killed(work, arch, *rest):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(arch.digest)
        return real(work, arch, *rest)

    monkeypatch.setattr(training, "train_child", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate.main(tiny(), project)
    assert len(list((project / ".winnow/compared").rglob("*.safetensors"))) == 2
    trained.insert(0, "two more")
    monkeypatch.setattr(training, "train_child", lambda *given: trained.append(given[1].digest) or real(*given))
    evaluate.main(tiny(), project)
    assert len(trained) == 1 + 4  # two retrainings of the found one, two random ones
    assert told(project) == before
    assert not list((project / ".winnow/compared").rglob("*.safetensors"))


def test_side_by_side_in_processes_gives_the_same_bytes_as_one_by_one(project, unseen):
    before = told(project)
    evaluate.main(tiny(trials__executor="processes", trials__workers=2), project)
    assert told(project) == before


def test_what_cannot_be_trained_is_named(project, monkeypatch):
    def broken(*given):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(training, "train_child", broken)
    with pytest.raises(Refused, match=r"network \w{12} \(seed 0\) could not be trained: RuntimeError: no such kernel"):
        evaluate.main(tiny(), project)


def few(monkeypatch, tmp_path) -> dict:
    """A space of four architectures."""
    (tmp_path / "four_nets.py").write_text(
        "from torch import nn\n"
        "from winnow.core.holes import Choice\n"
        "from winnow.core.space import Space\n"
        "def build(classes, image_channels):\n"
        "    convs = {k: nn.Conv2d(image_channels, 4, k, padding=k // 2) for k in (1, 3, 5, 7)}\n"
        "    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]\n"
        "    return Space(nn.Sequential(Choice('kernel', convs), nn.ReLU(), *head))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return {"space__name": "four_nets:build"}


@pytest.mark.parametrize(
    "run", [search.main, plan, lambda params, folder: controls.check_comparison(params, folder, print)]
)
@pytest.mark.parametrize(("changes", "left"), [({}, 3), ({"select__max_params": 200}, 2)])
def test_too_few_architectures_to_compare_with_are_refused_before_anything_is_trained(
    project, tmp_path, monkeypatch, run, changes, left
):
    params = tiny(**few(monkeypatch, tmp_path), select__methods=["evolution"], evaluate__controls=4, **changes)
    kept = (project / files.SUPERNET).read_bytes()
    with pytest.raises(Refused, match=rf"asks for 4 random architectures.* has {left} others"):
        run(params, project)
    assert (project / files.SUPERNET).read_bytes() == kept


def test_that_no_yes_can_come_is_said_beforehand(project, capsys):
    said: list[str] = []
    controls.check_comparison(tiny(evaluate__controls=5), project, said.append)
    assert "19 random networks or more" in said[0]
    said.clear()
    controls.check_comparison(tiny(evaluate__controls=5, evaluate__searches=3), project, said.append)
    assert not said


def test_further_searches_run_once_and_equal_finds_count_once(project, unseen, monkeypatch):
    params = tiny(evaluate__searches=4)
    space = final_space(params, project)
    arch = files.read_architecture(project / files.ARCHITECTURE, space, "nas_bench_201")
    others = {1: space.decide(lambda d: "none"), 2: arch, 3: space.decide(lambda d: "none")}
    asked = []

    def selected(work, cell, *stages):
        assert stages == (search.main, select.main)
        asked.append(cell.params.seed)
        assert not cell.params.tracking.enabled
        files.write_architecture(project / files.ARCHITECTURE, others[cell.seed], space, "nas_bench_201")
        return project

    monkeypatch.setattr(searches, "selected", selected)
    evaluate.main(params, project)
    found = told(project)
    assert asked == [1, 2, 3]
    assert found["finds"] == [arch.digest, others[1].digest]
    assert "4 searches, 2 different networks" in found["verdict"]


@pytest.mark.slow
def test_more_searches_and_random_search_end_to_end(project):
    """Nothing is pretended: stages search and select run again, twice by other seeds, once at random."""
    params = tiny(evaluate__searches=3, evaluate__random_search=2, evaluate__controls=4)
    evaluate.main(params, project)
    found = told(project)
    assert len(found["finds"]) == 3
    assert len(found["random_search"]["accuracies"]) == 2
    evaluate.main(params, project)
    assert told(project) == found


def alike(found, controls, others=(), images=40):
    values = [*found, *others, *controls]
    answers = np.array([np.arange(images) < images * value / 100 for value in values])
    return Alike(found, list(others), controls, answers)


TWENTY = [50.0 + i / 10 for i in range(20)]


@pytest.mark.parametrize(
    ("found", "controls", "outcome", "words"),
    [
        ([60.0, 61.0, 59.0], TWENTY, "yes", "yes, the found network is better than random networks: it beats 20 of 20"),
        ([51.5, 51.6, 51.4], TWENTY, "cannot tell", "it beats 15 of 20"),
        ([50.0, 50.1, 50.2], TWENTY, "no", "no, the found network is not better"),
        ([60.0, 61.0], TWENTY, "yes", "(p = 0.048)"),
        ([60.0], [50.0, 50.0], "cannot tell", "a yes takes 19 controls or more"),
        ([99.0, 99.0, 99.0], [100.0] * 20, "no", "controls reach 100 %, which nothing beats"),
    ],
)
def test_the_sentence_says_of_what_it_is_a_claim(found, controls, outcome, words):
    said = verdict(alike(found, controls), 1, "")
    assert said["outcome"] == outcome
    assert said["helped"] == {"yes": True, "no": False, "cannot tell": None}[outcome]
    assert words in said["verdict"]
    assert "by the recipe as it stands" in said["verdict"]


def test_the_smallest_gap_is_told():
    said = verdict(alike([50.5], TWENTY), 1, "at most 9,000 params")
    assert said["detectable_gap"] == pytest.approx(51.9 - np.mean(TWENTY))
    assert "a yes took more than +0.95 points" in said["verdict"]
    assert "within the same limits (at most 9,000 params)" in said["verdict"]
    assert said["difference_ci_low"] is None  # one retraining has no interval


def test_several_searches_make_a_claim_about_the_search():
    said = verdict(alike([51.4], TWENTY, [51.5, 51.6, 51.7, 52.0]), 5, "")
    assert said["outcome"] == "yes"
    assert "what the search finds (5 searches)" in said["verdict"]
    one = verdict(alike([51.4], TWENTY), 5, "")
    assert one["outcome"] == "cannot tell"
    assert "(5 searches found it)" in one["verdict"]


def test_random_search_is_told_apart_only_by_an_interval():
    import torch

    def beside(found, other):
        rows = {
            name: [torch.arange(40) < 40 * v / 100 for v in values]
            for name, values in (("found", found), ("rival", other))
        }
        answers = tuple(torch.stack(rows[name]).numpy() for name in ("found", "rival"))
        return random_search("abc", Pair(found, other, answers, PERCENT))

    assert beside([90.0, 90.0, 90.0], [10.0, 10.0, 10.0])["outcome"] == "yes"
    assert beside([10.0, 10.0, 10.0], [90.0, 90.0, 90.0])["outcome"] == "no"
    assert beside([50.0, 60.0, 55.0], [55.0, 50.0, 60.0])["outcome"] == "cannot tell"
    assert beside([90.0, 90.0], [10.0, 10.0])["outcome"] == "cannot tell"


@pytest.mark.parametrize("images", [1, 7, 8, 9, 359])
def test_answers_come_back_from_their_text(images):
    answers = np.random.default_rng(images).random((3, images)) < 0.5
    assert np.array_equal(unpacked(packed(answers), images), answers)


@pytest.mark.parametrize(
    ("texts", "images"), [(None, 9), ([], 9), (["AA=="], 9), (["!"], 9), ([3], 9), (["AAA="], None), (["AAA="], True)]
)
def test_what_is_no_such_text_is_nothing(texts, images):
    assert unpacked(texts, images) is None


def test_json_is_strict(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), (1.0, -float("inf"))], "c": {"d": 2}})

    def refuse(word):
        raise AssertionError(word)

    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert found == {"a": None, "b": [None, [1.0, None]], "c": {"d": 2}}


def test_the_defaults_can_say_yes():
    assert Params().evaluate.controls >= fewest_controls(Params().evaluate.searches)


@pytest.mark.parametrize("name", ["searches", "random_search"])
def test_an_option_that_nothing_would_look_at_is_refused(name):
    with pytest.raises(Refused, match=rf"evaluate: controls is 0, and {name} is 3"):
        tiny(evaluate__controls=0, **{f"evaluate__{name}": 3})
