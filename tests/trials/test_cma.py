import json
import math
import statistics

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from tests.trials import toys
from tests.trials.test_engine import ONE, TWO, told
from winnow.core.errors import Refused
from winnow.trials.cma import place_of, value_at
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.plan import Plan
from winnow.trials.ranges import read_ranges
from winnow.trials.search import SpaceSearch

RANGES = {
    "x": {"low": -5.0, "high": 5.0},
    "lr": {"low": 1e-4, "high": 1.0, "log": True},
    "layers": {"low": 1, "high": 64, "log": True},
    "one": {"low": 3, "high": 3},
}
NUMBERS = SpaceSearch(None, read_ranges(RANGES))


def score(job):
    """Best, at 0, for x = 1, lr = 0.01, layers = 20."""
    p = job.parameters
    off = (p["x"] - 1) ** 2 + (math.log10(p["lr"]) + 2) ** 2 + (p["layers"] / 20 - 1) ** 2
    return {"accuracy": -off, "cost": float(p["layers"])}


def study(path, plan, n, search=NUMBERS, evaluate=score):
    return run(plan, search, Inline(evaluate), where=str(path), name="numbers", n_trials=n)


@pytest.mark.parametrize("look_back", [1, 8])
def test_it_closes_in_where_random_search_does_not(tmp_path, look_back):
    late = {}
    for sampler in ("cmaes", "random"):
        rows = study(tmp_path / sampler, Plan(ONE, sampler=sampler, look_back=look_back), 120)
        late[sampler] = statistics.median(r.objectives["accuracy"] for r in rows[-30:])
    assert late["cmaes"] > -1
    assert late["random"] < -3


def test_a_study_ended_five_times_has_the_trials_of_one_that_was_not(tmp_path):
    plan = Plan(ONE, {"cost": {"max": 10}}, "cmaes", {"population": 5}, look_back=3)
    whole = study(tmp_path / "whole", plan, 32)
    for part in (3, 4, 16, 27, 32):
        parts = study(tmp_path / "parts", plan, part)
    assert told(parts) == told(whole)
    assert len({r.parameters for r in whole}) > 28


def test_limits_are_kept_to(tmp_path):
    rows = study(tmp_path / "s", Plan(ONE, {"cost": {"max": 10}}, "cmaes"), 100)
    late = [json.loads(r.parameters)["layers"] for r in rows[70:]]
    assert sum(layers <= 10 for layers in late) > 20  # though 20 would score best
    assert max(late) < 20


@pytest.mark.parametrize(
    ("d", "value"),
    [
        (FloatDistribution(-5.0, 5.0), 1.25),
        (FloatDistribution(1e-4, 1.0, log=True), 1e-2),
        (FloatDistribution(0.0, 1.0, step=0.25), 0.75),
        (IntDistribution(1, 64, log=True), 1),
        (IntDistribution(1, 64, log=True), 64),
        (IntDistribution(2, 10, step=4), 6),
    ],
)
def test_places_and_values_are_the_same_thing(d, value):
    assert value_at(d, place_of(d, value)) == pytest.approx(value)
    assert type(value_at(d, 0.3)) is type(value)
    assert (value_at(d, 0.0), value_at(d, 1.0)) == pytest.approx((d.low, d.high))
    assert value_at(IntDistribution(0, 3), 0.24) == 0
    assert value_at(IntDistribution(0, 3), 0.26) == 1


@pytest.mark.parametrize(
    ("search", "plan", "sentence"),
    [
        (toys.search(), {}, "'cmaes' takes numbers only, and 'd0' is a choice: take tpe or gp"),
        (
            SpaceSearch(None, read_ranges(RANGES | {"m": {"low": 0.0, "high": 0.9, "when": {"one": 3}}})),
            {},
            "takes ranges that are always asked, and 'm' is so at times: take tpe",
        ),
        (SpaceSearch(None, read_ranges({"one": RANGES["one"]})), {}, "has no range to sample"),
        (NUMBERS, {"objectives": TWO}, "'cmaes' takes one objective, not 2: take tpe or nsga2"),
        (NUMBERS, {"sampler_options": {"population": 1}}, "takes a population of 2 or more"),
        (NUMBERS, {"sampler_options": {"margin": True}}, r"sampler 'cmaes' with {'margin': True}: "),
    ],
)
def test_where_it_does_not_apply_there_is_a_sentence(tmp_path, search, plan, sentence):
    with pytest.raises(Refused, match=sentence):
        study(tmp_path / "s", Plan(**{"objectives": ONE, "sampler": "cmaes"} | plan), 2, search)
