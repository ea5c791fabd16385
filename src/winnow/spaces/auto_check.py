"""Whether children are the network itself without what was left out: never trust a tracing without looking."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.decision import Value
from winnow.core.space import Space
from winnow.holes.cut import CONVOLUTIONS, TRANSPOSED
from winnow.spaces.auto_layers import copied
from winnow.spaces.auto_plan import Plan

CLOSE = 1e-5  # of the largest number
EXACT = 1e-9  # in float64


def masked(net: nn.Module, plan: Plan, arch: Mapping[str, Value]) -> nn.Module:
    """A copy of `net`, whole, in which nothing reads what `arch` leaves out: weights that would are 0."""
    net = copied(net)
    modules: dict[str, Any] = dict(net.named_modules())
    with torch.no_grad():
        for path in dict.fromkeys(path for path, _ in plan.units):
            axis, module = plan.axis(path, "in"), modules[path]
            answers = {
                **{d.name: d.options[-1] for d in plan.decisions},
                **arch,
            }  # what is out of reach matters nowhere
            kept = None if axis is None else axis.kept(answers)
            if kept is not None and isinstance(module, (*CONVOLUTIONS, nn.Linear)):
                _hide(module, sorted(set(range(len(axis.names))) - set(kept)))  # type: ignore[union-attr]
            if path in plan.kernels:
                _hide_ring(module.weight, int(answers[plan.kernels[path].name]))  # type: ignore[arg-type]
    for decision, paths in plan.chains:
        for place, path in enumerate(paths):
            if place >= arch[decision.name]:  # type: ignore[operator]
                modules[path].register_forward_hook(lambda module, inputs, output: inputs[0])
    return net


def _hide(module: Any, gone: list[int]) -> None:
    weight, groups = module.weight, getattr(module, "groups", 1)
    if isinstance(module, TRANSPOSED):
        weight[gone] = 0
        return
    ins, places = weight.shape[1], torch.tensor(gone, dtype=torch.long)
    weight.view(groups, -1, *weight.shape[1:])[places // ins, :, places % ins] = 0


def _hide_ring(weight: Tensor, side: int) -> None:
    inner = torch.zeros_like(weight)
    edge = (weight.shape[-1] - side) // 2
    index = (slice(None), slice(None), *([slice(edge, edge + side)] * (weight.dim() - 2)))
    inner[index] = 1
    weight *= inner


def differs(net: nn.Module, plan: Plan, space: Space, arch: Mapping[str, Value], x: Tensor) -> str | None:
    """Why the child of `arch` is not the masked network; None where it is, up to rounding, on `x`.

    Within `CLOSE` in float32 or, where that rounds too much, within `EXACT` in float64.
    """
    try:
        with torch.no_grad():
            child = space.derive(arch).eval()
            found = first(child(x))
    except Exception as error:
        said = str(error).strip().splitlines()
        return f"smaller it does not run: {said[0] if said else type(error).__name__}"
    whole = masked(net, plan, arch).eval()
    with torch.no_grad():
        expected = first(whole(x))
    if found.shape != expected.shape:
        return f"smaller it returns {tuple(found.shape)}, not {tuple(expected.shape)}"
    gap, scale = float((found - expected).abs().max()), float(expected.abs().max())
    if not gap <= CLOSE * scale and not _alike(child, whole, x):
        return f"smaller it answers otherwise than the network without them, by {gap:.2g} of {scale:.2g}"
    return None


def _alike(child: nn.Module, whole: nn.Module, x: Tensor) -> bool:
    """Whether both answer alike in float64: some networks are deep, or steep, enough to make more of float32's rounding
    than `CLOSE`. Both become float64.
    """
    try:
        with torch.no_grad():
            found, expected = (first(net.double()(x.double())) for net in (child, whole))
    except Exception:  # code that names its own numbers
        return False
    return found.dtype == torch.float64 and float((found - expected).abs().max()) <= EXACT * float(expected.abs().max())


def first(output: Any) -> Tensor:
    while not isinstance(output, Tensor):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output
