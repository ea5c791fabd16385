"""Spaces by the names that params.yaml and model files hold, as `train.building` makes them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.core.example import Example
from winnow.core.space import Space
from winnow.data.inputs.images import facts_of
from winnow.data.storage import read_manifest
from winnow.run import files
from winnow.spaces import SPACES, build, builder
from winnow.tasks import USUAL as TASK
from winnow.tasks import task_named
from winnow.train.building import arranged, built, covering, outline, running

USUAL = {"classes": 10, **facts_of((3, 32, 32))}  # of an image


def example_of(fact: Mapping[str, Any]) -> Example:
    """One input of a network whose builder was told `fact`; files of an older winnow name no task."""
    return task_named(fact.get("task", TASK)).example(fact)


def outlined(name: str, options: Mapping[str, Any], fact: Mapping[str, Any], *, auxiliary: bool = False) -> Space:
    """Space `name` in the form that is retrained: to look at, to count on, and to derive `fresh` children from."""
    make = functools.partial(build, name, dict(options), **fact, final=True, auxiliary=auxiliary)
    return outline(make, example_of(fact), drawn=name in SPACES)


def searched(
    name: str, options: Mapping[str, Any], fact: Mapping[str, Any], seed: int, form: Callable[[Space], Space]
) -> Space:
    """Space `name` in the `form` that is searched, on the CPU, with the values that its builder gives.

    What is drawn is from `seed`.
    """

    def make() -> Space:
        return form(build(name, options, **fact, final=False))

    space = built(make, example_of(fact), seed)
    if not space.decisions:
        raise Refused(f"space {name!r} has no decision open: there is nothing to search")
    if name not in SPACES:
        arranged(space, example_of(fact), [functools.partial(running, setting=each) for each in covering(space)])
    return space


def usual(name: str) -> dict[str, Any]:
    """How many classes a network has where nobody says it and its builder wants to be told."""
    parameter = inspect.signature(builder(name)).parameters.get("classes")
    return {"classes": USUAL["classes"]} if parameter is not None and parameter.default is parameter.empty else {}


def shown(name: str, options: Mapping[str, Any], folder: Path, *, final: bool = False) -> Space:
    """Space `name` to be looked at, where no data need be: a user's is told of the images prepared in `folder`, or else
    of `USUAL` ones; winnow's own have their published size.
    """
    fact: Mapping[str, Any] = {}
    if name not in SPACES:
        fact = USUAL
        if (folder / files.SPLITS / "manifest.json").is_file():
            manifest = read_manifest(folder / files.SPLITS)
            fact = {"task": manifest["task"], **task_named(manifest["task"]).facts(manifest["facts"])}
    make = functools.partial(build, name, dict(options), **fact, final=final)
    return outline(make, example_of(fact or USUAL), drawn=name in SPACES)
