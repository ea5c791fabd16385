"""From channels that hang together to decisions: widths, depths and kernel sizes of a user's network."""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from winnow.core.decision import Decision
from winnow.holes.cut import CONVOLUTIONS, Axis, Cut, Kept
from winnow.spaces.auto_code import Number, ask, write
from winnow.spaces.auto_layers import is_layer
from winnow.spaces.auto_trace import Traced

Allowed = Callable[[str], bool]
Importance = Callable[[str, str], Tensor]  # of each channel of (path, "in" or "out")


@dataclass(frozen=True)
class Group:
    """Units that can be left out in turn, the last of `units` first; of each, `channels` of layer `path`."""

    decision: Decision
    path: str
    units: tuple[int, ...]
    channels: int


@dataclass
class Plan:
    """What becomes elastic, and why the rest does not: rows (path, why)."""

    groups: list[Group] = field(default_factory=list)
    kernels: dict[str, Decision] = field(default_factory=dict)  # by path
    chains: list[tuple[Decision, list[str]]] = field(default_factory=list)
    fixed: dict[str, str] = field(default_factory=dict)
    units: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # (path, side) → unit of each channel
    written: Mapping[str, Sequence[str]] = field(default_factory=dict)  # graphs: auto_code.write
    numbers: list[Number] = field(default_factory=list)  # in it, with units for labels

    def axis(self, path: str, side: str) -> Axis | None:
        return self._axis(self.units[path, side]) if (path, side) in self.units else None

    @functools.cached_property
    def _ranks(self) -> dict[int, tuple[str, int]]:
        return {unit: (g.decision.name, i * g.channels) for g in self.groups for i, unit in enumerate(g.units)}

    def _axis(self, units: Tensor) -> Axis:
        found = [self._ranks.get(unit, (None, -1)) for unit in units.tolist()]
        return Axis(tuple(name for name, _ in found), tuple(below for _, below in found))

    def without(self, names: Sequence[str], why: str) -> "Plan":
        """The same with these decisions closed."""
        fixed = {g.path: why for g in self.groups if g.decision.name in names}
        fixed |= {path: why for path, d in self.kernels.items() if d.name in names}
        fixed |= {paths[0]: why for d, paths in self.chains if d.name in names}
        return replace(
            self,
            groups=[g for g in self.groups if g.decision.name not in names],
            kernels={path: d for path, d in self.kernels.items() if d.name not in names},
            chains=[(d, paths) for d, paths in self.chains if d.name not in names],
            fixed=self.fixed | fixed,
        )

    def table(self) -> list[tuple[str, str, str]]:
        """Rows (path, what, range or reason): what is elastic, then what is not."""
        rows = [
            (g.path, g.decision.name.rpartition("/")[2], ", ".join(map(str, g.decision.options))) for g in self.groups
        ]
        rows += [(path, "kernel", ", ".join(map(str, d.options))) for path, d in self.kernels.items()]
        rows += [(paths[0], "depth", f"{len(paths)} blocks, 0 to all") for _, paths in self.chains]
        return rows + [(path, "fixed", why) for path, why in self.fixed.items()]

    @property
    def decisions(self) -> list[Decision]:
        return [*(g.decision for g in self.groups), *self.kernels.values(), *(d for d, _ in self.chains)]

    def built(self, net: nn.Module) -> nn.Module:
        """`net` itself, or its graph, with layers, blocks and numbers of its code replaced by holes."""
        by_name = {d.name: d for d in self.decisions}
        net, _ = write(net, self.written)
        self._ask(net, by_name)
        holes: dict[int, nn.Module] = {}
        modules = dict(net.named_modules())
        for path in dict.fromkeys(path for path, _ in self.units):
            taken, made = self.axis(path, "in"), self.axis(path, "out")
            named = {name for axis in (taken, made) if axis is not None for name in axis.names if name is not None}
            kernel = self.kernels.get(path)
            if named or kernel is not None:
                asked = [by_name[name] for name in sorted(named)]
                holes[id(modules[path])] = Cut(modules[path], asked, taken, made, kernel)
        _put(net, holes)
        blocks = {
            id(modules[path]): Kept(decision, place, modules[path])
            for decision, paths in self.chains
            for place, path in enumerate(paths)
        }
        _put(net, blocks)
        return net

    def _ask(self, net: nn.Module, by_name: Mapping[str, Decision]) -> None:
        """Holes for the numbers in graphs; a node in which nothing is open stays as it is."""
        asked: dict[tuple[str, str], dict[int, tuple[list[Decision], Axis]]] = {}
        for number in self.numbers:
            axis = self._axis(number.labels)
            open_names = dict.fromkeys(name for name in axis.names if name is not None)
            asked.setdefault((number.path, number.node), {})[number.place] = [by_name[n] for n in open_names], axis
        ask(net, {key: places for key, places in asked.items() if any(decisions for decisions, _ in places.values())})


def _put(net: nn.Module, holes: Mapping[int, nn.Module]) -> None:
    for module in list(net.modules()):
        if isinstance(module, Cut | Kept):
            continue
        for name, child in list(module._modules.items()):
            if id(child) in holes:
                module._modules[name] = holes[id(child)]


