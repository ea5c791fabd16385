"""Stochastic depth over edges (Larsson et al. 2017; the per-sample form of the DARTS retraining)."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, zero each sample's feature map with probability `rate` and divide the kept ones by 1 - rate."""

    def __init__(self, rate: float = 0.0):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = x.new_empty(x.shape[0], *([1] * (x.dim() - 1))).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


def set_drop_path(model: nn.Module, rate: float) -> None:
    """Give every `DropPath` of `model` the probability `rate`, 0 <= rate < 1."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.rate = rate
