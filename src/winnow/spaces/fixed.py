"""A network as it is: what a found one is held against, as a space of one architecture."""

import inspect

from torch import nn

from winnow.core.dotted import function_at
from winnow.core.errors import Refused, blamed
from winnow.core.space import Space


def fixed(model: str, **facts: object) -> Space:
    """The network that `model` ("my_net:build") returns, told what it takes by name of `facts` (classes, image_size).

    Refused where it returns no network, or one with decisions open.
    """
    build = function_at(model, f"network {model!r}")
    with blamed(f"network {model!r}"):
        accepted = inspect.signature(build).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
        net = build(**{key: value for key, value in facts.items() if takes_all or key in accepted})
    if not isinstance(net, nn.Module):
        raise Refused(f"network {model!r} must return an nn.Module, not {type(net).__name__}")
    space = net if isinstance(net, Space) else Space(net, fixed=True)
    if space.decisions:
        raise Refused(
            f"network {model!r} leaves {len(space.decisions)} decisions open, such as {next(iter(space.decisions))!r}: "
            "it takes a network as it is, without a Choice"
        )
    return space
