"""A search space: an ordinary network with holes."""

import copy
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.holes import Board, Hole, Setting


class Space(nn.Module):
    """`model` with its holes connected: it asks decisions, runs settings and derives children.

    `decisions` maps each name to its `Decision`; `space.parameters()` are exactly the weights of all candidates.
    Raises ValueError where one name stands for two different decisions, or `model` has no hole.

    `again` builds it once more, where the values of its builder are to be kept; `image` is the shape of one image that
    it was built for. Who builds a space sets them (train.building). `original` is the architecture that is the network
    it was made of, where it was made of one and keeps all of it as options (core.replace).
    """

    again: Callable[[], "Space"] | None = None
    image: tuple[int, ...] | None = None
    original: Architecture | None = None

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.board = model, Board()
        self.decisions: dict[str, Decision] = {}
        self.holes = tuple(m for m in model.modules() if isinstance(m, Hole))
        if not self.holes:
            raise ValueError("the network has no open decision: nothing to search")
        for hole in self.holes:
            hole.board, d = self.board, hole.decision
            if self.decisions.setdefault(d.name, d) != d:
                raise ValueError(f"{d.name!r} names two decisions: {self.decisions[d.name]} and {d}")

    def forward(self, x: Tensor, setting: Setting) -> Tensor:
        """The model's output with `setting`: an architecture, mixture weights (options,) per decision, or both."""
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

        def visit(module: nn.Module) -> None:
            below = module.children()
            if isinstance(module, Hole):
                d = module.decision
                value = made[d.name] if d.name in made else made.setdefault(d.name, choose(d))
                if value not in d.values:
                    raise ValueError(f"decision {d.name!r} takes {_listed(d.values)}, not {value!r}")
                below = iter(module.kept(value))
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

    def derive(self, arch: Mapping[str, Value]) -> nn.Module:
        """The child: a copy in which each hole has become what `arch` decided, with the weights it had."""
        self.check(arch)
        memo: dict[int, object] = {}

        def settle(module: nn.Module) -> None:  # inner before outer; what is not kept is never copied
            hole = module if isinstance(module, Hole) else None
            for value in vars(module).values():  # computed from weights, as hooks of weight_norm do: not to be copied
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    memo[id(value)] = value.detach()
            for child in module.children() if hole is None else hole.kept(arch[hole.decision.name]):
                settle(child)
            if hole is not None and id(hole) not in memo:
                memo[id(hole)] = copy.deepcopy(hole.decided(arch[hole.decision.name]), memo)

        settle(self.model)
        return copy.deepcopy(self.model, memo)

    def below(self, decision: Decision, option: str | int) -> tuple[Decision, ...]:
        """The decisions that open up directly below `option` of `decision`, in walking order."""
        found: dict[str, Decision] = {}
        for hole in self.holes:
            if hole.decision.name == decision.name:
                value = option if decision.pick == 1 else (option,)
                for module in hole.kept(value):
                    found.update((d.name, d) for d in _first_decisions(module))
        return tuple(found.values())

    def count(self) -> int:
        """How many architectures the space holds, exactly: from the nesting, or by walking where nesting is shared."""
        parents: dict[str, set[tuple[str, str | int] | None]] = {name: set() for name in self.decisions}
        top = tuple({d.name: d for d in _first_decisions(self.model)}.values())
        for d in top:
            parents[d.name].add(None)
        for d in self.decisions.values():
            for option in d.options:
                for inner in self.below(d, option):
                    parents[inner.name].add((d.name, option))
        if any(len(found) > 1 for found in parents.values()):
            return sum(1 for _ in self.every())

        def answers(d: Decision) -> int:
            each = {o: math.prod(answers(inner) for inner in self.below(d, o)) for o in d.options}
            return sum(
                math.prod(each[o] for o in value) if isinstance(value, tuple) else each[value] for value in d.values
            )

        return math.prod(answers(d) for d in top)

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
        rows = [[d.name, list(d.options), d.pick, list(d.mixture_only)] for _, d in sorted(self.decisions.items())]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def _first_decisions(module: nn.Module) -> Iterator[Decision]:
    if isinstance(module, Hole):
        yield module.decision
        return
    for child in module.children():
        yield from _first_decisions(child)


def _listed(values: tuple[Value, ...], most: int = 8) -> str:
    shown = ", ".join(repr(value) for value in values[:most])
    return f"one of {shown}" + (f" and {len(values) - most} more" if len(values) > most else "")
