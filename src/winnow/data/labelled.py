"""Images with a label each: what the sources of them share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from winnow.core.errors import Refused
from winnow.data.deal import shares
from winnow.data.source import Part, Source


def labelled(images: np.ndarray, labels: np.ndarray, rows: np.ndarray | None = None) -> Part:
    """Images (n, channels, height, width) uint8 and labels (n,), which index the classes."""
    return Part({"image": images, "label": labels}, rows)


def classified(
    train: Part, test: Part | None, classes: Sequence[str], *, symmetric: bool = True, **rest: Any
) -> Source:
    """A source of labelled images. `symmetric`: a mirrored image keeps its label, so flips are a fair augmentation."""
    return Source(train, test, {"classes": list(classes), "symmetric": symmetric}, **rest)


def check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    """Refuse labels outside 0 … classes - 1, naming the first such row of `name`."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise Refused(
            f"{name}: {len(wrong)} label(s) out of range, the first is {labels[wrong[0]]} at row {wrong[0]}; "
            f"with {classes} classes a label is 0 to {classes - 1}"
        )


def limited(labels: np.ndarray, limit: int | None, option: str, seed: int) -> np.ndarray:
    """Sorted rows of a stratified, seeded subset of at most `limit` images (all of them for None).

    Classes keep their shares, and each keeps one image at least; Refused where the limit is too small for that.
    """
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    kinds, counts = np.unique(labels, return_counts=True)
    if limit < len(kinds):
        each, why = (4, "four images a class, one a split") if option == "limit_train" else (1, "one image a class")
        raise Refused(
            f"data.{option} is {limit}, fewer than the {len(kinds)} classes; give at least {each * len(kinds)}: {why}"
        )
    rng = np.random.default_rng(seed)
    take = shares(limit, counts / counts.sum())
    chosen = [
        rng.choice(np.flatnonzero(labels == kind), min(n, count), replace=False)
        for kind, n, count in zip(kinds, take, counts, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Grey images (n, 1, h, w) repeated to `channels`; others as they are."""
    return np.repeat(images, channels, axis=1) if images.shape[1] == 1 and channels > 1 else images
