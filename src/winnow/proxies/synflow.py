"""SynFlow: how much flows through a network of absolute weights (Tanaka et al. 2020, arXiv:2006.05467)."""

from typing import Any

import torch
from torch import Tensor, nn

from winnow.proxies.common import Batch, BatchNorm, gradients, layers, logits, settled, working_copy


def synflow(model: nn.Module, batch: Batch) -> float:
    """ln of the sum over layers of |w * dR/dw|, R the summed output for one image of ones; no data, no labels, no loss.

    BatchNorms are taken out and every parameter is replaced by its absolute value. In double precision: on
    NAS-Bench-201 the logarithm reaches 115, single precision ends at 88.
    """
    model = absolute(working_copy(model))
    ones = torch.ones(1, *batch[0].shape[1:], dtype=torch.float64, device=batch[0].device)
    weights = [layer.weight for layer in layers(model)]
    flows = gradients(logits(model, ones).sum(), weights)
    flow: Any = sum((w * g).abs().sum() for w, g in zip(weights, flows, strict=True))
    return settled(torch.log(flow))


@torch.no_grad()
def absolute(model: nn.Module) -> nn.Module:
    """`model` itself in double precision with absolute parameters and without BatchNorms."""
    model = without_norms(model).double()
    for parameter in model.parameters():
        parameter.abs_()
    return model


def without_norms(model: nn.Module) -> nn.Module:
    if isinstance(model, BatchNorm):
        return nn.Identity()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, BatchNorm):
                setattr(module, name, nn.Identity())
    return model


def flow(output: Tensor, gradient: Tensor, bias: Tensor | None) -> Tensor:
    """Sum of |w * dR/dw| of one layer per image, where nothing is negative: what its output says, without the bias."""
    if bias is not None:
        output = output - bias.view(-1, *[1] * (output.dim() - 2))
    return (output * gradient).flatten(1).sum(1, dtype=torch.float64)
