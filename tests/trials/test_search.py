import json

import optuna
import pytest
from torch import nn

from tests.trials import scores, toys
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.spaces import build
from winnow.spaces.nb201_classes import CLASSES
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.plan import Plan
from winnow.trials.ranges import holds, read_ranges
from winnow.trials.search import SpaceSearch


def trials(search, n=30, whole=True):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = [study.ask() for _ in range(n)]
    return [(search.suggest(trial, whole), trial.params) for trial in asked]


def test_every_trial_has_every_decision_and_an_architecture_of_those_reached():
    space = toys.nested()
    for architecture, parameters in trials(SpaceSearch(space)):
        assert list(parameters) == ["x", "y/1", "z"] or set(parameters) == {"x", "y/1", "z"}
        space.check(architecture)
        assert architecture["x"] == parameters["x"]
        assert ("y/1" in architecture) == (parameters["x"] == "deep")
        assert architecture["z"] == tuple(int(o) for o in parameters["z"].split(","))
    assert any("y/1" not in p for _, p in trials(SpaceSearch(space), whole=False))


@pytest.mark.parametrize("name", ["darts", "mobile", "nas_bench_201"])
def test_any_space_of_winnow_can_be_suggested(name):
    import torch

    with torch.device("meta"):
        space = build(name, {}, image_size=32)
    search = SpaceSearch(space)
    assert set(search.distributions) == set(space.decisions)
    for architecture, _ in trials(search, 3):
        space.check(architecture)


def test_what_a_space_and_ranges_share_is_refused():
    with pytest.raises(Refused, match="'d0' names a range and a decision"):
        SpaceSearch(toys.space(), read_ranges({"d0": {"low": 1, "high": 2}}))
    with pytest.raises(Refused, match="nothing to suggest"):
        SpaceSearch(None)
    twins = Choice("t", {"1,2": nn.Identity(), "1": nn.Identity(), "2": nn.Identity()})
    assert SpaceSearch(Space(nn.Sequential(twins))).distributions  # picked alone they read apart


def test_cells_of_one_class_are_evaluated_once(tmp_path):
    import torch

    with torch.device("meta"):
        space = build("nas_bench_201", {"cells": 1, "channels": 1})
    evaluated = []

    def evaluate(job):
        evaluated.append(CLASSES["canonical"](job.architecture))
        return {"accuracy": float(len(evaluated))}

    search = SpaceSearch(space, identity=CLASSES["canonical"])
    rows = run(
        Plan({"accuracy": "maximize"}, sampler="random"),
        search,
        Inline(evaluate),
        where=str(tmp_path / "s"),
        name="s",
        n_trials=150,
    )
    copies = [r for r in rows if r.copy_of is not None]
    assert len(evaluated) == len(set(evaluated)) == 150 - len(copies)
    assert any(r.digest != rows[r.copy_of].digest for r in copies)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"low": 2, "high": 1}, "range 'lr' is upside down: low 2 is above high 1"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log takes a low above 0"),
        ({"low": 1}, "takes low and high, or choices; it has low"),
        ({"low": "a", "high": 1}, "takes numbers, not 'a' to 1"),
        ({"low": 1, "high": 2, "scale": "log"}, "range 'lr' has no key 'scale': it takes low, high, step"),
        ({"choices": []}, "choices is a list"),
        ({"choices": ["a"], "low": 1}, "stands alone"),
        ({"low": 1, "high": 5, "step": 0.5}, "is of whole numbers: step takes 1 or more"),
        ({"low": 1, "high": 5, "when": {"optimiser": "sgd"}}, "depends on 'optimiser', which is not declared before"),
    ],
)
def test_ranges_that_cannot_be_meant_are_refused(declared, sentence):
    with pytest.raises(Refused, match=sentence):
        read_ranges({"lr": declared})


def test_evolution_goes_over_numbers_and_conditions_too(tmp_path):
    ranges = read_ranges(
        {
            "n": {"low": 1, "high": 64, "log": True},
            "x": {"low": 0.0, "high": 1.0, "step": 0.25},
            "on": {"choices": [True, False]},
            "y": {"low": -1.0, "high": 1.0, "when": {"on": True}},
        }
    )
    search = SpaceSearch(toys.space(2), ranges)
    plan = Plan({"accuracy": "maximize"}, {"cost": {"max": 5}}, "regularised_evolution", look_back=1)

    def evaluate(job):
        p = job.parameters
        found = scores.score(job)
        return {"accuracy": found["accuracy"] + p["x"] - abs(p["n"] - 8) / 8 + p.get("y", -1), "cost": found["cost"]}

    rows = run(plan, search, Inline(evaluate), where=str(tmp_path / "s"), name="s", n_trials=120)
    early, late = ([r.objectives["accuracy"] for r in part] for part in (rows[:20], rows[-20:]))
    assert sum(late) / 20 > sum(early) / 20 + 1
    assert sum(r.feasible for r in rows[-20:]) > sum(r.feasible for r in rows[:20])
    assert all(1 <= json.loads(r.parameters)["n"] <= 64 for r in rows)


@pytest.mark.parametrize(
    ("given", "inside", "outside"),
    [
        ({"low": 0.1, "high": 1.0, "log": True}, [0.1, 0.5, 1], [0.09, 1.1, None, True, "0.5"]),
        ({"low": 1, "high": 9, "step": 2}, [1, 3, 9], [2, 3.0, 10, False]),
        ({"choices": [None, 1, True, "sgd"]}, [None, 1, True, "sgd"], [1.0, False, "adamw"]),
    ],
)
def test_a_range_holds_what_it_could_suggest(given, inside, outside):
    d = read_ranges({"x": given})["x"].distribution
    assert all(holds(d, value) for value in inside)
    assert not any(holds(d, value) for value in outside)
