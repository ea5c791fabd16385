"""A search space: an ordinary network with holes."""

import copy
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Option, Value
from winnow.core.example import Example
from winnow.core.graph import Graph, NodeGraph
from winnow.core.holes import Asking, Board, Hole, Setting, Weights


class Space(nn.Module):
    """`model` with its holes connected: it asks decisions, runs settings and derives children.

    `decisions` maps each name to its `Decision`; `space.parameters()` are exactly the weights of all candidates.
    In a view (`within`) they ask for fewer answers than its holes can give, which `whole` has.
    Raises ValueError where one name stands for two different decisions, or `model` has no hole and is not `fixed`: a
    network as it is, whose one architecture is empty.

    >>> from winnow import Choice, Space
    >>> space = Space(nn.Sequential(Choice("a", {1: nn.Identity(), 2: nn.ReLU()}), Choice("b", {3: nn.Tanh()})))
    >>> space.decide(lambda d: d.values[-1]).to_json()
    '{"a":2,"b":3}'
    >>> space.within({"a": [1]}).count()
    1

    `again` builds it once more, where the values of its builder are to be kept; `example` is one input that it was
    built for, or its shape. Who builds a space sets them (train.building). `original` is the architecture that is the
    network it was made of, where it was made of one and keeps all of it as options (core.replace). `table`: what of it
    became open, in rows (path, what, range or reason) (spaces.auto). `represent(arch)`: which one stands for all that
    are one network; None of a network that computes nothing. `graphs(arch)`: its cells by type, where their names are
    not enough to draw them; `descriptions`: in words what an option computes (spaces.descriptions), by option.
    """

    again: Callable[[], "Space"] | None = None
    example: Example | None = None
    original: Architecture | None = None
    table: Sequence[tuple[str, str, str]] = ()
    represent: Callable[[Architecture], Architecture | None] = staticmethod(lambda arch: arch)
    graphs: Callable[[Mapping[str, Value]], Mapping[str, Graph | NodeGraph]] | None = None
    descriptions: Mapping[str, str] = MappingProxyType({})

    def __init__(self, model: nn.Module, *, fixed: bool = False):
        super().__init__()
        self.model, self.board = model, Board()
        self.decisions: dict[str, Decision] = {}
        self.holes = tuple(m for m in model.modules() if isinstance(m, Hole))
        if not self.holes and not fixed:
            raise ValueError("the network has no open decision: nothing to search")
        for hole in self.holes:
            hole.board = self.board
            for d in hole.decisions:
                if self.decisions.setdefault(d.name, d) != d:
                    raise ValueError(f"{d.name!r} names two decisions: {self.decisions[d.name]} and {d}")
        self.whole: Mapping[str, Decision] = dict(self.decisions)

    def forward(self, x: Tensor, setting: Setting) -> Tensor:
        """The model's output with `setting`: an architecture, mixture weights (options,) per decision, or both."""
        setting = self._spelled(setting)
        self.board.setting = setting
        try:
            output: Tensor = self.model(x)
        finally:
            self.board.clear()
        for part in output if isinstance(output, tuple | list) else (output,):
            if isinstance(part, Tensor) and part.grad_fn is not None:
                part.register_hook(functools.partial(self.board.recall, setting))
        return output

    def decide(self, choose: Callable[[Decision], Value]) -> Architecture:
        """Walk the space, ask `choose` once for every decision that is reached; ValueError on a foreign value."""
        made: dict[str, Value] = {}

        def answer(d: Decision) -> Value:
            if d.name not in made:
                made[d.name] = choose(self.decisions[d.name])
            value, d = made[d.name], self.decisions[d.name]
            if value not in d.values:
                raise ValueError(f"decision {d.name!r} takes {_listed(d.values)}, not {value!r}")
            return value

        def visit(module: nn.Module) -> None:
            below = module.children()
            if isinstance(module, Hole):
                below = iter(module.inside({d.name: answer(d) for d in module.decisions}))
            for child in below:
                visit(child)

        visit(self.model)
        return Architecture.of(made)

    def check(self, arch: Mapping[str, Value]) -> None:
        """ValueError unless `arch` answers exactly the decisions it reaches, each with an option of this space."""

        def answer(d: Decision) -> Value:
            if d.name not in arch:
                raise ValueError(f"the architecture leaves decision {d.name!r} open; it takes {_listed(d.values)}")
            return arch[d.name]

        foreign = sorted(set(arch) - set(self.decisions))
        if foreign:
            known = _listed(tuple(self.decisions))
            raise ValueError(f"the architecture is of another space: no decision {foreign[0]!r} here, but {known}")
        unreached = sorted(set(arch) - set(self.decide(answer)))
        if unreached:
            raise ValueError(f"the architecture answers {unreached[0]!r}, which its other answers leave out of reach")

    def canonical(self, arch: Architecture) -> Architecture | None:
        """By which one those that are one network are known to who draws and compares: as `represent` has it, or `arch`
        itself where that is no answer here. None of a network that computes nothing.
        """
        found = self.represent(arch)
        known = self.decisions
        here = found is None or all(name in known and value in known[name].values for name, value in found.choices)
        return found if here else arch

    def derive(self, arch: Mapping[str, Value]) -> nn.Module:
        """The child: a copy in which each hole has become what `arch` decided, with the weights it had."""
        self.check(arch)
        memo: dict[int, object] = {}

        def settle(module: nn.Module) -> None:  # inner before outer; what is not kept is never copied
            hole = module if isinstance(module, Hole) else None
            for value in vars(module).values():  # computed from weights, as hooks of weight_norm do: not to be copied
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    memo[id(value)] = value.detach()
            answers = {} if hole is None else {d.name: arch[d.name] for d in hole.decisions}
            for child in module.children() if hole is None else hole.inside(answers):
                settle(child)
            if hole is not None and id(hole) not in memo:
                memo[id(hole)] = copy.deepcopy(hole.settled(answers), memo)

        settle(self.model)
        return copy.deepcopy(self.model, memo)

    def within(self, live: Mapping[str, Sequence[Option]]) -> "Space":
        """A view: the same network and weights, asked for fewer answers of the decisions in `live`.

        Always of the whole, so that options may come back. ValueError on a decision or an option that is not there.
        """
        if foreign := sorted(set(live) - set(self.whole)):
            raise ValueError(f"no decision {foreign[0]!r} here, but {_listed(tuple(self.whole))}")
        view = copy.copy(self)
        view.decisions = {name: d.within(live[name]) if name in live else d for name, d in self.whole.items()}
        return view

    def _spelled(self, setting: Setting) -> Setting:
        """Holes know all their options: weights (options,) of a narrowed decision become one weight an option."""
        narrowed = [name for name, d in self.decisions.items() if d != self.whole[name]]
        spelled: dict[str, Value | Weights] = {}
        for name in narrowed:
            options, value = self.decisions[name].options, setting.get(name)
            if isinstance(value, Tensor):
                spelled[name] = dict(zip(options, value.unbind(), strict=True))
            elif value is None and self.decisions[name].several:
                spelled[name] = options  # what is undecided keeps all that is live
        return {**setting, **spelled} if spelled else setting

    def below(self, decision: Decision, option: Option) -> tuple[Decision, ...]:
        """The decisions that open up directly below `option` of `decision`, in walking order."""
        found: dict[str, Decision] = {}
        for hole in self._holes_of(decision.name):
            found.update((d.name, self.decisions[d.name]) for d in _opened(hole, decision, option))
        return tuple(found.values())

    def _holes_of(self, name: str) -> list[Asking]:
        return [hole for hole in self.holes if isinstance(hole, Asking) and hole.decision.name == name]

    def count(self) -> int:
        """How many architectures the space holds, exactly; from the nesting, without listing them.

        A decision that opens below several options of one single-option decision is counted below each, as those
        exclude each other; one that is asked in any case is counted once. Only where decisions are shared in other ways
        are architectures walked one by one.
        """
        top = {d.name: self.decisions[d.name] for d in _first_decisions(self.model)}
        inner: dict[tuple[str, Option], list[Decision]] = {}
        openers: dict[str, set[str]] = {}
        for d in self.decisions.values():
            for option in _selectable(d):
                opened = [each for each in self.below(d, option) if each.name not in top]
                inner[d.name, option] = opened
                for each in opened:
                    openers.setdefault(each.name, set()).add(d.name)
        if self._shared(openers):
            return sum(1 for _ in self.every())

        @functools.cache
        def answers(name: str) -> int:
            d = self.decisions[name]
            weights = [math.prod(answers(each.name) for each in inner[name, o]) for o in _selectable(d)]
            if not d.several:
                return sum(weights)
            return sum(_symmetric(weights)[d.pick if d.least is None else d.least : d.pick + 1])

        return math.prod(answers(name) for name in top)

    def _shared(self, openers: Mapping[str, set[str]]) -> bool:
        """Whether some decision is reached in ways that neither exclude each other nor hold in any case."""
        for name, parents in openers.items():
            (parent, *others) = parents
            d = self.decisions[parent]
            options = [o for o in _selectable(d) if any(each.name == name for each in self.below(d, o))]
            if others or (d.several and len(options) > 1):
                return True
        return any(self._differs(d) for d in self.decisions.values())

    def _differs(self, d: Decision) -> bool:
        """Whether tied holes of one decision open different decisions, and not all of them are reached in any case."""
        holes, always = self._holes_of(d.name), {id(hole) for hole in _first_holes(self.model)}
        if all(id(hole) in always for hole in holes):
            return False
        return any(len({frozenset(each.name for each in _opened(hole, d, o)) for hole in holes}) > 1 for o in d.options)

    def every(self) -> Iterator[Architecture]:
        """Every architecture once, in lexicographic order of the values; an odometer over the decisions reached."""
        script: list[int] = []
        while True:
            sizes: list[int] = []

            def turn(d: Decision, script: list[int] = script, sizes: list[int] = sizes) -> Value:
                position = len(sizes)
                sizes.append(len(d.values))
                if position == len(script):
                    script.append(0)
                return d.values[script[position]]

            yield self.decide(turn)
            while script and script[-1] + 1 == sizes[len(script) - 1]:
                script.pop()
            if not script:
                return
            script[-1] += 1

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the decisions: equal for a space and its smaller or larger self."""
        rows = [
            [d.name, list(d.options), d.pick, list(d.mixture_only), *([] if d.least is None else [d.least])]
            for _, d in sorted(self.decisions.items())
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def _first_holes(module: nn.Module) -> Iterator[Hole]:
    if isinstance(module, Hole):
        yield module
        return
    for child in module.children():
        yield from _first_holes(child)


def _first_decisions(module: nn.Module) -> Iterator[Decision]:
    return (d for hole in _first_holes(module) for d in hole.decisions)


def _selectable(d: Decision) -> tuple[Option, ...]:
    return tuple(option for option in d.options if option not in d.mixture_only)


def _opened(hole: Asking, decision: Decision, option: Option) -> list[Decision]:
    value: Value = (option,) if decision.several else option
    return [d for module in hole.kept(value) for d in _first_decisions(module)]


def _symmetric(weights: Sequence[int]) -> list[int]:
    """The elementary symmetric sums of `weights`: at place k, the products of all k of them, added up."""
    sums = [1] + [0] * len(weights)
    for weight in weights:
        for k in range(len(weights), 0, -1):
            sums[k] += weight * sums[k - 1]
    return sums


def _listed(values: Sequence[Value], most: int = 8) -> str:
    shown = ", ".join(repr(value) for value in values[:most])
    return f"one of {shown}" + (f" and {len(values) - most} more" if len(values) > most else "")
