"""The sandwich rule: the largest network learns from labels, the others on the same batch from it.

Yu and Huang 2019 (arXiv:1903.05134), Yu et al. 2020 (BigNAS, arXiv:2003.11142); details as in the public code of
AttentiveNAS (Wang et al. 2021), which trains this way.
"""

from typing import Any

from torch import Tensor

from winnow.core.choosers import uniform
from winnow.core.options import NotNegative
from winnow.search.bench import Bench, Found
from winnow.search.recipe import Recipe
from winnow.search.several import Quiet, backward, largest, learning, on_one_curve, smallest, train_children
from winnow.search.strategy import strategy
from winnow.train.evaluate import Batch
from winnow.train.seeds import rng


@strategy("children", watched=False, shared=True)
def sandwich(
    bench: Bench, recipe: Recipe, *, between: NotNegative = 2, warmup: NotNegative = 0, judge: bool = True
) -> Found:
    """On each batch the largest network, `between` random ones and the smallest, whose gradients add up; then one step.

    The largest learns the answers, all others what it says of this batch, without a word of the answers; only it drops
    out. Largest and smallest are the last and the first options of all decisions. All are elastic from the first step;
    there is no teacher from elsewhere and no sorting. The rate rises for `warmup` epochs and falls batch by batch, as a
    cosine unless the recipe says otherwise. Published: 360 epochs of batches of 2048, 5 of them warm-up, lr 0.8,
    momentum 0.9 (Nesterov's), weight decay 1e-5 but for vectors, label smoothing 0.1 (here `objective` decides),
    gradients clipped by value at 1 (here by their norm), and the last BatchNorm of each residual branch begins at 0
    (here the space decides). With `judge`, the largest, the smallest and two random ones, always the same, are judged
    after every epoch.
    """
    space, learn, quiet = bench.space, learning(bench), Quiet(bench.space)
    draws = rng(bench.seed, "paths")
    bench.keeper.add(draws=draws)
    top, bottom = space.decide(largest), space.decide(smallest)
    middle = [space.decide(uniform(rng(bench.seed, "judged", i))) for i in range(2)]
    judged = {"largest": top, "smallest": bottom, **{f"random_{i}": arch for i, arch in enumerate(middle, 1)}}

    def step(batch: Batch) -> Tensor:
        said, loss = learn.first_and_loss(batch, top)
        losses, taught = [backward(loss)], said.detach()
        with quiet():
            for arch in [*(space.decide(uniform(draws)) for _ in range(between)), bottom]:
                said = learn.first(batch[0], lambda x, arch=arch: space(x, arch))
                losses.append(backward(bench.task.imitate(said, taught)))
        total: Any = sum(losses)
        return total / len(losses)

    curve = on_one_curve(bench, recipe, warmup)
    train_children(bench, recipe, lambda epoch: step, lambda epoch: judged if judge else {}, **curve)
    return Found(space)
