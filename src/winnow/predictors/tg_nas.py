"""TG-NAS: learnt on one space, used on others, because operations are described rather than numbered.

Qiao et al. 2024, arXiv:2404.00271. The graph network and its training follow the public code. What is reconstruction:
the published descriptions are sentences embedded by a language model, ours are vectors written by hand that keep "alike
in words, alike in numbers"; the source is whatever table is given (published: 423,624 cells of NAS-Bench-101); several
cells are put into one graph; what fills up smaller graphs counts nowhere, and in the public code it does. Published
transfer to NAS-Bench-201 (Spearman 0.68) is therefore not claimed here: measure it with `transfers`, and do not use
what it says no to.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.core.graph import Graph, NodeGraph
from winnow.measure.rank import kendall_tau
from winnow.predictors.neural import fresh
from winnow.predictors.protocol import Numbers

Cells = Mapping[str, Graph | NodeGraph]  # of one architecture, by type
WIDTH, LAYERS, BATCH, EPOCHS = 64, 4, 128, 100
CHANNELS = 16  # at which weights are counted


def _operation(kernel=0, pool=0, most=0, identity=0, zero=0, depthwise=0, times=1) -> list[float]:
    """Convolution or not, kernel / 3, pool, maximum, identity, zero, norm, ReLU, and ln(1 + weights) / 10."""
    conv = float(kernel > 0 and not pool)
    one = CHANNELS * kernel**2 + CHANNELS**2 if depthwise else CHANNELS**2 * kernel**2
    weights = times * one if conv else 0
    flags = [float(flag) for flag in (pool, most, identity, zero)]
    return [0.0, 0.0, conv, kernel / 3, *flags, conv, conv, math.log1p(weights) / 10]


DESCRIPTIONS: dict[str, list[float]] = {
    "input": [1.0] + [0.0] * 10,
    "output": [0.0, 1.0] + [0.0] * 9,
    "none": _operation(zero=1),
    "skip_connect": _operation(identity=1),
    "nor_conv_1x1": _operation(1),
    "nor_conv_3x3": _operation(3),
    "conv1x1": _operation(1),
    "conv3x3": _operation(3),
    "maxpool3x3": _operation(3, pool=1, most=1),
    "avg_pool_3x3": _operation(3, pool=1),
    "max_pool_3x3": _operation(3, pool=1, most=1),
    "sep_conv_3x3": _operation(3, depthwise=1, times=2),
    "sep_conv_5x5": _operation(5, depthwise=1, times=2),
    "dil_conv_3x3": _operation(3, depthwise=1),
    "dil_conv_5x5": _operation(5, depthwise=1),
}


def tg_nas(
    cells: Sequence[Cells], values: Numbers, seed: int, epochs: int = EPOCHS
) -> Callable[[Sequence[Cells]], Numbers]:
    """Fit to a source table; what is returned scores the cells of any space whose operations are described.

    A tenth of the source is set aside, and the weights of the epoch that orders it best (Kendall) are kept: nothing of
    a target is looked at. Refused for operations without a description.
    """
    generator = torch.Generator().manual_seed(seed)
    graphs, y = tensors(cells), torch.as_tensor((values - values.mean()) / (values.std() or 1.0), dtype=torch.float32)
    order = torch.randperm(len(y), generator=generator)
    held, rows = order[: max(2, len(y) // 10)], order[max(2, len(y) // 10) :]
    model = initial(generator)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 40, 0.1)
    best, kept = -math.inf, model.state_dict()
    for _ in range(epochs):
        model.train()
        for batch in rows[torch.randperm(len(rows), generator=generator)].split(BATCH):
            loss = F.mse_loss(model(graphs[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        tau = kendall_tau(_scores(model, graphs[held]), y[held].numpy())
        if tau > best:
            best, kept = tau, {name: t.clone() for name, t in model.state_dict().items()}
    model.load_state_dict(kept)
    return lambda others: _scores(model, tensors(others))


def transfers(taus: Sequence[float]) -> bool:
    """Whether Kendall's taus on the target, one a seed and five or more, allow using it as a proxy there."""
    return len(taus) >= 5 and min(taus) > 0 and sum(taus) / len(taus) > 0.4


def tensors(cells: Sequence[Cells]) -> Tensor:
    """(n, nodes, nodes + features): [i, j] = 1 where node i hears node j, itself included, beside its description.

    The last node is the global one, which hears all; its flag is the last feature. Cells of fewer nodes than the
    largest have rows of zeros before it.
    """
    parts = [[cell.on_nodes() for _, cell in sorted(each.items())] for each in cells]
    most = max(sum(len(names) for names, _ in each) for each in parts)
    return torch.stack([_tensor(each, most) for each in parts])


def _tensor(parts: Sequence[tuple[Sequence[str], Sequence[tuple[int, int]]]], most: int) -> Tensor:
    names = [name for nodes, _ in parts for name in nodes]
    unknown = next((name for name in names if name not in DESCRIPTIONS), None)
    if unknown is not None:
        raise Refused(f"TG-NAS has no description of operation {unknown!r}; it has {', '.join(DESCRIPTIONS)}")
    size, live, start = most + 1, [*range(len(names)), most], 0
    out = torch.zeros(size, size + len(DESCRIPTIONS["input"]) + 1)
    for nodes, feeds in parts:
        for source, node in feeds:
            out[start + node, start + source] = 1
        start += len(nodes)
    out[-1, live] = 1
    out[live, live] = 1
    out[: len(names), size:-1] = torch.tensor([DESCRIPTIONS[name] for name in names])
    out[-1, -1] = 1
    return out


class DescribedGcn(nn.Module):
    """Four times H <- ReLU(BN(A H W + b)), then a linear read-out of the global node: (n,)."""

    def __init__(self) -> None:
        super().__init__()
        features = len(DESCRIPTIONS["input"]) + 1
        self.layers = nn.ModuleList(nn.Linear(features if i == 0 else WIDTH, WIDTH) for i in range(LAYERS))
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in range(LAYERS))
        self.read = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        hears, state = x[:, :, : x.shape[1]], x[:, :, x.shape[1] :]
        live = state.any(2)
        whole = bool(live.all())
        for layer, norm in zip(self.layers, self.norms, strict=True):
            heard = layer(hears @ state)
            if whole:
                state = torch.relu(norm(heard.transpose(1, 2)).transpose(1, 2))
            else:  # what fills up smaller graphs is in no statistics, and says nothing
                state = torch.zeros_like(heard).masked_scatter(live[..., None], torch.relu(norm(heard[live])))
        return self.read(state[:, -1]).squeeze(1)


@torch.no_grad()
def initial(generator: torch.Generator) -> DescribedGcn:
    """Weights from U(-0.05, 0.05), as in the public code."""
    model = fresh(DescribedGcn, generator)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.uniform_(-0.05, 0.05, generator=generator)
        elif isinstance(module, nn.BatchNorm1d):
            module.reset_parameters()
    return model


@torch.no_grad()
def _scores(model: nn.Module, graphs: Tensor) -> Numbers:
    model.eval()
    return torch.cat([model(part) for part in graphs.split(2048)]).double().numpy()
