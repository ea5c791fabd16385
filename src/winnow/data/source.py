"""What every source of data gives: decoded images with labels, checked once, whatever they were made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from winnow.core.errors import Refused

ImageSize = int | Sequence[int] | None  # the side of a square, or (height, width), in pixels; None: as they are
CHANNELS = (1, 3, 4)  # of an image that PIL or a camera makes


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

    `digest` names the raw data it was read from; without `test`, some of `train` is held out later. `left_out` counts,
    by reason, what of the raw data is not used; `notes` say in sentences what was done to the rest.
    """

    train: Part
    test: Part | None
    classes: tuple[str, ...]
    symmetric: bool = True
    digest: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def sides(size: int | Sequence[int]) -> tuple[int, ...]:
    """Height and width of an image size."""
    return (size, size) if isinstance(size, int) else tuple(size)


def checked(source: Source) -> Source:
    """The source with rows numbered and channels alike in both parts; Refused where it cannot be used."""
    classes = _class_names(source.classes)
    _check_facts(source)
    source = replace(source, classes=classes, symmetric=bool(source.symmetric), notes=tuple(source.notes))
    train = _checked_part(source.train, "train", classes)
    if len(present := np.unique(train.labels)) == 1:
        raise Refused(f"all training images are of one class, {classes[present[0]]!r}; it takes at least 2")
    if source.test is None:
        return replace(source, train=train, notes=(*source.notes, *_dark(train)))
    test = _checked_part(source.test, "test", classes)
    channels = max(train.images.shape[1], test.images.shape[1])
    train, test = (replace(part, images=with_channels(part.images, channels)) for part in (train, test))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise Refused(
            f"training images have shape {train.images.shape[1:]}, test images {test.images.shape[1:]}; "
            "set data.image_size to bring them to one size"
        )
    return replace(source, train=train, test=test, notes=(*source.notes, *_dark(train)))


def _class_names(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        raise Refused(f"the class names are a {type(given).__name__}; it takes a tuple of texts, one a class")
    names = tuple(given)
    if wrong := [name for name in names if not isinstance(name, str)]:
        kind = type(wrong[0]).__name__
        raise Refused(f"class names must be text; one is {wrong[0]!r} ({kind}): write tuple(map(str, classes))")
    names = tuple(map(str, names))
    if odd := next((name for name in names if any("\ud800" <= letter <= "\udfff" for letter in name)), None):
        raise Refused(f"class name {odd!r} is no Unicode text; name it in other letters")
    if len(names) < 2:
        raise Refused(f"the data has {len(names)} class(es) {list(names)}; it takes at least 2")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(f"class name {twice!r} is there twice; each class needs a name of its own")
    return names


def _check_facts(source: Source) -> None:
    """What goes into the manifest beside the images."""
    for name, kinds, wanted in (("symmetric", bool | np.bool_, "True or False"), ("digest", str, "a text")):
        if not isinstance(value := getattr(source, name), kinds):
            raise Refused(f"the source's {name} is {value!r} ({type(value).__name__}); it takes {wanted}")
    left, notes = source.left_out, source.notes
    if not isinstance(left, Mapping) or not all(isinstance(k, str) and type(v) is int for k, v in left.items()):
        raise Refused("the source's left_out takes a dict of reasons and whole numbers")
    if not isinstance(notes, tuple | list) or not all(isinstance(note, str) for note in notes):
        raise Refused("the source's notes take a tuple of texts")


def _checked_part(part: Part, name: str, classes: Sequence[str]) -> Part:
    if not isinstance(part, Part):
        raise Refused(f"the source's {name} is a {type(part).__name__}; write {name}=Part(images, labels)")
    images = part.images
    if not isinstance(images, np.ndarray):
        hint = "add .numpy()" if hasattr(images, "numpy") else "write np.asarray(images)"
        raise Refused(f"the {name} images are a {type(images).__name__}; it takes a numpy array of uint8: {hint}")
    labels = _as_array(part.labels, f"the {name} labels")
    _check_pixels(images, name)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        hint = ""
        if labels.ndim == 2:
            hint = ": write labels.argmax(1)" if labels.shape[1] > 1 else ": write labels[:, 0]"
        raise Refused(
            f"{len(images)} {name} images need as many integer labels; got {labels.dtype} {labels.shape}{hint}"
        )
    check_labels(labels, len(classes), name)
    rows = np.arange(len(images)) if part.rows is None else _as_array(part.rows, f"the {name} rows")
    if rows.shape != (len(images),) or rows.dtype.kind not in "iu":
        raise Refused(
            f"{len(images)} {name} images need as many row numbers, or rows=None; got {rows.dtype} {rows.shape}"
        )
    return Part(images, labels.astype(np.int32), rows.astype(np.int64))


def _check_pixels(images: np.ndarray, name: str) -> None:
    """Refuse another shape than (n, channels, height, width), and other values than pixels, with what to write."""
    shape, hint = images.shape, ""
    if images.ndim == 3:
        hint = "; for grey images write images[:, None]"
    elif images.ndim == 4 and shape[3] in CHANNELS and shape[1] not in CHANNELS:
        hint = "; with the channels last, write images.transpose(0, 3, 1, 2)"
    if images.ndim != 4 or 0 in shape or hint:
        raise Refused(f"the {name} images have shape {shape}; it takes (images, channels, height, width){hint}")
    if images.dtype == np.uint8:
        return
    if images.dtype.kind == "f":
        if nan := int(np.isnan(images).sum()):
            hint = f", {nan} of them NaN"
        elif images.min() >= 0 and images.max() <= 1:
            hint = ", all in 0 to 1: write (images * 255).round().astype(np.uint8)"
    raise Refused(f"the {name} images hold {images.dtype} values{hint}; it takes uint8 pixels (0 to 255)")


def _as_array(values: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception as error:  # ragged lists, tensors on a device: whatever numpy or their makers raise
        raise Refused(
            f"{what} are a {type(values).__name__} that is no array of numbers; write a numpy array"
        ) from error


def _dark(part: Part) -> tuple[str, ...]:
    """A note where the pixels use a small part of their range, as wrongly scaled ones do."""
    largest = max(int(part.images[i : i + 1024].max()) for i in range(0, len(part.images), 1024))
    return (f"the largest pixel of the training images is {largest} of 255",) if largest < 64 else ()


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
