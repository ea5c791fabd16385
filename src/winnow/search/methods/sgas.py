"""SGAS: sequential greedy architecture search, criteria 1 and 2 (Li et al. 2020, arXiv:1912.00195)."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.core.holes import Setting
from winnow.core.options import NotNegative, Positive
from winnow.data.loaders import Batches
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.greedy import Edges, edge_scores, shares
from winnow.search.mixture import Parts
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, deciding, softmax
from winnow.search.selections.perturbation import most_missed
from winnow.search.strategy import strategy
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.seeds import generator

CERTAIN = 20.0  # what a decided logit has ahead of the next: selections read the decision from it


@strategy("logits children", shared=True, short={"criterion": 1})
def sgas(
    bench: Bench,
    recipe: Recipe,
    *,
    criterion: Literal[1, 2] = 1,
    warmup: NotNegative | None = None,
    interval: Positive | None = None,
    history: Positive = 4,
    batch_growth: NotNegative = 8,
    operation: Literal["magnitude", "perturbation"] = "magnitude",
) -> Found:
    """First-order DARTS that fixes one edge of every cell type at the end of epochs `warmup`, + `interval`, ...

    None: the published 9 and 5 of 50 epochs, in proportion. The edge is the one with the best score, its operation the
    heaviest but `none`; with `operation` "perturbation" the one missed most on `valid` (SGAS-PT of Wang et al. 2021).
    `criterion` 2 counts stability over the last `history` epochs too. Batches grow by `batch_growth` each time.
    Refused where the decisions do not end before the training does.
    """
    space, train, valid, epochs = bench.space, bench.train, bench.valid, recipe.epochs
    warmup = 9 * epochs // 50 if warmup is None else warmup
    interval = max(1, 5 * epochs // 50) if interval is None else interval
    logits = Logits(space, generator(bench.seed, "logits")).to(next(space.parameters()).device)
    edges = Edges(space)
    past: list[dict[str, Tensor]] = []
    bench.keeper.add(edges=edges, past=past)
    last = warmup + interval * (edges.turns() - 1)
    if last + 2 > epochs:
        raise Refused(
            f"SGAS decides {edges.turns()} times, the last time after epoch {last}, and trains on for one epoch: "
            f"search.epochs takes {last + 2} or more, not {epochs}; or lower search.sgas.warmup or interval"
        )

    def begin(epoch: int) -> None:
        if epoch:
            weights = {name: vector.detach() for name, vector in softmax(logits).items()}
            if epoch > warmup and (epoch - 1 - warmup) % interval == 0 and edges.open:
                for members in edges.groups.values():
                    _decide(members, weights)
                _grow(train, batch_growth)
                _grow(valid, batch_growth)
            past.append({d.name: shares(d, weights[d.name].cpu()) for ds in edges.groups.values() for d in ds})
            del past[:-history]

    def parts(epoch: int) -> Parts:
        return Parts(relax=deciding(softmax, edges.decided), learn_logits=bool(edges.open))

    def _decide(members: list[Decision], weights: dict[str, Tensor]) -> None:
        scores = edge_scores(members, weights, past, criterion).tolist()
        candidates = [i for i, d in enumerate(members) if d.name in edges.open]
        if candidates:
            d = members[max(candidates, key=scores.__getitem__)]  # of equals the first
            if operation == "perturbation":
                judged = list(valid)
                value = most_missed(d, {**weights, **edges.decided}, lambda s: _judge(bench, s, judged))[0]
            else:
                named = [option for option in d.options if option != "none"]
                value = max(named, key=lambda option: float(weights[d.name][d.options.index(option)]))
            edges.decide(d, value)

    found = bilevel(bench, recipe, parts=parts, begin=begin, logits=logits)
    with torch.no_grad():
        for d in (d for members in edges.groups.values() for d in members if d.name in edges.decided):
            logits[d.name][d.options.index(edges.decided[d.name])] = float(logits[d.name].max()) + CERTAIN
    return found


def _judge(bench: Bench, setting: Setting, judged: list[Batch]) -> tuple[float, float]:
    with batch_statistics(bench.space):
        return bench.judge(lambda x: bench.space(x, setting), judged)


def _grow(batches: Iterable[Batch], by: int) -> None:
    """Larger batches from the next epoch on, but always at least one; other iterables stay as they are."""
    if isinstance(batches, Batches):
        batches.batch = min(batches.batch + by, len(batches.split))
