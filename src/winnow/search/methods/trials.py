"""No supernet of its own: Optuna proposes architectures, an evaluator scores each."""

from winnow.search.bench import Bench, Found
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy


@strategy("trials", watched=False)
def trials(bench: Bench, recipe: Recipe) -> Found:
    """Try architectures one by one, as section search.trials says; select with `best` (docs/trials.md)."""
    return Found(bench.space, trained=False, metrics=bench.study())
