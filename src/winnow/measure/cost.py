"""What a network costs: parameters, multiply-accumulates, and operations on bits where layers are quantised."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from winnow.core.example import Example, zeros

FLOAT = 32  # bits


def params(model: nn.Module) -> int:
    """Elements of all parameters, frozen ones too; shared tensors count once, buffers not at all."""
    return sum(p.numel() for p in model.parameters())


def sizes(model: nn.Module, example: Example) -> dict[str, int]:
    """`params`, `macs`, and `bitops` where there are any."""
    found = {"params": params(model), "macs": macs(model, example)}
    return found | ({"bitops": count} if (count := bitops(model, example)) else {})


def said(sizes: Mapping[str, Any]) -> str:
    """In words: "11,689,531 params, 1814.07 M MACs, 6.32 Gi bit operations"."""
    bits = f", {sizes['bitops'] / 2**30:.2f} Gi bit operations" if "bitops" in sizes else ""
    return f"{sizes['params']:,} params, {sizes['macs'] / 1e6:.2f} M MACs{bits}"


def quantised(module: nn.Module) -> bool:
    """Whether it is a layer that rounds its weights or inputs, and says to how many bits; 32 are floats."""
    return _bits(module) not in (None, (FLOAT, FLOAT))


def bits_of(module: nn.Module) -> int:
    """Operations on bits that one of its multiplications is; 0 of a layer that does not say its bits."""
    return math.prod(_bits(module) or (0,))


def _bits(module: nn.Module) -> tuple[int, int] | None:
    weight, activation = (getattr(module, name, None) for name in ("weight_bits", "activation_bits"))
    return (weight, activation) if isinstance(weight, int) and isinstance(activation, int) else None


def bitops(model: nn.Module, example: Example) -> int:
    """Multiply-accumulates of layers that say their bits, times those of a weight and of an input; of no other layer.

    As the BitOps of SPOS (Guo et al. 2020, arXiv:1904.00420), which are printed in units of 2^30.
    """
    return _counted(model, example, bits_of) if any(map(bits_of, model.modules())) else 0


def macs(model: nn.Module, example: Example) -> int:
    """Multiply-accumulates of convolutions and linear layers for one input like `example`, such as (3, 32, 32).

    Counted by one input in evaluation mode where the weights are, so that nothing is computed for those on the meta
    device; the model stays as it was. Every call of an `nn.Conv2d` or `nn.Linear` counts, and of a module that says
    itself how many multiplications one row of its inputs takes (`multiplications(*inputs)`); normalisation, pooling,
    additions, and what another module computes count nothing, as in the tables of NAS-Bench-201 and SPOS.
    """
    return _counted(model, example, lambda module: 1)


def _counted(model: nn.Module, example: Example, each: Callable[[nn.Module], int]) -> int:
    """The sum over all calls of multiplications, times what `each` of the module is."""
    total = 0

    def told(module: Any, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        total += module.multiplications(*inputs) * each(module)

    def count(module: Any, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        per_output = weight[0].numel()  # fan-in of one output element, groups included
        elements = output.shape[1:].numel() if isinstance(module, nn.Conv2d) else output[0].numel()
        total += elements * per_output * each(module)

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
        elif hasattr(module, "multiplications"):
            module.register_forward_hook(told)
    with torch.no_grad():
        model(zeros(example, device=device))
    return total
