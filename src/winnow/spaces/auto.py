"""A user's own network becomes a space by itself: its widths, depths and kernel sizes, as many as can be smaller.

The largest architecture is the network as it is, to the bit and with its weights. What became elastic is what a trace
of one run found to hang together (auto_trace) and what then proved to be the same network without it (auto_check).
"""

import difflib
import fnmatch
import inspect
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from winnow.core.choosers import uniform
from winnow.core.decision import Value
from winnow.core.dotted import function_at
from winnow.core.errors import Refused, blamed
from winnow.core.options import Positive
from winnow.core.space import Space
from winnow.data.inputs.images import facts_of, shape_of
from winnow.spaces.auto_check import differs, first
from winnow.spaces.auto_code import absent, write
from winnow.spaces.auto_layers import copied
from winnow.spaces.auto_plan import Plan, planned
from winnow.spaces.auto_trace import Traced, trace
from winnow.spaces.auto_units import settle
from winnow.spaces.auto_weights import importance_of, load_weights

KINDS = ("width", "depth", "kernel")
WIDTHS = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_PLANS: dict[str, Plan] = {}  # of networks by name: one is built anew for every child that is retrained


def auto(
    model: str | Callable[..., nn.Module],
    weights: str | None = None,
    only: list[str] | None = None,
    except_: list[str] | None = None,
    elastic: Sequence[str] = KINDS,
    widths: Sequence[float] = WIDTHS,
    divisor: Positive = 4,
    classes: int = 10,
    image_channels: int = 3,
    image_height: int = 32,
    image_width: int = 32,
) -> Space:
    """The network that `model` ("my_net:build", or a function) returns, told what it takes of `classes` and the images.

    `weights`: a file of its weights; then of each width the channels that the next layers weigh most remain, else the
    first ones. `only`, `except_`: paths ("layer1", "layer1.*.conv2") or types ("Conv2d") that may, or may not, change.
    `widths` are shares of a layer's channels, rounded to `divisor`. The space's `table` says what became elastic and
    why the rest did not. Refused where the network cannot be followed, or nothing of it can be smaller.
    """
    _check(elastic, widths, divisor)
    facts = {"classes": classes, **facts_of((image_channels, image_height, image_width))}
    net, name = _built(model, facts)
    if weights is not None:
        load_weights(net, weights, name)
    key = json.dumps(
        [name, weights, only, except_, list(elastic), list(widths), divisor, sorted(facts.items())], default=str
    )
    plan = _PLANS.get(key) if isinstance(model, str) else None
    if plan is None:
        x = _example(facts)
        plan = _planned(net, name, x, only, except_, elastic, widths, divisor, weights is not None)
        if isinstance(model, str):
            _PLANS[key] = plan
    space = Space(plan.built(net))
    space.original = space.decide(lambda d: d.values[-1])
    space.table, space.plan = plan.table(), plan  # type: ignore[assignment]
    return space


def _check(elastic: Sequence[str], widths: Sequence[float], divisor: int) -> None:
    if foreign := [kind for kind in elastic if kind not in KINDS] or ([] if elastic else ["nothing"]):
        raise Refused(f"elastic takes some of {', '.join(KINDS)}, not {foreign[0]!r}")
    if any(isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1 for share in widths):
        raise Refused(f"widths takes shares of a layer's channels, above 0 and up to 1, not {list(widths)}")
    if type(divisor) is not int or divisor < 1:
        raise Refused(f"divisor takes a whole number of 1 or more, not {divisor!r}")


def _built(model: str | Callable[..., nn.Module], facts: Mapping[str, Any]) -> tuple[nn.Module, str]:
    name = model if isinstance(model, str) else getattr(model, "__name__", "the network")
    build = function_at(model, f"space.model {model!r}") if isinstance(model, str) else model
    accepted = inspect.signature(build).parameters
    with blamed(f"space.model {name!r}"):
        net = build(**{key: value for key, value in facts.items() if key in accepted})
        if isinstance(net, nn.Module) and any(is_lazy(t) for t in itertools.chain(net.parameters(), net.buffers())):
            with torch.no_grad():
                net.eval()(_example(facts))  # layers that wait for an input to know their size
            net.train()
    if not isinstance(net, nn.Module):
        raise Refused(f"space.model {name!r} must return an nn.Module, not {type(net).__name__}")
    if isinstance(net, Space):
        raise Refused(f"space.model {name!r} returns a winnow Space already: name it as space.name")
    return (net if isinstance(model, str) else copied(net)), name  # a function may give what somebody holds


def _example(facts: Mapping[str, Any]) -> Tensor:
    """Two images of noise; no stream of random numbers is touched."""
    return torch.randn(2, *shape_of(facts), generator=torch.Generator().manual_seed(0))


def _planned(
    net: nn.Module,
    name: str,
    x: Tensor,
    only: Sequence[str] | None,
    except_: Sequence[str] | None,
    elastic: Sequence[str],
    widths: Sequence[float],
    divisor: int,
    sort: bool,
) -> Plan:
    trial = copied(net).eval()
    modules = {path: type(module).__name__ for path, module in trial.named_modules() if path}
    allowed = _allowed(modules, only, except_)
    importance = importance_of(trial) if sort else None

    def plan_of(net: nn.Module) -> tuple[Plan, Traced]:
        traced = trace(net, x)
        settle(traced.seen)
        return planned(net, traced, allowed, importance, widths, divisor, elastic), traced

    with blamed(f"space.model {name!r} cannot be followed, given images of shape {tuple(x.shape)}"):
        plan, traced = plan_of(trial)
    plan = _counted(trial, plan, traced, plan_of, x)
    if not plan.decisions:
        reasons = "; ".join(f"{path}: {why}" for path, why in list(plan.fixed.items())[:3])
        raise Refused(
            f"nothing of {name!r} can be elastic ({reasons or 'no layer with channels of its own was called'})"
        )
    return plan


