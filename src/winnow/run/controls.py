"""The random architectures that a found one is compared with: which they are, and whether there are enough of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.config.reading import check_params
from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.core.errors import Refused
from winnow.measure.judgement import fewest_controls
from winnow.run.combinations import elsewhere
from winnow.run.limits import Limits
from winnow.run.rivals import check_rivals
from winnow.run.work import final_space
from winnow.tasks import task_named
from winnow.train.seeds import derived, rng


def controls(params: Params, folder: Path, found: tuple[Architecture, ...] = ()) -> list[Architecture]:
    """`evaluate.controls` architectures within the limits of the search, no two equal and none of `found`.

    So that found and random ones are draws of one kind, without replacement. Refused where there are not so many.
    """
    count, draw = params.evaluate.randoms, rng(derived(params.seed, "evaluate"), "controls")
    if not count:
        return []
    space = final_space(params, folder)
    limits = Limits.of(params, folder, space)
    known = {arch.digest for arch in found}
    drawn = distinct(space, draw, count, lambda arch: arch.digest not in known and limits.allows(arch))
    if len(drawn) < count:
        within = f" within {limits.describe()}" if limits else ""
        raise Refused(
            f"evaluate.controls asks for {count} random architectures to compare with, and space {params.space.name} "
            f"has {len(drawn)} others{within}: set evaluate.controls to {len(drawn)} or fewer, or offer more"
        )
    return drawn


def rival_changes(params: Params) -> dict[str, Any]:
    """By dotted key, what makes a search a random one: no supernet, no model of what is good, the best by its trial."""
    task = task_named(params.task)
    return {
        "search.strategy": "trials",
        "search.trials.count": params.evaluate.random_search,
        "search.trials.seconds": None,
        "search.trials.sampler": "random",
        "search.trials.sampler_options": {},
        "search.trials.evaluator": "training",
        "search.trials.objectives": {task.metric: task.first.goal},
        "search.trials.ranges": {},
        "select.methods": ["best"],
    }


def searched_again(params: Params, folder: Path, changes: Mapping[str, Any]) -> Params:
    """The parameters of one more search beside that of `folder`. Refused where they make no sense."""
    return check_params(elsewhere(params, folder, changes), "params.yaml, as evaluate searches again")


def check_comparison(params: Params, folder: Path, say: Callable[[str], None]) -> None:
    """Refused, before anything is trained, where the comparison of stage evaluate could not be made.

    Says beforehand where it could be made and never end in a yes.
    """
    check_rivals(params, folder)
    fewest = fewest_controls(params.evaluate.searches)
    if 0 < params.evaluate.randoms < fewest:
        say(
            f"  evaluate.controls is {params.evaluate.randoms}: whether the search helped will stay open, it takes "
            f"{fewest} random networks or more to tell ({params.evaluate.searches} in evaluate.searches)"
        )
    if params.evaluate.random_search:
        searched_again(params, folder, rival_changes(params))
    if params.evaluate.randoms:
        first = controls(
            params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"controls": 1})}), folder
        )
        controls(params, folder, tuple(first))
