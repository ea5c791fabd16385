"""What every source of data gives: decoded images with labels, checked once, whatever they were made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from winnow.core.errors import Refused

ImageSize = int | Sequence[int] | None  # the side of a square, or (height, width), in pixels; None: as they are


@dataclass(frozen=True)
class Options:
    """What a source may be told; each takes what it needs."""

    path: str | Path | None = None
    image_column: str | None = None
    label_column: str | None = None
    image_size: ImageSize = None
    limit_train: int | None = None
    limit_test: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """Images (n, channels, height, width) uint8, labels (n,), and their row numbers in the source (None: 0, 1, …)."""

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray | None = None


@dataclass(frozen=True)
class Source:
    """A data set in memory. `symmetric`: a mirrored image keeps its label, so flips are a fair augmentation.

    `digest` names the raw data it was read from; without `test`, some of `train` is held out later.
    """

    train: Part
    test: Part | None
    classes: tuple[str, ...]
    symmetric: bool = True
    digest: str = ""


def sides(size: int | Sequence[int]) -> tuple[int, ...]:
    """Height and width of an image size."""
    return (size, size) if isinstance(size, int) else tuple(size)


def checked(source: Source) -> Source:
    """The source with rows numbered and channels alike in both parts; Refused where it cannot be used."""
    if len(source.classes) < 2:
        raise Refused(f"the data has {len(source.classes)} class(es) {list(source.classes)}; it takes at least 2")
    if len(set(source.classes)) != len(source.classes):
        twice = next(name for name in source.classes if source.classes.count(name) > 1)
        raise Refused(f"class name {twice!r} is there twice; each class needs a name of its own")
    train = _checked_part(source.train, "train", source.classes)
    if len(present := np.unique(train.labels)) == 1:
        raise Refused(f"all training images are of one class, {source.classes[present[0]]!r}; it takes at least 2")
    if source.test is None:
        return replace(source, train=train)
    test = _checked_part(source.test, "test", source.classes)
    channels = max(train.images.shape[1], test.images.shape[1])
    train, test = (replace(part, images=with_channels(part.images, channels)) for part in (train, test))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise Refused(
            f"training images have shape {train.images.shape[1:]}, test images {test.images.shape[1:]}; "
            "set data.image_size to bring them to one size"
        )
    return replace(source, train=train, test=test)


def _checked_part(part: Part, name: str, classes: Sequence[str]) -> Part:
    images, labels = part.images, np.asarray(part.labels)
    if images.ndim != 4 or len(images) == 0:
        raise Refused(f"the {name} images have shape {images.shape}; it takes (images, channels, height, width)")
    if images.dtype != np.uint8:
        nan = f", {np.isnan(images).sum()} of them NaN" if images.dtype.kind == "f" else ""
        raise Refused(f"the {name} images hold {images.dtype} values{nan}; it takes uint8 pixels (0 to 255)")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise Refused(f"{len(images)} {name} images need as many integer labels; got {labels.dtype} {labels.shape}")
    check_labels(labels, len(classes), name)
    rows = np.arange(len(images)) if part.rows is None else np.asarray(part.rows)
    return Part(images, labels.astype(np.int32), rows.astype(np.int64))


def check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    """Refuse labels outside 0 … classes - 1, naming the first such row of `name`."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise Refused(
            f"{name}: {len(wrong)} label(s) out of range, the first is {labels[wrong[0]]} at row {wrong[0]}; "
            f"with {classes} classes a label is 0 to {classes - 1}"
        )


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Grey images (n, 1, h, w) repeated to `channels`; others as they are."""
    return np.repeat(images, channels, axis=1) if images.shape[1] == 1 and channels > 1 else images


def limited(labels: np.ndarray, limit: int | None, option: str, seed: int) -> np.ndarray:
    """Sorted rows of a stratified, seeded subset of at most `limit` images (all of them for None).

    Classes keep their shares, and each keeps one image at least; Refused where the limit is too small for that.
    """
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    kinds, counts = np.unique(labels, return_counts=True)
    if limit < len(kinds):
        raise Refused(f"data.{option} is {limit}, fewer than the {len(kinds)} classes; give at least one image a class")
    rng = np.random.default_rng(seed)
    take = shares(limit, counts / counts.sum())
    chosen = [
        rng.choice(np.flatnonzero(labels == kind), min(n, count), replace=False)
        for kind, n, count in zip(kinds, take, counts, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def shares(total: int, fractions: np.ndarray) -> np.ndarray:
    """`total` things dealt by `fractions` (which sum to 1) in whole numbers, each share at least 1.

    Largest remainder first, ties to the earlier share. Needs total >= len(fractions).
    """
    wanted = np.asarray(fractions, float) * total
    dealt = np.maximum(np.floor(wanted).astype(int), 1)
    while (gap := total - dealt.sum()) != 0:
        if gap > 0:
            dealt[np.argmax(wanted - dealt)] += 1
        else:  # the guaranteed ones overdrew: take from where there is most beyond the wish
            dealt[np.argmax(np.where(dealt > 1, dealt - wanted, -np.inf))] -= 1
    return dealt