def _counted(
    net: nn.Module, plain: Plan, traced: Traced, plan_of: Callable[[nn.Module], tuple[Plan, Traced]], x: Tensor
) -> Plan:
    """`plain`, checked; where code tells numbers of channels that are open, with those modules as graphs that ask.

    Of several plans in which something did not prove right, that which leaves most open.
    """
    graphs, written = _graphs(net, traced, x)
    found: list[Plan] = []
    if written:
        second, again = plan_of(graphs)
        why = again.seen.units.why
        told = {n.path for n in second.numbers if n.told and any(unit not in why for unit in n.labels.tolist() if unit)}
        for paths in (told, set(written)):
            if not paths or (found and paths == told):
                continue
            numbers = [number for number in second.numbers if number.path in paths]
            plan = replace(second, written={p: written[p] for p in written if p in paths}, numbers=numbers)
            found.append(verified(net, plan, x))
            if len(found[-1].decisions) == len(plan.decisions):
                return found[-1]
    found.append(verified(net, plain, x))
    return max(found, key=lambda each: sum(len(d.options) for d in each.decisions))


def _graphs(net: nn.Module, traced: Traced, x: Tensor) -> tuple[nn.Module, dict[str, Sequence[str]]]:
    """A copy of `net` with graphs in place of all modules whose code gives a shape to channels that could be fewer.

    None of them but computes what the code does on `x`, to the bit.
    """
    units, modules = traced.seen.units, dict(net.named_modules())
    paths = {}
    for path, labels in traced.counting:
        if path not in paths and units.free(labels).any():
            left = absent(modules[path], traced.given[path]) if path in traced.given else ()
            if left is not None:
                paths[path] = left
    graphs, written = write(copied(net), paths)
    if written and not _computes(graphs, net, x):
        alone = {p: left for p, left in written.items() if _computes(write(copied(net), {p: left})[0], net, x)}
        graphs, written = write(copied(net), alone)
    return graphs, written


def _computes(graphs: nn.Module, net: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        try:
            return torch.equal(first(graphs(x)), first(net(x)))
        except Exception:  # a graph of code that does something else when it is called otherwise
            return False


def verified(net: nn.Module, plan: Plan, x: Tensor, children: int = 2) -> Plan:
    """`plan` without decisions whose smaller children are not `net` without what they leave out."""
    while plan.decisions:
        space = Space(plan.built(copied(net)))
        draws = random.Random(0)
        depths = {d.name for d, _ in plan.chains}
        tried = [space.decide(lambda d, long=depths: d.values[-1 if d.name in long else 0])]  # reaches all decisions
        tried += [space.decide(lambda d: d.values[0]), *(space.decide(uniform(draws)) for _ in range(children))]
        failing = next((arch for arch in tried if differs(net, plan, space, arch, x) is not None), None)
        if failing is None:
            return plan
        for name, said in _failing(net, plan, space, failing, list(failing), x).items():
            plan = plan.without([name], said)
    return plan


def _failing(
    net: nn.Module, plan: Plan, space: Space, arch: Mapping[str, Value], names: list[str], x: Tensor
) -> dict[str, str]:
    """Which of `names`, answered as in `arch` while all else is whole, makes children differ, and how: by halving.

    Where two halves are right and both together are not, the last of them is named.
    """
    said = differs(net, plan, space, space.decide(lambda d: arch[d.name] if d.name in names else d.values[-1]), x)
    if said is None:
        return {}
    if len(names) == 1:
        return {names[0]: said}
    half = len(names) // 2
    found: dict[str, str] = {}
    for part in (names[:half], names[half:]):
        found |= _failing(net, plan, space, arch, part, x)
    return found or {names[-1]: f"with others, {said}"}


def _allowed(
    modules: Mapping[str, str], only: Sequence[str] | None, except_: Sequence[str] | None
) -> Callable[[str], bool]:
    """Whether a path may change. Refused for a pattern that names nothing."""
    chosen = None if only is None else _matching(modules, only, "only")
    barred = _matching(modules, except_ or (), "except")
    return lambda path: (chosen is None or path in chosen) and path not in barred


def _matching(modules: Mapping[str, str], patterns: Sequence[str], what: str) -> set[str]:
    """The paths that the patterns name: themselves, what lies below, or all modules of a type."""
    if isinstance(patterns, str) or not all(isinstance(pattern, str) for pattern in patterns):
        raise Refused(f"space.{what} takes a list of module paths or types, like [layer1, Conv2d], not {patterns!r}")
    found: set[str] = set()
    for pattern in patterns:
        dotted = pattern.replace("/", ".")
        named = {p for p, kind in modules.items() if kind == pattern or fnmatch.fnmatchcase(p, dotted)}
        if not named:
            near = difflib.get_close_matches(dotted, [*modules, *modules.values()], 1, 0)
            raise Refused(
                f"space.{what} names {pattern!r}, which is no path or type of the network; the nearest is {near[0]!r}"
            )
        found |= {p for p in modules if any(p == each or p.startswith(f"{each}.") for each in named)}
    return found
