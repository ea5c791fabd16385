"""Scores that read no image: how large a network is. Every other proxy is shown beside these."""

from collections.abc import Iterable

import torch
from torch import nn

from winnow.measure import cost
from winnow.proxies.common import Batch, layers, misfit, settled
from winnow.proxies.live import live_modules


def params(model: nn.Module, batch: Batch) -> float:
    """Elements of all parameters."""
    return float(cost.params(model))


def macs(model: nn.Module, batch: Batch) -> float:
    """Multiply-accumulates of convolutions and linear layers for one image of the batch's shape."""
    shape = tuple(batch[0].shape[1:])
    try:
        return float(cost.macs(model, shape))
    except (RuntimeError, ValueError) as error:
        raise misfit((1, *shape), error) from error


def live_params(model: nn.Module, batch: Batch) -> float:
    """Elements of the parameters on a path from the image to the logits: size without what is never heard."""
    return elements(live_modules(model, batch[0]))


def elements(modules: Iterable[nn.Module]) -> float:
    """Elements of the parameters that `modules` hold themselves, each once."""
    return float(sum(p.numel() for p in {p for module in modules for p in module.parameters(recurse=False)}))


@torch.no_grad()
def l2_norm(model: nn.Module, batch: Batch) -> float:
    """The sum over layers of the weights' Euclidean norms, as initialised (Abdelfattah et al. 2021)."""
    return settled(sum(layer.weight.double().norm() for layer in layers(model)))
