"""Any ordinary network becomes a space: put holes into it."""

import copy
from collections.abc import Callable

from torch import nn

from winnow.core.holes import Hole
from winnow.core.space import Space

Rule = Callable[[str, nn.Module], Hole | None]


def replace(net: nn.Module, rule: Rule) -> Space:
    """A space made of a copy of `net` in which every module for which `rule(path, module)` returns a hole is that hole.

    `path` is the module's dotted path with "/" for "." ("layer1/0/conv2"), ready to name a decision. What lies below a
    replaced module is not visited; `net` itself stays as it was. ValueError where the rule replaces nothing.
    """
    net = copy.deepcopy(net)

    def visit(module: nn.Module, path: str) -> nn.Module:
        hole = rule(path, module) if path else None
        if hole is not None:
            return hole
        for name, child in module.named_children():
            setattr(module, name, visit(child, f"{path}/{name}" if path else name))
        return module

    return Space(visit(net, ""))