def planned(
    net: nn.Module,
    traced: Traced,
    allowed: Allowed,
    importance: Importance | None,
    widths: Sequence[float],
    divisor: int,
    kinds: Sequence[str],
) -> Plan:
    """All that can become elastic. `importance`: what is least important goes first; else what comes last."""
    seen = traced.seen
    plan = Plan(
        units={key: seen.units.roots(labels) for key, labels in seen.axes.items()},
        numbers=[replace(each, labels=seen.units.roots(each.labels)) for each in traced.numbers],
    )
    if "width" in kinds:
        _widths(plan, traced, allowed, importance, widths, divisor)
    modules = dict(net.named_modules())
    if "kernel" in kinds:
        for path in dict.fromkeys(path for path, _ in plan.units):
            _kernel(plan, path, modules[path], allowed)
    if "depth" in kinds:
        _depths(plan, traced, modules, allowed)
    return plan


def _widths(
    plan: Plan,
    traced: Traced,
    allowed: Allowed,
    importance: Importance | None,
    widths: Sequence[float],
    divisor: int,
) -> None:
    why = traced.seen.units.why
    where: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)  # unit → how many of its channels each axis has
    for key, units in plan.units.items():
        for unit in units.tolist():
            if unit:
                where[unit][key] += 1
    alike: dict[tuple, list[int]] = {}
    for unit, places in where.items():
        alike.setdefault(tuple(places.items()), []).append(unit)
    used: Counter[str] = Counter()
    for signature, members in alike.items():
        (path, _), channels = next((key, count) for key, count in signature if key[1] == "out")
        makers = [key[0] for key, _ in signature if key[1] == "out"]
        reasons = [why[unit] for unit in members if unit in why]
        options = _options(len(members), channels, widths, divisor)
        if reasons:
            plan.fixed.setdefault(path, reasons[0])
        elif not all(allowed(maker) for maker in makers):
            plan.fixed.setdefault(path, "left out by only and except")
        elif len(members) < 2:
            plan.fixed.setdefault(path, "all its channels hang together")
        elif len(options) < 2:
            plan.fixed.setdefault(path, f"{len(members) * channels} channels are too few for steps of {divisor}")
        else:
            used[path] += 1
            name = f"{path.replace('.', '/')}/width" + (str(used[path]) if used[path] > 1 else "")
            ordered = _ordered(plan, members, signature, importance)
            plan.groups.append(Group(Decision(name, options), path, ordered, channels))


def _options(units: int, channels: int, widths: Sequence[float], divisor: int) -> tuple[int, ...]:
    """Numbers of channels, smallest first: each share of the whole, rounded to the divisor and to whole units."""
    step, most = math.lcm(channels, divisor), units * channels
    rounded = {max(step, round(share * most / step) * step) for share in widths}
    return (*sorted(each for each in rounded if each < most), most)


def _ordered(plan: Plan, units: list[int], signature: tuple, importance: Importance | None) -> tuple[int, ...]:
    if importance is None:
        return tuple(units)
    scores = dict.fromkeys(units, 0.0)
    for (path, side), _ in signature:
        if side == "in":
            weights = importance(path, side)
            for unit, weight in zip(plan.units[path, side].tolist(), weights.tolist(), strict=True):
                if unit in scores:
                    scores[unit] += weight
    return tuple(sorted(units, key=lambda unit: -scores[unit]))  # ties: what comes first


def _kernel(plan: Plan, path: str, module: nn.Module, allowed: Allowed) -> None:
    if not isinstance(module, CONVOLUTIONS) or not is_layer(module):
        return
    side = module.kernel_size[0]
    if any(each != side for each in module.kernel_size) or side < 5 or side % 2 == 0 or not allowed(path):
        return
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        return
    spans = [(p, d) for p, d in zip(module.padding, module.dilation, strict=True)]
    sides = tuple(k for k in range(3, side, 2) if all(p >= d * (side - k) // 2 for p, d in spans))
    if sides:
        plan.kernels[path] = Decision(f"{path.replace('.', '/')}/kernel", (*sides, side))


def _depths(plan: Plan, traced: Traced, modules: Mapping[str, nn.Module], allowed: Allowed) -> None:
    """Chains of blocks that add to what they take; a block inside another stays."""
    found = [
        call
        for call in traced.blocks
        if call.same and call.adds and traced.calls[call.path] == 1 and call.path and _weighs(modules[call.path])
    ]
    paths = {call.path for call in found}
    outer = [call for call in found if not any(call.path.startswith(f"{other}.") for other in paths)]
    chain: list = []
    for call in [*outer, None]:
        parent = None if call is None else call.path.rpartition(".")[0]
        if chain and (call is None or call.before != chain[-1].after or parent != chain[-1].path.rpartition(".")[0]):
            _chained(plan, [each.path for each in chain], allowed)
            chain = []
        if call is not None:
            chain.append(call)


def _chained(plan: Plan, paths: list[str], allowed: Allowed) -> None:
    if not all(allowed(path) for path in paths):
        plan.fixed.setdefault(paths[0], "left out by only and except")
        return
    parent = paths[0].rpartition(".")[0] if len(paths) > 1 else paths[0]
    name = f"{parent.replace('.', '/')}/depth" if parent else "depth"
    taken = {d.name for d, _ in plan.chains}
    name = name if name not in taken else f"{paths[0].replace('.', '/')}/depth"
    plan.chains.append((Decision(name, tuple(range(len(paths) + 1))), paths))


def _weighs(module: nn.Module) -> bool:
    return any(isinstance(each, (*CONVOLUTIONS, nn.Linear)) for each in module.modules())
