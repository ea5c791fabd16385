"""SPOS: single path one-shot with uniform sampling (Guo et al. 2020, arXiv:1904.00420)."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from annotated_types import MaxLen, MinLen
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.options import Positive, Rate
from winnow.core.space import Space
from winnow.search.additive import tabulated
from winnow.search.bench import Bench, Found
from winnow.search.paths import binned_paths, train_paths, uniform_paths
from winnow.search.recipe import Recipe
from winnow.search.several import on_one_curve
from winnow.search.strategy import strategy
from winnow.train.seeds import rng

Ends = Annotated[list[Rate], MinLen(2), MaxLen(2)]


@strategy("children", watched=False, shared=True)
def spos(
    bench: Bench, recipe: Recipe, *, balanced: Ends | None = None, bins: Positive = 7, pretrained: str | None = None
) -> Found:
    """Train one uniform path a batch of `train`; there are no logits and `valid` is left for the selection.

    `balanced` [low, high], MACs of the retrained network, parts that range in `bins`: each batch takes a bin, each as
    likely, and a uniform path in it. Published: 290 to 360 M in 7 bins. `pretrained` is a supernet.safetensors to begin
    with, as of the same networks in floats before their bits are searched (space resnet, bits [w32a32]); clips, which
    these have not, begin as ever.

    The learning rate falls batch by batch, in a line unless the recipe says otherwise. Weight decay skips vectors
    (BatchNorm, biases), as in the authors' code. Its ImageNet numbers, for batches of 1024, are 120 epochs, lr 0.5 down
    to 0, momentum 0.9 and weight decay 4e-5, without clipping. It also smooths labels by 0.1 (here `objective`
    decides); initial values are the space's (mobile: `start: published`).
    Refused where `balanced` is no range, or no path lies in it, and where `pretrained` is of another network.
    """
    space = bench.space
    if pretrained is not None:
        _load(space, bench.tensors(pretrained), pretrained)
    draws = rng(bench.seed, "paths")
    bench.keeper.add(draws=draws)
    train_paths(
        space,
        bench.train,
        path=_paths(bench, draws, balanced, bins),
        objective=bench.objective,
        epochs=recipe.epochs,
        clip=recipe.clip,
        watch=bench.watch,
        keeper=bench.keeper,
        **on_one_curve(bench, recipe, usual="linear"),
    )
    return Found(space)


def _paths(
    bench: Bench, draws: random.Random, balanced: Sequence[float] | None, bins: int
) -> Callable[[], Architecture]:
    if balanced is None:
        return uniform_paths(bench.space, draws)
    low, high = balanced
    if low >= high:
        raise Refused(f"balanced takes [low, high] in MACs, the lower one first, not {list(balanced)}")
    macs = tabulated(bench.space, lambda arch: bench.sizes(arch)["macs"], random.Random(0))
    return binned_paths(bench.space, draws, macs, low, high, bins)


def _load(space: Space, tensors: Mapping[str, Tensor], path: str) -> None:
    """Put the weights of `path` into `space`; what is one number here (clips) may be missing there."""
    state = space.state_dict()
    odd = [f"it lacks {name!r}" for name in state if name not in tensors and state[name].dim()]
    for name, tensor in tensors.items():
        if name not in state:
            odd.append(f"{name!r} has no place here")
        elif tensor.shape != state[name].shape:
            odd.append(f"{name!r} is {tuple(tensor.shape)} there, {tuple(state[name].shape)} here")
    if odd:
        raise Refused(f"search.spos.pretrained: {path} holds the weights of another network: {odd[0]}")
    space.load_state_dict({**state, **tensors})
