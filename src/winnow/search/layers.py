"""Decisions over the same candidates are one layer: members of an ensemble share what a layer can be."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.core.architecture import Architecture
from winnow.core.decision import Option, Value
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.split import Split

Key = tuple[str, Option]  # the first decision of a layer, and one of its options


@dataclass(frozen=True)
class Layer:
    """Decisions over the same candidates: members of an ensemble that share their weights. Most layers have one."""

    names: tuple[str, ...]

    @property
    def first(self) -> str:
        return self.names[0]

    def options(self, view: Space) -> tuple[Option, ...]:
        """What an architecture of `view` may take here."""
        d = view.decisions[self.first]
        return tuple(option for option in d.options if option not in d.mixture_only)


def layers_of(space: Space) -> list[Layer]:
    """The layers of the decisions that take one option each; where an ensemble splits is no layer."""
    alike: dict[str, int] = {}  # decision → its layer
    owner: dict[int, int] = {}  # a candidate → the layer of the first decision that holds it
    for hole in (each for each in space.holes if not isinstance(each, Split)):
        for d in hole.decisions:
            if not d.several:
                held = [id(module) for module in hole.candidates.values()] if isinstance(hole, Choice) else []
                known = [owner[each] for each in held if each in owner]
                number = alike.setdefault(d.name, known[0] if known else len(alike))
                owner.update({each: number for each in held if each not in owner})
    groups: dict[int, list[str]] = {}
    for name, number in alike.items():
        groups.setdefault(number, []).append(name)
    return [Layer(tuple(names)) for names in groups.values()]


def held(layers: Sequence[Layer], arch: Mapping[str, Any]) -> Iterator[Key]:
    """The options that an architecture takes, layer by layer; members of an ensemble may take several."""
    for layer in layers:
        for option in dict.fromkeys(arch[name] for name in layer.names if name in arch):
            yield layer.first, option


def genes(layers: Sequence[Layer], arch: Architecture) -> Mapping[str, Value]:
    """The answers of an architecture, and for the decisions of its layers that it did not reach the first given there.

    So that children of an ensemble whose split moves keep what their parent had: members go on from what was shared,
    and what becomes shared is the first member's. An architecture of layers of one decision is what it was.
    """
    found: dict[str, Value] = dict(arch)
    for layer in layers:
        given = [arch[name] for name in layer.names if name in arch]
        if len(layer.names) > 1 and given:
            found |= {name: given[0] for name in layer.names if name not in arch}
    return arch if len(found) == len(arch) else found
