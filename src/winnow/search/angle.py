"""How far the weights of a child have turned while they were trained (Hu et al. 2020, ABS, arXiv:2004.13431)."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.holes import Asking, Choice, Hole
from winnow.core.space import Space
from winnow.proxies.common import each_output
from winnow.spaces.graphs import ways
from winnow.train.building import covering
from winnow.train.seeds import seeded

SKIPS = ("skip_connect", "identity", "skip")  # turn nothing, also where they own convolutions to change the shape
Pool = nn.AvgPool2d | nn.MaxPool2d
Sums = NDArray[np.float64]  # (4,): the product of a vector before and now, their squares, how many entries it has


class Angles:
    """The angle in radians, 0 to pi, between what the weights of a child were in `start` and what they are in `space`.

    `start` is a copy of `space` made before it was trained. A child's vector holds the parameters of two and more axes
    (no BatchNorm, no bias) of what all children share and of its candidates; of an elastic layer the part that the
    child uses. In a cell a candidate stands in it once for each way from an input to the last node that leads over its
    edge, so a candidate that nothing passes does not count. Identities are no part of it. A k x k pool is k^2 entries
    of 1 / k^2 a channel, before and now: it turns nothing, and makes the angle smaller. `batch()` is asked for inputs
    where there are pools, to see how many channels they have. Sums are in float64; of the vector only these are kept.
    """

    def __init__(self, space: Space, start: Space, batch: Callable[[], Any]):
        self.space = space
        self.before = dict(zip(space.model.modules(), start.model.modules(), strict=True))
        self.channels = _channels(space, batch)
        self.fixed: dict[nn.Module, tuple[Sums, list[Hole]]] = {}
        self.leaves: dict[tuple[object, ...], Sums] = {}

    @torch.no_grad()
    def sums(self, arch: Architecture) -> Sums:
        return self._of(self.space.model, arch, ways(arch), False)

    def __call__(self, arch: Architecture) -> float:
        """Refused where a child has no weights that could turn."""
        product, before, now, _ = self.sums(arch)
        if not before or not now:
            raise Refused("angles are of weights, and a child of this space has none: search it by another strategy")
        return math.acos(min(1.0, max(-1.0, product / math.sqrt(before * now))))

    def _of(self, module: nn.Module, arch: Architecture, over: Mapping[str, int], candidate: bool) -> Sums:
        if module not in self.fixed:
            plain = [each for each in _outside(module) if not isinstance(each, Hole)]
            sums = _added(_turned(each, self.before[each]) for each in plain)
            if candidate:
                sums += _added(self._pool(each) for each in plain if isinstance(each, Pool))
            self.fixed[module] = sums, [each for each in _outside(module) if isinstance(each, Hole)]
        sums, holes = self.fixed[module]
        return sums + _added(self._hole(hole, arch, over) for hole in holes) if holes else sums

    def _hole(self, hole: Hole, arch: Architecture, over: Mapping[str, int]) -> Sums:
        if not isinstance(hole, Asking):
            return self._leaf(hole, {d.name: arch[d.name] for d in hole.decisions})
        name = hole.decision.name
        value, times = arch[name], over.get(name, 1)
        if not times or (isinstance(hole, Choice) and value in SKIPS):
            return np.zeros(4)
        return times * _added(self._of(each, arch, over, True) for each in hole.kept(value))

    def _leaf(self, hole: Hole, answers: Mapping[str, Value]) -> Sums:
        key = (hole, *answers.values())
        if key not in self.leaves:
            pair = hole.settled(answers), self.before[hole].settled(answers)  # type: ignore[operator]
            self.leaves[key] = _added(_turned(*each) for each in zip(*(m.modules() for m in pair), strict=True))
        return self.leaves[key]

    def _pool(self, module: Pool) -> Sums:
        side = module.kernel_size
        area = side * side if isinstance(side, int) else math.prod(side)
        entries = self.channels.get(module, 0) * area
        return np.array([entries / area**2] * 3 + [entries])


def _outside(module: nn.Module) -> Iterator[nn.Module]:
    """`module` and what is in it, holes and not what is in those; each place once."""
    yield module
    if not isinstance(module, Hole):
        for child in module.children():
            yield from _outside(child)


def _turned(now: nn.Module, before: nn.Module) -> Sums:
    pairs = zip(now.parameters(recurse=False), before.parameters(recurse=False), strict=True)
    return _added(_products(b.double(), n.double()) for n, b in pairs if n.dim() > 1)


def _products(before: Tensor, now: Tensor) -> Sums:
    return np.array([float((a * b).sum()) for a, b in ((before, now), (before, before), (now, now))] + [now.numel()])


def _added(each: Iterator[Sums]) -> Sums:
    total: Sums = sum(each, np.zeros(4))
    return total


@torch.no_grad()
def _channels(space: Space, batch: Callable[[], Any]) -> dict[nn.Module, int]:
    """How many channels each pool of a candidate sees."""
    found: dict[nn.Module, int] = {}
    if not any(isinstance(module, Pool) for hole in space.holes for module in hole.modules()):
        return found

    def keep(module: nn.Module, given: Tensor, _: Tensor) -> None:
        found[module] = given.shape[1]

    x, whole = batch(), space.within({})
    hooks, training, plain = each_output(space, Pool.__args__, keep), space.model.training, space.board.plain
    space.model.eval()
    space.board.plain = True  # candidates of cells one by one, each by its own call
    try:
        with seeded(0):
            for setting in covering(whole):
                whole(x, setting)
    finally:
        space.board.plain = plain
        space.model.train(training)
        for hook in hooks:
            hook.remove()
    return found
