"""TG-NAS: learnt on one space, used on others, because operations are described rather than numbered.

Qiao et al. 2024, arXiv:2404.00271. The graph network and its training follow the public code. What is reconstruction:
the published descriptions are sentences embedded by a language model, ours are sentences whose words have columns
(`predictors.words`), alike in words, alike in numbers; the source is whatever table is given (published: 423,624 cells
of NAS-Bench-101); several cells are put into one graph; what fills up smaller graphs counts nowhere, and in the public
code it does; words that the source never says begin with weights of zero, and say nothing. Chains of blocks are ours:
the published descriptions have no place in a network, ours have its channels and its share of the image. Published
transfer to NAS-Bench-201 (Spearman 0.68) is therefore not claimed here: measure it with `transfers`, and do not use
what it says no to.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.core.graph import Graph, NodeGraph
from winnow.measure.rank import kendall_tau
from winnow.predictors.neural import fresh
from winnow.predictors.protocol import Numbers, Predict, Prediction
from winnow.predictors.words import COLUMNS, vector

Cells = Mapping[str, Graph | NodeGraph]  # of one architecture, by type
WIDTH, LAYERS, BATCH, EPOCHS = 64, 4, 128, 100
FEATURES = len(COLUMNS) + 1  # the last is the flag of the global node


def tg_nas(x: np.ndarray, y: Numbers, seed: int, epochs: int = EPOCHS) -> Predict:
    """Fit to the graphs (n, nodes, nodes + features) of a source, as `tensors` makes them, and their values (n,); what
    is returned scores those of any space, in the unit of the source.

    A tenth of the source is set aside, and the weights of the epoch that orders it best (Kendall) are kept: nothing of
    a target is looked at.
    """
    generator = torch.Generator().manual_seed(seed)
    centre, spread = float(y.mean()), float(y.std()) or 1.0
    graphs, wanted = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor((y - centre) / spread).float()
    order = torch.randperm(len(wanted), generator=generator)
    held, rows = order[: max(2, len(wanted) // 10)], order[max(2, len(wanted) // 10) :]
    model = initial(generator, graphs[..., graphs.shape[1] :].flatten(0, 1).any(0))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 40, 0.1)
    best, kept = -math.inf, model.state_dict()
    for _ in range(epochs):
        model.train()
        for batch in rows[torch.randperm(len(rows), generator=generator)].split(BATCH):
            loss = F.mse_loss(model(graphs[batch]), wanted[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        tau = kendall_tau(_scores(model, graphs[held]), wanted[held].numpy())
        if tau > best:
            best, kept = tau, {name: t.clone() for name, t in model.state_dict().items()}
    model.load_state_dict(kept)
    return lambda others: Prediction(centre + spread * _scores(model, torch.as_tensor(others, dtype=torch.float32)))


def transfers(taus: Sequence[float]) -> bool:
    """Whether Kendall's taus on the target, one a seed and five or more, allow using it as a proxy there."""
    return len(taus) >= 5 and min(taus) > 0 and sum(taus) / len(taus) > 0.4


def tensors(graphs: Sequence[Cells], size: int = 0) -> Tensor:
    """(n, nodes, nodes + features): [i, j] = 1 where node i hears node j, itself included, beside its description.

    The last node is the global one, which hears all; its flag is the last feature. Graphs of fewer nodes than the
    largest, or than `size`, have rows of zeros before it. Refused for operations without a description.
    """
    parts = [[(cell.on_nodes()[1], _described(cell)) for _, cell in sorted(cells.items())] for cells in graphs]
    most = max(size, *(sum(len(nodes) for _, nodes in each) for each in parts))
    return torch.stack([_tensor(each, most) for each in parts])


def _described(cell: Graph | NodeGraph) -> list[tuple[float, ...]]:
    words = cell.words or ("",) * len(cell.ops)
    if unknown := [op for op, said in zip(cell.ops, words, strict=True) if not said]:
        raise Refused(
            f"TG-NAS has no description of operation {unknown[0]!r}: a space of winnow has one in "
            "spaces.descriptions.OPERATIONS, one of yours in space.descriptions (docs/add-a-space.md)"
        )
    return [vector(each) for each in (*("input",) * len(cell.inputs), *words, "output")]


def _tensor(parts: Sequence[tuple[Sequence[tuple[int, int]], list[tuple[float, ...]]]], most: int) -> Tensor:
    nodes = [node for _, described in parts for node in described]
    size, live, start = most + 1, [*range(len(nodes)), most], 0
    out = torch.zeros(size, size + FEATURES)
    for feeds, described in parts:
        for source, node in feeds:
            out[start + node, start + source] = 1
        start += len(described)
    out[-1, live] = 1
    out[live, live] = 1
    out[: len(nodes), size:-1] = torch.tensor(nodes)
    out[-1, -1] = 1
    return out


class DescribedGcn(nn.Module):
    """Four times H <- ReLU(BN(A H W + b)), then a linear read-out of the global node: (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(FEATURES if i == 0 else WIDTH, WIDTH) for i in range(LAYERS))
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
def initial(generator: torch.Generator, said: Tensor | None = None) -> DescribedGcn:
    """Weights from U(-0.05, 0.05), as in the public code; 0 for features that are not `said`, (features,) of bools."""
    model = fresh(DescribedGcn, generator)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.uniform_(-0.05, 0.05, generator=generator)
        elif isinstance(module, nn.BatchNorm1d):
            module.reset_parameters()
    if said is not None:
        cast(nn.Linear, model.layers[0]).weight[:, ~said] = 0
    return model


@torch.no_grad()
def _scores(model: nn.Module, graphs: Tensor) -> Numbers:
    model.eval()
    return torch.cat([model(part) for part in graphs.split(2048)]).double().numpy()
