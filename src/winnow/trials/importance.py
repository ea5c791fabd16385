"""Which parameters made the difference in a study (fANOVA: Hutter et al. 2014, as Optuna has it)."""

import json
from collections.abc import Sequence

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from winnow.trials.outcome import COMPLETE
from winnow.trials.plan import Plan
from winnow.trials.search import Search
from winnow.trials.table import Row
from winnow.trials.view import quiet


def importance(plan: Plan, search: Search, rows: Sequence[Row]) -> dict[str, float]:
    """Shares of the first objective's variance by parameter, the largest first; they add up to 1.

    Of complete trials that are no repeats, and of parameters that all of those have. Empty where there are fewer than
    three, or all came out alike: then nothing made a difference.
    """
    metric = next(iter(plan.objectives))
    told = [row for row in rows if row.state == COMPLETE and row.copy_of is None]
    if len({row.objectives[metric] for row in told}) < 2 or len(told) < 3:
        return {}
    with quiet():
        study = optuna.create_study(direction=plan.directions[0])
        for row in told:
            parameters = json.loads(row.parameters)
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    params=parameters,
                    distributions={name: search.distributions[name] for name in parameters},
                    value=row.objectives[metric],
                )
            )
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=plan.seed % 2**32))
    return {name: float(value) for name, value in found.items()}
