"""The scores of one network: of an architecture among random ones of its space, or of any module."""

import inspect
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.dotted import function_at
from winnow.core.errors import Refused, blamed
from winnow.core.space import Space
from winnow.proxies import PROXIES, score
from winnow.proxies.aggregate import oriented_ranks
from winnow.proxies.common import Batch, logits, working_copy
from winnow.train.seeds import generator, rng, seeded

Row = dict[str, float | str]


def standing(space: Space, arch: Architecture, names: Sequence[str], batch: Batch, sample: int, seed: int) -> list[Row]:
    """A row a proxy: the score of `arch`, its reason where it has none, and the share of random children it beats."""
    stream = rng(seed, "score", "sample")
    children = [space.derive(each) for each in (arch, *(space.decide(uniform(stream)) for _ in range(sample)))]
    rows: list[Row] = []
    for name in names:
        (own, reason), *rest = (_one(child, name, batch, seed) for child in children)
        ranks = oriented_ranks([own, *(value for value, _ in rest)], PROXIES[name].direction)
        beats = float(np.mean(ranks[1:] < ranks[0])) if rest else float("nan")
        rows.append({"proxy": name, "score": own, "beats": beats, "reason": reason})
    return rows


def scores_of(model: nn.Module, names: Sequence[str], batch: Batch, seed: int) -> list[Row]:
    """A row a proxy for any network. Refused where it does not take such images at all."""
    with torch.no_grad():
        logits(working_copy(model), batch[0])
    rows = {name: _one(model, name, batch, seed) for name in names}
    return [{"proxy": name, "score": value, "reason": reason} for name, (value, reason) in rows.items()]


def module_at(path: str, seed: int) -> nn.Module:
    """What "package.module:build" builds when called without arguments, its weights drawn from `seed`."""
    build = function_at(path, f"network {path!r}")
    needed = [p.name for p in inspect.signature(build).parameters.values() if p.default is p.empty]
    if needed:
        raise Refused(f"network {path!r} needs arguments ({', '.join(needed)}): name a function that takes none")
    with seeded(seed), blamed(f"network {path!r}"):
        model = build()
    if not isinstance(model, nn.Module):
        raise Refused(f"network {path!r} must return a torch.nn.Module, not {type(model).__name__}")
    return model


def _one(model: nn.Module, name: str, batch: Batch, seed: int) -> tuple[float, str]:
    try:
        value = score(name, model, batch, generator(seed, "score", name))
    except Refused as refusal:
        return float("nan"), str(refusal)
    return value, "" if value == value else "not a number"
