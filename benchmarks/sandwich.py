"""A step of the sandwich rule beside the steps that its four children take alone: python benchmarks/sandwich.py.

Times are of the process, taken in turns, so that other processes on the machine count on neither side.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from winnow.core.choosers import uniform
from winnow.search.objective import objective
from winnow.search.recipe import Recipe
from winnow.search.several import descent, largest, smallest
from winnow.spaces import build
from winnow.tasks.classify import IMAGES
from winnow.train.seeds import seeded


def taken(step: Callable[[], None]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def measure(width: float, batch: int, side: int, rounds: int) -> list[float]:
    """Seconds of the sandwich over those of its children, a round each."""
    with seeded(0):
        space = build("ofa", {"width": width}, classes=10, image_channels=3, image_size=side)
        x, y = torch.randn(batch, 3, side, side), torch.randint(10, (batch,))
        taught = torch.randn(batch, 10)
    layout, recipe, rng = torch.channels_last, Recipe(), random.Random(0)
    x, space = x.to(memory_format=layout), space.to(memory_format=layout)
    archs = [space.decide(largest), *(space.decide(uniform(rng)) for _ in range(2)), space.decide(smallest)]
    learn, loss = objective(space, nn.CrossEntropyLoss()), nn.CrossEntropyLoss()
    children = [space.derive(arch) for arch in archs]
    optimisers = [descent(each, recipe) for each in (space, *children)]

    def stepped(network: nn.Module, optimiser: torch.optim.Optimizer, passes: Callable[[], None]) -> None:
        optimiser.zero_grad()
        passes()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimiser.step()

    def one(number: int, outputs: torch.Tensor) -> None:
        (IMAGES.imitate(outputs, taught) if number else loss(outputs, y)).backward()

    def sandwich() -> None:
        for number, arch in enumerate(archs):
            one(number, learn.first(x, lambda x, arch=arch: space(x, arch)))

    def alone() -> None:
        for number, (child, optimiser) in enumerate(zip(children, optimisers[1:], strict=True)):
            stepped(child, optimiser, lambda number=number, child=child: one(number, child(x)))

    found = []
    for number in range(rounds + 1):
        own, together = taken(alone), taken(lambda: stepped(space, optimisers[0], sandwich))
        if number:  # the first wakes caches
            found.append(together / own)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for width, batch, side in ((0.25, 64, 8), (0.25, 64, 32), (0.5, 64, 32)):
        ratios = measure(width, batch, side, given.rounds)
        print(
            f"width {width}, batch {batch}, side {side}: median {statistics.median(ratios):.3f} of the sum "
            f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} rounds)"
        )
