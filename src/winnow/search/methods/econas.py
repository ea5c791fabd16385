"""EcoNAS: networks tried one by one, by a cheap training that only the promising are given more of."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from winnow.core.options import Distinct, NotNegative, Positive
from winnow.search.bench import Bench, Found
from winnow.search.recipe import Recipe
from winnow.search.strategy import Run, strategy

Steps = Annotated[int, Ge(0), Le(8)]
CONTINUED, PARENTS = [8, 4], [6, 5, 5]  # published: three levels


def tries(
    epochs: int,
    *,
    cycles: Positive = 100,
    initial: Positive = 16,
    continued: list[NotNegative] = CONTINUED,
    parents: Annotated[list[NotNegative], Distinct] = PARENTS,
    age: Positive = 10,
    channels: Steps = 4,
    resolution: Steps = 4,
    samples: Annotated[float, Gt(0), Le(1)] = 1.0,
) -> dict[str, Any]:
    """Its study, in words of section search.trials."""
    from winnow.trials.econas import Settings, segments
    from winnow.trials.plan import HIERARCHY

    settings = Settings(initial, continued, parents, age, epochs // len(parents))
    return {
        "count": segments(cycles, settings),
        "look_back": max(initial, sum(continued) + sum(parents)),  # a cycle: so many can run at a time
        "sampler": HIERARCHY,
        "sampler_options": vars(settings),
        "training": {"epochs": epochs, "channels": channels, "resolution": resolution, "samples": samples},
    }


def meaningless(
    run: Run,
    *,
    cycles: Positive = 100,
    continued: list[NotNegative] = CONTINUED,
    parents: Annotated[list[NotNegative], Distinct] = PARENTS,
) -> str | None:
    """Numbers that do not fit each other."""
    levels = len(parents)
    if len(continued) != levels - 1:
        return (
            f"continued: {levels} levels (numbers in parents) have {levels - 1} from which networks go on to the next, "
            f"so it takes {levels - 1} numbers, not {len(continued)}"
        )
    if run.epochs % levels:
        return (
            f"parents: search.epochs ({run.epochs}) are those of all {levels} levels together, in equal parts: set "
            f"them to {run.epochs // levels * levels or levels}"
        )
    if not all(continued):
        return "continued: 0 lets no network on to the last level, where the best are taken from; set it to 1 or more"
    if not parents[0]:
        return "parents: at first every network is of level 1, so its number of children has to be 1 or more, not 0"
    if cycles < levels - 1:
        return f"cycles: a network takes {levels - 1} cycles to the last of {levels} levels, so set it to that or more"
    return None


@strategy("trials", watched=False, tries=tries, objection=meaningless)
def econas(bench: Bench, recipe: Recipe) -> Found:
    """Evolve cells by cheap trainings in levels: the best of a level are trained on, by one cosine of `epochs`.

    Networks have fewer `channels` and images less `resolution` (steps: each halves what dense convolutions cost), on a
    share `samples` of the images. After `initial` random ones come `cycles`, of which each trains the best
    `continued` of each level to the next, and makes children of `parents` of each; who was not trained for `age` cycles
    is no parent any more. Section search has the recipe, section search.trials the constraints; select with `best`,
    which takes the best of the last level (Zhou et al. 2020, arXiv:2001.01233; docs/trials.md).
    """
    return Found(bench.space, trained=False, metrics=bench.study())
