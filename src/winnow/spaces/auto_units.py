"""Channels that hang together: which of a network's channels can only be kept or left out as one.

Every channel that a layer makes has a label, a number above 0; 0 is what stays. A *unit* is a set of labels that were
united. Labels of a tensor have its dimensions, of size 1 where they do not change along one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


class Units:
    """Union–find over labels; a unit that cannot be left out has a reason in `why`."""

    def __init__(self) -> None:
        self.parent = [0]
        self.why: dict[int, str] = {}  # by root

    def copy(self) -> "Units":
        other = Units()
        other.parent, other.why = list(self.parent), dict(self.why)
        return other

    def new(self, count: int) -> Tensor:
        """`count` labels, each a unit of its own."""
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def root(self, label: int) -> int:
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label

    def roots(self, labels: Tensor) -> Tensor:
        """The unit of each label, told by its smallest."""
        flat = [self.root(label) for label in labels.flatten().tolist()]
        return torch.tensor(flat, dtype=torch.long).reshape(labels.shape)

    def free(self, labels: Tensor) -> Tensor:
        """The unit of each label, 0 for those that stay."""
        flat = [self.root(label) for label in labels.flatten().tolist()]
        return torch.tensor([0 if unit in self.why else unit for unit in flat], dtype=torch.long).reshape(labels.shape)

    def freeze(self, labels: Tensor, why: str) -> None:
        for label in labels.unique().tolist():
            if label:
                self.why.setdefault(self.root(label), why)

    def unite(self, a: Tensor, b: Tensor, why: str) -> None:
        """Each label of `a` with that of `b` at its place; what meets 0 stays, because of `why`."""
        a, b = torch.broadcast_tensors(*(each[_once(a, b)] for each in (a, b)))
        if torch.equal(a, b):
            return
        pairs = torch.stack([a.flatten(), b.flatten()]).unique(dim=1)
        for one, other in pairs.t().tolist():
            if one and other:
                self.join(one, other)
            elif one or other:
                self.why.setdefault(self.root(one or other), why)

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        if low != high:
            self.parent[high] = low
            if high in self.why:
                self.why.setdefault(low, self.why.pop(high))

    def merge(self, labels: Tensor) -> None:
        """All of `labels` become one unit."""
        first, *others = labels.unique().tolist() or [0]
        for other in others:
            if first:
                self.join(first, other)
            else:
                self.why.setdefault(self.root(other), "it hangs together with channels that stay")


def _once(a: Tensor, b: Tensor) -> tuple[slice, ...]:
    """An index that takes one place along dimensions in which neither changes."""
    pairs = zip(a.shape, b.shape, strict=True)
    return tuple(slice(0, 1) if one == other == 1 else slice(None) for one, other in pairs)


def compact(labels: Tensor) -> Tensor:
    """The same labels, with size 1 along each dimension in which they do not change."""
    for d in range(labels.dim()):
        if labels.shape[d] > 1:
            first = labels.narrow(d, 0, 1)
            if labels.stride(d) == 0 or bool((labels == first).all()):
                labels = first
    return labels


def varying(labels: Tensor) -> list[int]:
    """The dimensions along which compact labels change."""
    return [d for d, size in enumerate(labels.shape) if size > 1]


@dataclass
class Seen:
    """What a trace leaves: units, the labels of each layer's channels, and what further restricts them."""

    units: Units = field(default_factory=Units)
    axes: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # (path, "in" | "out") → labels (channels,)
    grouped: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)  # inputs, outputs, groups of a convolution
    arrays: list[Tensor] = field(default_factory=list)  # labels that change along several dimensions

    def register(self, path: str, side: str, labels: Tensor) -> None:
        """Of a layer that is called several times all calls take the same channels."""
        if (path, side) in self.axes:
            self.units.unite(self.axes[path, side], labels, f"{path} is called with different channels")
        else:
            self.axes[path, side] = labels


def settle(seen: Seen) -> None:
    """Unite what must be, so that all that is kept is a whole block of each tensor and groups stay equally wide."""
    for inputs, outputs, groups in seen.grouped:
        _group(seen, inputs, outputs, groups)
    _straighten(seen.units, seen.arrays)


def _group(seen: Seen, inputs: Tensor, outputs: Tensor, groups: int) -> None:
    """A grouped convolution loses whole groups; where that leaves nothing to choose, all groups become narrower."""
    by_input, by_output = inputs.reshape(groups, -1), outputs.reshape(groups, -1)

    def whole(units: Units) -> None:
        for row in torch.cat([by_input, by_output], dim=1):
            units.merge(row)

    def narrower(units: Units) -> None:
        for rows in (by_input, by_output):
            for column in rows.t():
                units.merge(column)

    _best(seen, (whole, narrower), outputs)


def _best(seen: Seen, ways: Sequence[Callable[[Units], None]], labels: Tensor) -> None:
    """Go the first of `ways` that leaves most units among `labels`."""
    tried = []
    for way in ways:
        units = seen.units.copy()
        way(units)
        _straighten(units, seen.arrays)
        tried.append((open_units(units, labels), units))
    seen.units = max(tried, key=lambda each: each[0])[1]


def open_units(units: Units, labels: Tensor) -> int:
    return sum(root not in units.why for root in set(units.roots(labels).flatten().tolist()) if root)


def _straighten(units: Units, arrays: Sequence[Tensor]) -> None:
    """Labels that change along several dimensions come to change along one: that which leaves most units."""
    settled = False
    while not settled:
        settled = True
        for array in arrays:
            labels = compact(units.free(array))
            along = varying(labels)
            if len(along) > 1:
                settled = False
                _tie(units, labels, along)


def _tie(units: Units, labels: Tensor, along: Sequence[int]) -> None:
    def tied(units: Units, d: int) -> Units:
        for row in labels.movedim(d, 0).flatten(1):
            units.merge(row)
        return units

    best = max(along, key=lambda d: (open_units(tied(units.copy(), d), labels), d))
    tied(units, best)
