"""Many children of one space scored with shared work: the same numbers as the plain functions, several times sooner.

Children run inside the space, on its weights, without being derived. Three ideas: `Routed` holes send each row of one
batch through its own child, `Once` computes a ReLU or pooling of one tensor once, and scores that read the same forward
pass share it. Every path is held against the plain function of the derived child to 1e-5 by its tests.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.core.strided import guarded
from winnow.nn.drop_path import DropPath
from winnow.nn.ops import Zero
from winnow.proxies.common import (
    Batch,
    BatchNorm,
    Prunable,
    gradients,
    layers,
    logits,
    working_copy,
)
from winnow.proxies.once import Once
from winnow.proxies.synflow import absolute, flow, synflow

Scores = list[dict[str, float | str]]  # a sentence where a score is refused
Scorer = Callable[[Sequence[Architecture]], Scores]
SMALL = math.exp(-27)
LINEAR = (  # modules without children that are linear in a positive image, once weights are positive
    *(nn.Conv2d, nn.Linear, BatchNorm, nn.ReLU, nn.Identity, nn.Flatten, Zero, DropPath, nn.modules.dropout._DropoutNd),
    *(nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d, nn.ModuleList, nn.Sequential, nn.ModuleDict),
)


class Rows:
    """Which child each row of the running batch belongs to, and what the children answered."""

    def __init__(self) -> None:
        self.children: list[int] = []
        self.answers: Sequence[Mapping[str, Value]] = ()


class Routed(nn.Module):
    """A choice that sends each row through the candidates of its own child."""

    def __init__(self, choice: Choice, rows: Rows):
        super().__init__()
        self.decision, self.candidates, self.rows = choice.decision, choice.candidates, rows

    def forward(self, *inputs: Tensor) -> Tensor:
        children = self.rows.children
        total: Tensor | None = None
        for option, candidate in zip(self.decision.options, self.candidates.values(), strict=True):
            taken = [i for i, child in enumerate(children) if self._takes(child, option)]
            if not taken:
                continue
            self.rows.children = [children[i] for i in taken]
            if len(taken) == len(children):
                term = candidate(*inputs)
                total = term if total is None else total + term
            else:
                at = torch.tensor(taken, device=inputs[0].device)
                term = candidate(*(x.index_select(0, at) for x in inputs))
                if total is None:
                    total = term.new_zeros(len(children), *term.shape[1:])
                total = total.index_add(0, at, term)
            self.rows.children = children
        assert total is not None  # a batch has rows
        return total

    def _takes(self, child: int, option: str | int) -> bool:
        answer = self.rows.answers[child][self.decision.name]
        return option in answer if isinstance(answer, tuple) else option == answer


def synflow_of(space: Space, batch: Batch) -> Scorer | None:
    """SynFlow of many children as one batch, one row each; None where a space has other holes or operations.

    Of absolute weights and an image of ones everything is positive: ReLUs are identities, and a layer's sum of
    |w * dR/dw| is what its output says, output times gradient. No gradient of a weight is taken. Positive numbers only
    are added, so single precision is as good as double, but for its range: image, biases and R carry a factor of
    e^-27 each, which leaves room for a logarithm of -30 to 113, and what does not fit goes through the plain function.
    """
    leaves = [module for module in space.modules() if next(module.children(), None) is None]
    if not all(type(hole) is Choice for hole in space.holes) or not all(isinstance(m, LINEAR) for m in leaves):
        return None
    score = _flows_of(space, batch)
    probes = [space.decide(lambda d, i=i: d.values[i]) for i in (0, -1)]
    plain = [synflow(space.derive(arch), batch) for arch in probes]
    differs = any(abs(float(row["synflow"]) - p) > 1e-4 for row, p in zip(score(probes), plain, strict=True))
    return None if differs else score  # a module's own forward may do anything


def _flows_of(space: Space, batch: Batch) -> Scorer:
    rows = Rows()
    model = absolute(_routed(working_copy(space), rows)).requires_grad_(False)
    for layer in layers(model):
        if layer.bias is not None:
            layer.bias *= SMALL
    model = guarded(model.float()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shape, device = tuple(batch[0].shape[1:]), batch[0].device
    seen: list[tuple[list[int], Prunable, Tensor]] = []

    def keep(layer: Any, inputs: tuple, output: Tensor) -> None:
        seen.append((rows.children, layer, output))

    for layer in model.modules():
        if isinstance(layer, Prunable):
            layer.register_forward_hook(keep)

    def score(archs: Sequence[Architecture]) -> Scores:
        rows.answers, rows.children = archs, list(range(len(archs)))
        seen.clear()
        small = torch.full((len(archs), *shape), SMALL, device=device).contiguous(memory_format=torch.channels_last)
        total = torch.zeros(len(archs), dtype=torch.float64, device=device)
        with Once():
            output = logits(model, small.requires_grad_())
        found = gradients(output, [a for _, _, a in seen], grad_outputs=torch.full_like(output, SMALL))
        for (children, layer, a), g in zip(seen, found, strict=True):
            total.index_add_(0, torch.tensor(children, device=device), flow(a.detach(), g, layer.bias))
        fits = (total > torch.finfo(torch.float32).tiny) & total.isfinite()
        return [
            {"synflow": float(value) - 2 * math.log(SMALL) if fit else synflow(space.derive(arch), batch)}
            for arch, value, fit in zip(archs, total.log(), fits.tolist(), strict=True)
        ]

    return score


def _routed(space: Space, rows: Rows) -> nn.Module:
    model = nn.Sequential(space.model)  # the root may be a hole, too
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Choice):
                setattr(parent, name, Routed(child, rows))
            elif isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Identity())
    return model
