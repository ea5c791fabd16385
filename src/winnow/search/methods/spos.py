"""SPOS: single path one-shot with uniform sampling (Guo et al. 2020, arXiv:1904.00420)."""

from winnow.search.bench import Bench, Found
from winnow.search.paths import train_paths, uniform_paths
from winnow.search.recipe import Recipe
from winnow.search.several import on_one_curve
from winnow.search.strategy import strategy
from winnow.train.seeds import rng


@strategy("children", watched=False)
def spos(bench: Bench, recipe: Recipe) -> Found:
    """Train one uniform path a batch of `train`; there are no logits and `valid` is left for the selection.

    The learning rate falls batch by batch, in a line unless the recipe says otherwise. Weight decay skips vectors
    (BatchNorm, biases), as in the authors' code. Its ImageNet numbers, for batches of 1024, are 120 epochs, lr 0.5 down
    to 0, momentum 0.9 and weight decay 4e-5, without clipping. It also smooths labels by 0.1 (here `objective`
    decides), balances paths over bins of FLOPs (here they are uniform), and draws convolutions from N(0, 1 / input
    channels per group), depthwise ones with deviation 1.
    """
    space = bench.space
    draws = rng(bench.seed, "paths")
    bench.keeper.add(draws=draws)
    train_paths(
        space,
        bench.train,
        path=uniform_paths(space, draws),
        objective=bench.objective,
        epochs=recipe.epochs,
        clip=recipe.clip,
        watch=bench.watch,
        keeper=bench.keeper,
        **on_one_curve(bench, recipe, usual="linear"),
    )
    return Found(space)
