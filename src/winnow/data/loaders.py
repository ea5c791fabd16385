"""Splits as tensors on the device, and batches cut from them without a worker process or a second decoding."""

import difflib
import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from winnow.core.errors import Refused
from winnow.data.augment import Augment, Draws, crop_and_flip, cutout, draw
from winnow.data.schema import SPLITS, fixed_numpy
from winnow.data.source import check_labels
from winnow.data.storage import read_manifest, read_split

# Which stage may read which split. Nothing that shapes the result may see `test`.
READERS = {
    "search": ("weights", "arch"),
    "select": ("weights", "arch", "select"),
    "tune": ("weights", "arch", "select"),
    "retrain": ("weights", "arch", "select"),
    "evaluate": ("weights", "arch", "select", "test"),
}


@dataclass(frozen=True)
class Split:
    """Images (n, channels, height, width) uint8 and labels (n,) int64 on one device.

    `mean` and `std` per channel are those of weights and arch (pixel / 255), whichever split this is. `digest` is the
    content's. `symmetric`: a mirrored image keeps its label; where False, flipping teaches what is not so.
    """

    name: str
    images: Tensor
    labels: Tensor
    digest: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    symmetric: bool

    def __len__(self) -> int:
        return len(self.labels)


def open_split(folder: str | Path, name: str, *, stage: str, device: torch.device | str = "cpu") -> Split:
    """One split of a folder that prepare wrote, checked against the manifest, with its images on `device`.

    Raises Refused where the stage may not read the split and where a file is missing, damaged or another than
    the manifest describes.
    """
    _check_reader(stage, name)
    folder = Path(folder)
    manifest = read_manifest(folder)
    table = read_split(folder, name, manifest)
    labels = table["label"].to_numpy()
    check_labels(labels, len(manifest["classes"]), f"{name}.parquet")
    return Split(
        name,
        _images(table["image"], manifest["shape"]).to(device),
        torch.from_numpy(labels.astype(np.int64)).to(device),
        manifest["splits"][name]["digest"],
        tuple(manifest["classes"]),
        tuple(manifest["mean"]),
        tuple(manifest["std"]),
        manifest["symmetric"],
    )


def join(splits: Sequence[Split]) -> Split:
    """Several splits of one folder as one, in the order given: retraining takes weights, arch and select."""
    first = splits[0]
    if any((s.images.shape[1:], s.classes) != (first.images.shape[1:], first.classes) for s in splits):
        raise ValueError(f"splits {[s.name for s in splits]} differ in image shape or classes")
    return replace(
        first,
        name="+".join(split.name for split in splits),
        images=torch.cat([split.images for split in splits]),
        labels=torch.cat([split.labels for split in splits]),
        digest=hashlib.blake2b("+".join(split.digest for split in splits).encode(), digest_size=16).hexdigest(),
    )


def subset(split: Split, which: Tensor | slice, images: Tensor | None = None) -> Split:
    """The images at `which` positions, or `images` in their place; the digest tells it from the whole."""
    taken = images if images is not None else split.images[which]
    told = f"{split.digest} {taken.shape} {hashlib.blake2b(taken.cpu().numpy().tobytes(), digest_size=16).hexdigest()}"
    digest = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
    return replace(split, images=taken, labels=split.labels[which], digest=digest)


