"""What a search in bf16 finds beside one in fp32, all else equal.

    python benchmarks/precision.py --seeds 5 --epochs 3

First-order DARTS on digits (8 x 8 pixels), NAS-Bench-201 of 8 channels, one cell a stage, by magnitude. For each seed
it prints in how many of the six decisions the two agree, and how far apart their mixture weights end at most; the same
of fp32 against itself from first weights that are off by a millionth; and how far the heaviest option leads on average.
"""

import argparse

import torch
from sklearn.datasets import load_digits

from winnow.core.architecture import Architecture
from winnow.search.bench import Bench
from winnow.search.methods.darts import darts
from winnow.search.objective import objective
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.selections.magnitude import magnitude
from winnow.spaces import build
from winnow.train.seeds import generator, seeded

BATCH = 64


def batches(images: int, first: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Digits from `first` on, so many of them."""
    digits = load_digits()
    x = torch.tensor(digits.images[:, None] / 8 - 1, dtype=torch.float32)
    order = first + torch.randperm(images, generator=generator(seed, "order", first))
    return [(x[rows], torch.tensor(digits.target)[rows]) for rows in order.split(BATCH)]


def searched(
    precision: str, seed: int, epochs: int, images: int, off: float = 0.0
) -> tuple[Architecture, dict[str, torch.Tensor]]:
    """The architecture, and the mixture weights that it was read from; first weights are `off` by that share."""
    with seeded(seed):
        space = build("nas_bench_201", {"channels": 8, "cells": 1}, classes=10, image_channels=1, image_size=8)
    space.to(memory_format=torch.channels_last)
    with torch.no_grad():
        for weight in space.parameters():
            weight.mul_(1 + off)
    loss = objective(space, torch.nn.CrossEntropyLoss(), precision)
    train, valid = (batches(images, first, seed) for first in (0, images))
    bench = Bench(space, seed, objective=loss, train=train, valid=valid)
    recipe = Recipe(epochs=epochs, lr=0.1, logits_lr=0.1, clip=5.0)
    with seeded(seed):
        logits = darts(bench, recipe).logits
    assert logits is not None
    weights = {name: vector.detach() for name, vector in softmax(logits).items()}
    return magnitude(space, weights), weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=256, help="of weights, and as many of logits")
    options = parser.parse_args()
    print("| seed | bf16: same of 6 | weights apart | off by 1e-6: same of 6 | weights apart | lead |")
    print("|---|---|---|---|---|---|")
    for seed in range(options.seeds):
        case = seed, options.epochs, options.images
        one, a = searched("fp32", *case)
        told = []
        for other, b in (searched("bf16", *case), searched("fp32", *case, off=1e-6)):
            same = sum(one[name] == other[name] for name in one)
            told += [str(same), f"{max(float((a[name] - b[name]).abs().max()) for name in a):.3f}"]
        tops = torch.stack([vector.topk(2).values for vector in a.values()])
        print("|", " | ".join([str(seed), *told, f"{float((tops[:, 0] - tops[:, 1]).mean()):.3f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
