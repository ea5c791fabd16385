"""The outer loop of DARTS, which most methods keep: weights by SGD on a cosine, logits by Adam (Liu et al. 2019)."""

import math

import torch

from winnow.search.bench import Bench, Found
from winnow.search.mixture import Begin, Parts, Schedule, train_mixture
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits
from winnow.train.loop import nothing
from winnow.train.optimisers import Adam, fused
from winnow.train.schedules import falling
from winnow.train.seeds import generator


def bilevel(
    bench: Bench,
    recipe: Recipe,
    *,
    parts: Schedule,
    begin: Begin = nothing,
    logits: Logits | None = None,
    logits_fall: float = 1.0,
) -> Found:
    """`train_mixture` on the bench by the recipe, with the `parts` of each epoch; the rate falls epoch by epoch.

    `logits` are the usual ones (`Logits`) unless given; they are moved to the device of the space and get Adam's
    `moments`. Their rate stays, unless it is to fall by a cosine to `logits_fall` of it. Source of all numbers: Liu et
    al. 2019, public code.
    """
    space = bench.space
    if logits is None:
        logits = Logits(space, generator(bench.seed, "logits"))
    logits = logits.to(next(space.parameters()).device)
    weights = recipe.descent(space.parameters())
    of_logits = adam(logits, recipe.logits_lr, recipe.logits_weight_decay)

    def rated(epoch: int) -> Parts:
        high = (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
        of_logits.param_groups[0]["lr"] = recipe.logits_lr * (logits_fall + (1 - logits_fall) * high)
        return parts(epoch)

    train_mixture(
        space,
        logits,
        bench.train,
        bench.valid,
        parts=parts if logits_fall == 1.0 else rated,
        objective=bench.objective,
        weights_optimiser=weights,
        logits_optimiser=of_logits,
        epochs=recipe.epochs,
        clip=recipe.clip,
        schedule=falling(weights, recipe.schedule or "cosine", recipe.epochs, recipe.lr_min),
        begin=begin,
        watch=bench.watch,
        keeper=bench.keeper,
    )
    logits.moments = {
        name: {key: value.tolist() for key, value in of_logits.state[vector].items()}
        for name, vector in logits.items()
        if vector in of_logits.state
    }
    return Found(space, logits)


def adam(logits: Logits, lr: float, weight_decay: float) -> torch.optim.Adam:
    """The optimiser of the logits (Liu et al. 2019); a vector without a gradient (None) is left alone."""
    kernel = fused(logits.parameters())
    return Adam(logits.parameters(), lr, betas=(0.5, 0.999), weight_decay=weight_decay, fused=kernel)
