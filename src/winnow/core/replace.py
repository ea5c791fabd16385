"""Any ordinary network becomes a space: put holes into it."""

import contextlib
import copy
from collections.abc import Callable

from torch import nn

from winnow.core.decision import Value
from winnow.core.holes import Asking, Hole
from winnow.core.space import Space

Rule = Callable[[str, nn.Module], Hole | None]


def replace(net: nn.Module, rule: Rule) -> Space:
    """A space made of a copy of `net` in which every module for which `rule(path, module)` returns a hole is that hole.

    `path` is the module's dotted path with "/" for "." ("layer1/0/conv2"), ready to name a decision; the rule is asked
    once for a module that has several. What lies below a replaced module is not visited; `net` itself stays as it was.
    The space's `original` is `net` again, if every hole has the module that it replaces among its options.
    ValueError where the rule replaces nothing.

    >>> def rule(path, module):
    ...     return Choice(path, {"relu": module, "gelu": nn.GELU()}) if isinstance(module, nn.ReLU) else None
    >>> from winnow import Choice
    >>> sorted(replace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), rule).decisions)
    ['1']
    """
    net = copy.deepcopy(net)
    visited: dict[nn.Module, nn.Module] = {}
    unchanged: dict[str, set[Value]] = {}

    def visit(module: nn.Module, path: str) -> nn.Module:
        if module not in visited:
            hole = rule(path, module) if path else None
            visited[module] = module if hole is None else hole
            if isinstance(hole, Asking):
                kept = {v for v in hole.decision.values if any(part is module for part in hole.kept(v))}
                unchanged[hole.decision.name] = unchanged.get(hole.decision.name, kept) & kept
            if hole is None:
                for name, child in tuple(module._modules.items()):  # named_children() leaves out second names
                    if child is not None:
                        setattr(module, name, visit(child, f"{path}/{name}" if path else name))
        return visited[module]

    space = Space(visit(net, ""))
    with contextlib.suppress(LookupError):  # a hole that holds something else, or holes of its own
        space.original = space.decide(lambda d: sorted(unchanged[d.name], key=d.values.index)[0])
    return space
