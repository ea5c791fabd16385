"""Early stopping: what each rule ends, and that it hangs on the plan alone, not on which trial was faster."""

import pytest

from tests.trials import scores, toys
from tests.trials.test_engine import ONE, TWO, told
from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.front import dominates
from winnow.trials.plan import Plan
from winnow.trials.processes import Processes
from winnow.trials.stopping import Dominance

MAX, MIN = "maximize", "minimize"


def study(tmp_path, plan, n, file, executor=None):
    executor = executor or Inline(scores.learning)
    return run(plan, toys.search(), executor, where=str(tmp_path / file), name="toy", n_trials=n)


@pytest.mark.parametrize(
    ("stopper", "options", "sampler", "objectives"),
    [
        ("median", {"n_startup_trials": 3}, "tpe", ONE),
        ("successive_halving", {"reduction_factor": 2}, "tpe", ONE),
        ("hyperband", {"max_resource": 4, "reduction_factor": 2}, "tpe", ONE),
        ("dominance", {"startup": 3, "share": 0.25}, "nsga2", TWO),
    ],
)
def test_stopped_trials_are_the_same_in_one_go_in_parts_and_in_parallel(
    tmp_path, stopper, options, sampler, objectives
):
    fidelity = {"two": 1.0} if len(objectives) > 1 else {}
    plan = Plan(objectives, {}, sampler, {}, stopper, options, look_back=3, fidelity=fidelity)
    whole = study(tmp_path, plan, 24, "whole")
    assert 0 < sum(r.state == "pruned" for r in whole) < 24
    assert all(r.objectives for r in whole)  # of a stopped trial, the last it reported
    for part in (5, 11, 24):
        parts = study(tmp_path, plan, part, "parts")
    assert told(parts) == told(whole)
    many = study(tmp_path, plan, 24, "many", Processes("tests.trials.scores:make_learning", {}, 3))
    assert told(many) == told(whole)


def test_dominance_is_no_worse_anywhere_and_better_somewhere():
    assert dominates([1, 1], [1, 2], [MAX, MIN])
    assert not dominates([1, 1], [1, 1], [MAX, MIN])
    assert not dominates([2, 3], [1, 2], [MAX, MIN])


def test_a_trial_that_half_of_the_earlier_dominate_is_stopped():
    plan = Plan(TWO, stopper="dominance")
    earlier = [{1: [0.9, 5.0]}, {1: [0.8, 4.0]}, {1: [0.2, 1.0]}, {1: [0.1, 9.0]}]
    rule = Dominance(share=0.5, startup=4, warmup=1)
    assert rule.stops(plan, earlier, 1, [0.7, 6.0])  # dominated by two of four
    assert not rule.stops(plan, earlier, 1, [0.7, 4.5])  # by one
    assert not rule.stops(plan, earlier[:3], 1, [0.0, 10.0])  # too few to tell
    assert not rule.stops(plan, earlier, 2, [0.0, 10.0])  # none got there
    assert not Dominance(startup=1, warmup=2).stops(plan, earlier, 1, [0.0, 10.0])


def test_dominance_of_one_objective_is_the_median_rule():
    plan = Plan(ONE, stopper="dominance")
    earlier = [{1: [value]} for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    stopped = [value for value in (0.15, 0.25, 0.35, 0.45) if Dominance().stops(plan, earlier, 1, [value])]
    assert stopped == [0.15, 0.25]


@pytest.mark.parametrize(
    ("stopper", "options", "sentence"),
    [
        ("patience", {}, "no early stopping 'patience': known are none, median, .* dominance"),
        ("dominance", {"half": 1}, "'dominance' has no option 'half': it takes share, startup, warmup"),
        ("hyperband", {}, "'hyperband' takes max_resource, the last step"),
        ("median", {"n_startup_trials": -1}, "early stopping 'median' with"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(tmp_path, stopper, options, sentence):
    with pytest.raises(Refused, match=sentence):
        study(tmp_path, Plan(ONE, stopper=stopper, stopper_options=options), 2, "s")


def test_reports_have_as_many_values_as_objectives(tmp_path):
    with pytest.raises(Refused, match="a report has 1 values, but there are 2 objectives"):
        study(tmp_path, Plan(TWO, stopper="dominance"), 2, "s")
