"""What a network costs: parameters and multiply-accumulates."""

import copy

import torch
from torch import nn

from winnow.core.example import Example, zeros


def params(model: nn.Module) -> int:
    """Elements of all parameters, frozen ones too; shared tensors count once, buffers not at all."""
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, example: Example) -> int:
    """Multiply-accumulates of convolutions and linear layers for one input like `example`, such as (3, 32, 32).

    Counted by one input in evaluation mode where the weights are, so that nothing is computed for those on the meta
    device; the model stays as it was. Every call of an `nn.Conv2d` or `nn.Linear` counts, and of a module that says
    itself how many multiplications one row of its inputs takes (`multiplications(*inputs)`); normalisation, pooling,
    additions, and what another module computes count nothing, as in the tables of NAS-Bench-201 and SPOS.
    """
    total = 0

    def told(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        total += module.multiplications(*inputs)

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        per_output = weight[0].numel()  # fan-in of one output element, groups included
        elements = output.shape[1:].numel() if isinstance(module, nn.Conv2d) else output[0].numel()
        total += elements * per_output

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
