"""Splits of labelled images made on the spot."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from winnow.data.inputs.images import Images
from winnow.data.loaders import Split


def image_split(images: Tensor, labels: Tensor, classes: Sequence[str] = ("a", "b", "c"), **given: Any) -> Split:
    """`given`: name, digest, mean, std, symmetric."""
    channels = images.shape[1]
    facts = {
        "classes": list(classes),
        "symmetric": given.get("symmetric", True),
        "shape": list(images.shape[1:]),
        "mean": list(given.get("mean", (0.5,) * channels)),
        "std": list(given.get("std", (0.25,) * channels)),
    }
    columns = {"image": images, "label": labels}
    return Split(given.get("name", "weights"), columns, "label", Images(facts), facts, given.get("digest", "d1"))


def told(split: Split, **facts: Any) -> Split:
    """The same rows of data with other facts."""
    known = {**split.facts, **facts}
    return Split(split.name, split.columns, split.target, Images(known), known, split.digest)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
