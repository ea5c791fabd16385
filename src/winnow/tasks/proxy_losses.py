"""Losses of embeddings that learn a point (a proxy) of every class, and non-isotropy regularisation on top of them."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.nn.flow import Flow

LARGEST = 20.0  # beyond it the exponential goes on as a straight line: single precision ends at 88
Proxies = Literal["anchor", "nca"]
Regularised = Literal["off", "exp", "mean"]


class ProxyLoss(nn.Module):
    """The mean loss of outputs (batch, size), which are normalised, and labels (batch,).

    `present` are the labels of the rows that are trained on: each has a proxy, others have none. With `nir` "exp" or
    "mean" the loss is that of a flow plus `align` times that of the proxies: z = flow(embedding | proxy of its class)
    is to be a standard normal, and the mean over the batch is taken of exp(nll) or of nll = |z|^2 / 2 - ln |det J|
    (Roth et al. 2022, CVPR, "Non-isotropy Regularization for Proxy-based Deep Metric Learning"; exp: public code).
    """

    def __init__(self, size: int, present: Sequence[int], proxies: Proxies, nir: Regularised, align: float):
        super().__init__()
        self.proxies, self.nir, self.align = _proxies(proxies, len(present), size), nir, align
        self.flow = None if nir == "off" else Flow(size)
        places = torch.full((max(present) + 1,), -1)
        places[list(present)] = torch.arange(len(present))
        self.register_buffer("places", places, persistent=False)

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        x, places = F.normalize(outputs), cast(Tensor, self.places)[labels]
        loss: Tensor = self.proxies(x, places)
        if self.flow is None:
            return loss
        term = self.likelihood(x, F.normalize(self.proxies.proxies)[places])
        return (stretched(term) if self.nir == "exp" else term).mean() + self.align * loss

    def likelihood(self, x: Tensor, proxies: Tensor) -> Tensor:
        """(batch,): the negative log-likelihood of each row, without its constant."""
        assert self.flow is not None
        z, volume = self.flow(x, proxies)
        return z.square().sum(1) / 2 - volume


def stretched(nll: Tensor) -> Tensor:
    """exp(nll), and its tangent where nll is beyond LARGEST."""
    low = nll.clamp(max=LARGEST)
    return low.exp() * (1 + nll - low)


def proxy_loss(
    size: int, present: Sequence[int], seed: int, proxies: Proxies, nir: Regularised, align: float
) -> ProxyLoss:
    """One whose weights are drawn from `seed`: proxies of length 1 on average, layers of the flow as torch has them.

    Refused without the package that has the losses of proxies.
    """
    with torch.random.fork_rng(devices=[]):  # what is drawn here is drawn again
        loss = ProxyLoss(size, present, proxies, nir, align)
    draws = torch.Generator().manual_seed(seed)
    nn.init.normal_(loss.proxies.proxies, 0.0, size**-0.5, draws)
    for layer in loss.modules():
        if isinstance(layer, nn.Linear):
            for values in (layer.weight, layer.bias):
                nn.init.uniform_(values, -(layer.in_features**-0.5), layer.in_features**-0.5, draws)
    return loss


def _proxies(name: Proxies, count: int, size: int) -> Any:
    """Anchor: scale 32, margin 0.1 (Kim et al. 2020, arXiv:2003.13911); NCA: scale 9 (Teh et al. 2020,
    arXiv:2004.01113), over all proxies.
    """
    try:
        from pytorch_metric_learning import losses
    except ImportError as error:
        raise Refused(
            "task retrieval takes its losses from pytorch-metric-learning, which is not installed: "
            "pip install 'winnow[metric]'"
        ) from error
    if name == "anchor":
        return losses.ProxyAnchorLoss(count, size, margin=0.1, alpha=32)
    return losses.ProxyNCALoss(count, size, softmax_scale=9)
