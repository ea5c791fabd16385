"""Deciding one edge after another while the mixture trains: the scores of SGAS and the state of its decisions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from winnow.core.decision import Decision, Value
from winnow.core.space import Space

NONE = "none"


def importance(d: Decision, weights: Tensor) -> Tensor:
    """How much of the mixture is not `none`; 1 where there is none."""
    return 1 - weights[d.options.index(NONE)] if NONE in d.options else torch.ones(())


def shares(d: Decision, weights: Tensor) -> Tensor:
    """The weights of all options but `none`, adding up to 1."""
    kept = weights[[i for i, option in enumerate(d.options) if option != NONE]]
    return kept / kept.sum()


def certainty(share: Tensor) -> Tensor:
    """1 - entropy / log(options): 0 for equal shares, 1 for a single one."""
    if len(share) == 1:
        return torch.ones(())
    return 1 + torch.special.xlogy(share, share).sum() / torch.tensor(float(len(share))).log()


def stability(share: Tensor, history: list[Tensor]) -> Tensor:
    """The mean overlap of `share` with those of earlier epochs; 0 without any."""
    if not history:
        return torch.zeros(())
    return torch.stack([torch.minimum(share, past).sum() for past in history]).mean()


def normalised(scores: Tensor) -> Tensor:
    """From 0 for the least to 1 for the largest; all 0 where they are equal."""
    spread = scores.max() - scores.min()
    return torch.zeros_like(scores) if spread == 0 else (scores - scores.min()) / spread


def edge_scores(
    decisions: list[Decision], weights: dict[str, Tensor], history: list[dict[str, Tensor]], criterion: int
) -> Tensor:
    """One score an edge of a cell type, decided ones included: criterion 1 or 2 of Li et al. 2020, equations 2 to 6.

    A space without `none` tells edges apart by certainty (and stability) alone.
    """
    now = [shares(d, weights[d.name].cpu()) for d in decisions]
    score = normalised(torch.stack([certainty(share) for share in now]))
    if any(NONE in d.options for d in decisions):
        score = score * normalised(torch.stack([importance(d, weights[d.name].cpu()) for d in decisions]))
    if criterion == 2:
        past = [[epoch[d.name] for epoch in history] for d in decisions]
        score = score * normalised(torch.stack([stability(q, p) for q, p in zip(now, past, strict=True)]))
    return score


class Edges:
    """What is decided so far, and which decisions are open: a node with all its edges closes the others."""

    def __init__(self, space: Space):
        self.decided: dict[str, Value] = {}
        single = [d for d in space.decisions.values() if not d.several]
        self.groups: dict[str, list[Decision]] = {}
        for d in single:
            self.groups.setdefault(d.group, []).append(d)
        self.open = {d.name for d in single}
        self.subsets = [d for d in space.decisions.values() if d.several]
        self.inside = {  # of each candidate of each subset, the decisions that lie in it
            (d.name, option): [inner.name for inner in space.below(d, option)]
            for d in self.subsets
            for option in d.options
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"decided": self.decided, "open": sorted(self.open)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as if from where `state()` was taken."""
        self.decided.clear()
        self.decided.update(state["decided"])
        self.open = set(state["open"])

    def turns(self) -> int:
        """How many times every cell type must decide until nothing is open."""
        inside = {name for names in self.inside.values() for name in names}
        counts = {group: sum(d.name not in inside for d in members) for group, members in self.groups.items()}
        for d in self.subsets:
            counts[d.group] = counts.get(d.group, 0) + d.pick
        return max(counts.values())

    def decide(self, d: Decision, value: Value) -> None:
        self.decided[d.name] = value
        self.open.discard(d.name)
        for subset in self.subsets:
            taken = tuple(
                option
                for option in subset.options
                if self.inside[subset.name, option] and set(self.inside[subset.name, option]) <= set(self.decided)
            )
            if len(taken) == subset.pick:
                self.decided[subset.name] = taken
                for option in subset.options:
                    if option not in taken:
                        self.open -= set(self.inside[subset.name, option])
