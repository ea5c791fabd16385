"""Ending trials early, by name: Optuna's pruners for one objective, dominance for any number."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from winnow.core.errors import Refused
from winnow.trials.front import dominates
from winnow.trials.plan import Plan

Reports = Mapping[int, Sequence[float]]  # objectives by step

PRUNERS: dict[str, Any] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}
STOPPERS = (*PRUNERS, "dominance")


def pruner(plan: Plan) -> BasePruner:
    """Optuna's pruner of the plan; it keeps no state that hangs on timing. Refused where it does not fit."""
    if plan.stopper not in STOPPERS:
        raise Refused(f"no early stopping {plan.stopper!r}: known are {', '.join(STOPPERS)}")
    if plan.stopper == "dominance":
        Dominance(**_dominance_options(plan))
        return optuna.pruners.NopPruner()
    if plan.stopper != "none" and len(plan.objectives) > 1:
        raise Refused(f"early stopping {plan.stopper!r} takes one objective, not several: take dominance")
    options = dict(plan.stopper_options)
    if plan.stopper == "successive_halving":
        options.setdefault("min_resource", 1)  # Optuna's "auto" would hang on which trial ends first
    if plan.stopper == "hyperband" and not isinstance(options.get("max_resource"), int):
        raise Refused("early stopping 'hyperband' takes max_resource, the last step that a trial reports")
    try:
        made: BasePruner = PRUNERS[plan.stopper](**options)
    except (TypeError, ValueError) as error:
        raise Refused(f"early stopping {plan.stopper!r} with {options}: {error}") from error
    if plan.stopper == "hyperband":  # its brackets are laid at the first question; ask it now
        empty = optuna.create_study(sampler=optuna.samplers.RandomSampler())
        made.prune(empty, optuna.trial.create_trial(value=0.0, intermediate_values={0: 0.0}))
    return made


class Dominance:
    """Stops a trial that at least `share` of the earlier trials dominate at the same step.

    With one objective and a share of one half this is the median rule. Nothing stops before `startup` earlier trials
    reported that step, nor at a step below `warmup`.
    """

    def __init__(self, share: float = 0.5, startup: int = 5, warmup: int = 0):
        if not 0 < share <= 1 or startup < 1:
            raise ValueError(f"share is above 0 and at most 1, startup 1 or more; not {share}, {startup}")
        self.share, self.startup, self.warmup = share, startup, warmup

    def stops(self, plan: Plan, earlier: Sequence[Reports], step: int, values: Sequence[float]) -> bool:
        rivals = [reports[step] for reports in earlier if step in reports]
        if step < self.warmup or len(rivals) < self.startup:
            return False
        return statistics.fmean(dominates(rival, values, plan.directions) for rival in rivals) >= self.share


def should_stop(
    plan: Plan, made: BasePruner, past: Any, trial: FrozenTrial, own: Reports, earlier: Sequence[Reports]
) -> bool:
    """Whether `trial`, with its `own` reports so far, ends here; `past` and `earlier` are what it may know of."""
    if plan.stopper == "none":
        return False
    step = max(own)
    if plan.stopper == "dominance":
        return Dominance(**_dominance_options(plan)).stops(plan, earlier, step, own[step])
    trial.intermediate_values = {step: values[0] for step, values in own.items()}
    return bool(made.prune(past.study, trial))


def _dominance_options(plan: Plan) -> dict[str, Any]:
    unknown = next((name for name in plan.stopper_options if name not in ("share", "startup", "warmup")), None)
    if unknown is not None:
        raise Refused(f"early stopping 'dominance' has no option {unknown!r}: it takes share, startup, warmup")
    return dict(plan.stopper_options)
