"""Scores of which ReLUs each image switches on: NASWOT and the number of linear regions."""

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.proxies.common import FAN_IN, Batch, Initialise, logits, settled, several, working_copy
from winnow.proxies.live import Relus, live_relus


def naswot(model: nn.Module, batch: Batch) -> float:
    """ln |det K|, K_ij the number of ReLUs that images i and j switch alike (Mellor et al. 2021, arXiv:2006.04647).

    In training mode with the model's weights. ReLUs off the paths from image to logits do not count, which the authors'
    code lets count. Equal images make
    K singular: the worst score, as where no ReLU is left. Refused where the network has none at all.
    """
    x = several(batch)
    alive = live_relus(model, x)
    if not alive:
        raise Refused("naswot reads ReLUs, and this network calls none")
    kernel, output = _agreement(model, x, alive)
    return settled(torch.linalg.slogdet(kernel).logabsdet if output.isfinite().all() else torch.nan)


def linear_regions(
    model: nn.Module, batch: Batch, generator: torch.Generator, init: Initialise | None = FAN_IN
) -> float:
    """How many distinct ReLU patterns the batch meets, feature maps only (TE-NAS: Chen et al. 2021, arXiv:2102.11535).

    Weights are drawn anew from `generator`, Kaiming-normal by fan-in. A network of usual width tells all images apart
    (the score is then the batch size): published on a net of one channel with 3,000 crops of 3 x 3 pixels. Refused
    where no ReLU reads a feature map, as in a transformer: every image would be in the one region.
    """
    x = several(batch)
    model = working_copy(model)
    if init is not None:
        init(model, generator)
    alive = live_relus(model, x)
    kernel, output = _agreement(model, x, alive, maps_only=True)
    equal = kernel == kernel.diagonal().max()
    return settled((1 / equal.sum(1)).sum() if output.isfinite().all() else torch.nan)


def agreement(x: Tensor) -> Tensor:
    """(n, n) float64: how many elements of rows i and j of `x` have the same sign pattern (x > 0).

    With codes of 1 and 0: both on, plus all less those where either is. Exact: on a CPU counted in integers, elsewhere
    in float32, for up to 2^24 elements.
    """
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    rows = (x.permute(0, 2, 3, 1) if last else x).reshape(len(x), -1)  # the order of elements does not matter
    codes = rows > 0
    if x.is_cpu:
        codes = codes.view(torch.int8)
        both = torch._int_mm(codes, codes.T).double()  # a private name, twice as quick: a test holds it to counting
    else:
        codes = codes.to(torch.float32)
        both = (codes @ codes.T).double()
    on = both.diagonal()
    return 2 * both + codes.shape[1] - on[:, None] - on


@torch.no_grad()
def _agreement(model: nn.Module, x: Tensor, alive: list[bool], maps_only: bool = False) -> tuple[Tensor, Tensor]:
    kernel, calls = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device), iter(alive)
    shapes: set[int] = set()

    def seen(t: Tensor, _: Tensor) -> None:
        shapes.add(t.dim())
        if next(calls) and (t.dim() == 4 or not maps_only):
            kernel.add_(agreement(t))

    with Relus(seen):
        output = logits(working_copy(model), x)
    if maps_only and 4 not in shapes:
        raise Refused("linear_regions reads ReLUs of feature maps, and this network has none")
    return kernel, output
