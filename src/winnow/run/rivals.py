"""The networks of evaluate.against beside random ones: which they are, and of which space each is an architecture."""

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from winnow.config.params import ORIGINAL, Params, SpaceParams
from winnow.core.architecture import Architecture
from winnow.core.dotted import function_at
from winnow.core.errors import Refused, blamed
from winnow.core.space import Space
from winnow.run import files
from winnow.run.dry import try_child
from winnow.run.found_at import find_at
from winnow.run.outside import MODULE, PATH, resolved, rival_kind
from winnow.run.work import final_space
from winnow.spaces import FIXED

KEY = "evaluate.against"


@dataclass(frozen=True)
class Rival:
    """`params` are those of params.yaml, with the space that `arch` is of."""

    name: str  # as evaluate.against has it
    params: Params
    arch: Architecture


def rivals(params: Params, folder: Path) -> list[Rival]:
    """In the order of params.yaml. Refused, naming the entry, where one is no network of these data."""
    return list(_rivals(params, folder))


def check_rivals(params: Params, folder: Path) -> None:
    """Refused likewise, and where one of another space cannot be trained: found by one dry trial, on the CPU."""
    for rival in rivals(params, folder):
        if section(rival.params) != section(params):
            try:
                try_child(rival.params, folder, torch.device("cpu"), rival.arch)
            except Refused as refusal:
                raise Refused(f"{KEY}: {rival.name}: {refusal}") from refusal


def _rivals(params: Params, folder: Path) -> Iterator[Rival]:
    names = params.evaluate.rivals
    space = final_space(params, folder) if names else None
    for name in names:
        assert space is not None
        kind = rival_kind(name)
        if name == ORIGINAL:
            yield Rival(name, params, _original(params, space))
        elif kind == MODULE and _answers(name):
            yield Rival(name, params, _answered(params, space, name))
        elif kind == MODULE:
            of = of_space(params, SpaceParams(name=FIXED, options={"model": name}), {})
            yield Rival(name, of, _decided(of, folder))
        elif kind == PATH:
            content = _content(resolved(folder, name, KEY))
            yield Rival(name, params, files.architecture_of(content, f"{KEY}: {name}", space, params.space.name))
        else:
            find = find_at(folder, name, KEY)
            of = find.params(params, KEY)
            of = params if section(of) == section(params) else of_space(params, of.space, of.retrain.space)
            what = f"{KEY}: {files.ARCHITECTURE} at {name}"
            content = find.content(name, KEY)
            yield Rival(name, of, files.architecture_of(content, what, final_space(of, folder), of.space.name))


def _content(path: Path) -> object:
    if not path.is_file():
        raise Refused(f"{KEY}: no file {path}; paths start at the folder of params.yaml")
    try:
        return files.read_json(path, "select")
    except Refused as refusal:
        raise Refused(f"{KEY}: {refusal}") from refusal


def _original(params: Params, space: Space) -> Architecture:
    if space.original is None:
        raise Refused(
            f"{KEY}: {ORIGINAL}: space {params.space.name} was not made of a network that it keeps whole, as auto and "
            "winnow.replace make one: name its code (my_net:build), a file of an architecture, or a git revision"
        )
    return space.original


def _answers(name: str) -> bool:
    """Whether the function asks for the `space` that is searched: it returns an architecture then, and no network."""
    with blamed(f"{KEY}: network {name!r}"):
        return "space" in inspect.signature(function_at(name, f"{KEY}: network {name!r}")).parameters


def _answered(params: Params, space: Space, name: str) -> Architecture:
    what = f"{KEY}: architecture {name!r}"
    with blamed(what):
        found = function_at(name, what)(space=space)
    if not isinstance(found, Mapping):
        raise Refused(
            f"{what} must return an Architecture, which is what a function that takes `space` is asked for, not a "
            f"{type(found).__name__}"
        )
    try:
        arch = Architecture.of(found)
        space.check(arch)
    except (TypeError, ValueError) as error:
        raise Refused(f"{what} is none of space {params.space.name!r}: {error}") from error
    return arch


def _decided(params: Params, folder: Path) -> Architecture:
    """The only architecture of a network as it is."""
    try:
        return final_space(params, folder).decide(lambda d: d.values[0])
    except Refused as refusal:
        raise Refused(f"{KEY}: {refusal}") from refusal


def of_space(params: Params, space: SpaceParams, retrained: Mapping[str, Any]) -> Params:
    """`params` with a network of another space, for which the search trained nothing."""
    retrain = params.retrain.model_copy(update={"space": dict(retrained), "from_": "scratch"})
    return params.model_copy(update={"space": space, "retrain": retrain})


def section(params: Params) -> str:
    """What says of which space a retrained network is, as JSON: equal for equal spaces."""
    space = {"name": params.space.name, "options": params.space.chosen()}
    return json.dumps({"space": space, "retrain": params.retrain.space}, sort_keys=True)
