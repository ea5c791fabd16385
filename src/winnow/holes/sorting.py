"""The channels of open widths in the order of their importance, so that smaller selves keep what counts."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from winnow.core.decision import Number
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.holes.elastic import Conv, Elastic, Linear, Norm


@dataclass
class Tensors:
    """What lies along the channels of one number: (tensor, dimension), and who reads them, in the network's order."""

    number: Number
    along: list[tuple[Tensor, int]] = field(default_factory=list)
    readers: list[Tensor] = field(default_factory=list)  # their weights (outputs, channels, ...)


def check_sortable(space: Space) -> None:
    """Refused where a layer of another kind has an open width: nobody knows what lies along it."""
    _groups(space)


@torch.no_grad()
def sort_channels(space: Space) -> None:
    """Put the channels of every open width of `space` in descending order of importance, in place.

    Importance is the L1 norm of what the last layer to read a channel makes of it: the projection after a block, not
    the gate inside. All that lies along the channels moves with them, so the largest network computes what it did. So
    do all of the view that `space` is: channels stay between the widths that it asks for, and only what lies beyond
    the smallest is sorted by itself (the authors' code does as much, to 1/64). Equal ones keep their order. A width
    that nothing reads stays as it is. Source: Cai et al. 2020, arXiv:1908.09791, section 3.2.
    Refused as by `check_sortable`.
    """
    for group in _groups(space):
        if group.readers:
            weight = group.readers[-1]
            importance = weight.abs().sum([i for i in range(weight.dim()) if i != 1])
            widths = [0, *(w for w in _widths(space, group.number) if w < len(importance)), len(importance)]
            parts = [
                start + importance[start:stop].argsort(descending=True, stable=True)
                for start, stop in itertools.pairwise(widths)
            ]
            order = torch.cat(parts)
            for tensor, dimension in group.along:
                tensor.copy_(tensor.index_select(dimension, order))


def _groups(space: Space) -> list[Tensors]:
    groups: dict[int, Tensors] = {}
    for hole in space.holes:
        for number, tensor, dimension, reads in _held(hole) if isinstance(hole, Elastic) else ():
            if number.decisions:
                group = groups.setdefault(id(number), Tensors(number))
                group.along.append((tensor, dimension))
                if reads:
                    group.readers.append(tensor)
    return list(groups.values())


def _held(hole: Elastic) -> Iterator[tuple[Number, Tensor, int, bool]]:
    """(number, tensor, its dimension along the number's channels, whether it reads them) of all that `hole` holds."""
    if not isinstance(hole, Conv | Linear | Norm):
        kind = type(getattr(hole, "whole", hole)).__name__
        raise Refused(
            f"channels of {kind} cannot be sorted, those of convolutions, BatchNorms and linear layers can: leave them "
            "as they are (search.ofa.sort: false)"
        )
    whole: nn.Module = hole.whole
    if isinstance(hole, Norm):
        number, tensors = hole.numbers["channels"], [whole.weight, whole.bias, whole.running_mean, whole.running_var]
        yield from ((number, tensor, 0, False) for tensor in tensors if tensor is not None)  # type: ignore[misc]
        return
    first, last = ("c_in", "c_out") if isinstance(hole, Conv) else ("inputs", "outputs")
    if not (isinstance(hole, Conv) and hole.depthwise):
        yield hole.numbers[first], whole.get_parameter("weight"), 1, True
    yield hole.numbers[last], whole.get_parameter("weight"), 0, False
    if whole.bias is not None:
        yield hole.numbers[last], whole.get_parameter("bias"), 0, False


def _widths(space: Space, number: Number) -> list[int]:
    """All that `number` can be under the answers that `space` asks for, smallest first."""
    names = [d.name for d in number.decisions]
    answers = itertools.product(*(space.decisions[name].values for name in names))
    return sorted({number.of(dict(zip(names, each, strict=True))) for each in answers})