class Batches:
    """One epoch of batches at each iteration: x (b, c, h, w) float32, normalised, and y (b,) int64, on the device.

    All randomness of an epoch (order and augmentation) is drawn from `generator`, a CPU one, when the iteration
    starts: CPU and GPU see the same batches, and `state()` taken before an epoch is all that a resumed run must
    `restore()` to see it again, as `Cursor` does. Iterating again gives a new order; `next(iter(batches))` twice gives
    two different batches. `batch` may change between two epochs. Raises Refused where not one batch would come.
    """

    def __init__(
        self,
        split: Split,
        batch: int,
        *,
        generator: torch.Generator,
        augment: Augment | None = None,
        shuffle: bool = True,
        drop_last: bool = True,
        channels_last: bool = False,
    ):
        if len(split) < (batch if drop_last else 1):
            raise Refused(
                f"split {split.name!r} has {len(split)} images, fewer than one batch of {batch}; "
                "lower the batch size or give the split more images"
            )
        _check_augment(augment, split)
        self.split, self.batch, self.generator, self.augment = split, batch, generator, augment
        self.shuffle, self.drop_last = shuffle, drop_last
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        moments = torch.tensor([split.mean, split.std], device=split.images.device) * 255
        moments[1][moments[1] == 0] = 1  # a channel of one value becomes 0, not NaN
        self.shift, self.scale = moments[0].view(-1, 1, 1), 1 / moments[1].view(-1, 1, 1)

    def __len__(self) -> int:
        full, rest = divmod(len(self.split), self.batch)
        return full if self.drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.epoch()

    def epoch(self, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """A new epoch, drawn here and now, without its first `skip` batches."""
        count, device, batch = len(self.split), self.split.images.device, self.batch
        order = torch.randperm(count, generator=self.generator) if self.shuffle else torch.arange(count)
        order, draws = order.to(device), None
        if self.augment is not None:
            draws = draw(self.augment, count, tuple(self.split.images.shape[2:]), self.generator).to(device)
        rows = (slice(start, start + batch) for start in range(skip * batch, len(self) * batch, batch))
        return (self._made(order[each], None if draws is None else draws[each]) for each in rows)

    def _made(self, rows: Tensor, draws: Draws | None) -> tuple[Tensor, Tensor]:
        images = self.split.images.index_select(0, rows)
        if draws is not None:
            images = crop_and_flip(images, self.augment.pad, draws)
        x = images.to(torch.float32).sub_(self.shift).mul_(self.scale)
        if draws is not None and draws.centres is not None:
            cutout(x, self.augment.cutout, draws.centres)
        x = x.contiguous(memory_format=self.layout)  # last: one pass here is a third of all steps in that layout
        return x, self.split.labels.index_select(0, rows)

    def state(self) -> dict[str, Any]:
        """What the next epoch follows from."""
        return {"generator": self.generator.get_state(), "batch": self.batch}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The next epoch will be the one that followed `state()`."""
        self.generator.set_state(state["generator"])
        self.batch = state["batch"]


class Cursor:
    """Where a loop is in its batches: it can be left within an epoch and gone on with, as checkpoints do.

    `batches` are `Batches`, or any iterable that gives the same at each iteration. `taken` counts the batches of the
    running epoch; it is 0 between two.
    """

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]]):
        self.batches, self.taken, self.began = batches, 0, None
        self.rest: Iterator[tuple[Tensor, Tensor]] | None = None

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The rest of the running epoch, or a new one."""
        if self.rest is None:
            self.began, self.rest = self._state(), iter(self.batches)
        for batch in self.rest:
            self.taken += 1
            yield batch
        self.taken, self.rest = 0, None

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch, epoch after epoch without end, each in its own order."""
        return next(batch for epoch in itertools.repeat(self.epoch) for batch in epoch())

    def state(self) -> dict[str, Any]:
        return {"now": self._state(), "began": self.began, "taken": self.taken}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.taken, self.began, self.rest = state["taken"], state["began"], None
        if self.taken:
            self.rest = self._again()
        if isinstance(self.batches, Batches):
            self.batches.restore(state["now"])

    def _again(self) -> Iterator[tuple[Tensor, Tensor]]:
        if not isinstance(self.batches, Batches):
            return itertools.islice(self.batches, self.taken, None)
        self.batches.restore(self.began)
        return self.batches.epoch(self.taken)

    def _state(self) -> dict[str, Any] | None:
        return self.batches.state() if isinstance(self.batches, Batches) else None


def in_order(split: Split, batch: int) -> Batches:
    """All images of `split`, unaugmented, always in the same order, in batches of nearly equal size up to `batch`."""
    even = math.ceil(len(split) / math.ceil(len(split) / batch))
    return Batches(split, even, generator=torch.Generator(), shuffle=False, drop_last=False, channels_last=True)


def _check_reader(stage: str, name: str) -> None:
    if name not in SPLITS:
        close = difflib.get_close_matches(name, SPLITS, 1)
        raise Refused(f"no split {name!r}{f'; nearest: {close[0]!r}' if close else ''} (known: {', '.join(SPLITS)})")
    if stage not in READERS:
        raise Refused(f"stage {stage!r} reads no split (those that do: {', '.join(READERS)})")
    if name not in READERS[stage]:
        allowed = ", ".join(key for key, names in READERS.items() if name in names)
        raise Refused(f"stage {stage!r} may not read split {name!r}; only {allowed} may")


def _check_augment(augment: Augment | None, split: Split) -> None:
    side = min(split.images.shape[2:])
    for name, pixels in (("pad", augment.pad), ("cutout", augment.cutout)) if augment else ():
        if not 0 <= pixels < side:
            raise Refused(f"augmentation {name} takes 0 to {side - 1} pixels on images of side {side}; got {pixels}")


def _images(column: pa.ChunkedArray, shape: Sequence[int]) -> Tensor:
    """The pixels (n, channels, height, width): one copy out of Arrow's read-only buffers."""
    images = torch.empty((len(column), *shape), dtype=torch.uint8)
    rows, start = images.view(len(column), -1).numpy(), 0
    for chunk in column.chunks:
        rows[start : start + len(chunk)] = fixed_numpy(pa.chunked_array([chunk]))
        start += len(chunk)
    return images
