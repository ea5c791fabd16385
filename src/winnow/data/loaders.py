"""Splits as tensors on the device, and batches cut from them without a worker process or a second decoding."""

import difflib
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from winnow.core.errors import Refused
from winnow.data.decoded import Limit, decoded, size_of
from winnow.data.inputs import Inputs
from winnow.data.rows import OnDisk, RowFile, joined
from winnow.data.schema import SPLITS, columns_of
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
    """Columns of n rows on one device; a network is given what `inputs` makes of them and is to tell `target`.

    Columns that are too large for memory are on disk (`data.rows`). `facts` are those of the data, whichever split this
    is; `digest` is the content's.
    """

    name: str
    columns: Mapping[str, Tensor | OnDisk]
    target: str
    inputs: Inputs
    facts: Mapping[str, Any]
    digest: str

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def answers(self) -> Tensor:
        """(n, ...): what a network is to tell."""
        return self.held(self.target)

    @property
    def on_disk(self) -> list[str]:
        """The columns that are not in memory."""
        return [name for name, values in self.columns.items() if isinstance(values, OnDisk)]

    def held(self, name: str, what: str = "this") -> Tensor:
        """A column as a tensor. Refused, saying `what` would need it in memory, where it is on disk."""
        values = self.columns[name]
        if isinstance(values, OnDisk):
            raise Refused(
                f"{what} takes all of column {name!r} in memory, and the splits are over data.memory_gib: raise that"
            )
        return values

    def order(self, generator: torch.Generator) -> Tensor:
        """(n,): a random order of the rows; by block where some are on disk."""
        for values in self.columns.values():
            if isinstance(values, OnDisk):
                return values.order(generator)
        return torch.randperm(len(self), generator=generator)

    @property
    def device(self) -> torch.device:
        return self.answers.device


class Reading(Protocol):
    """Of a task, what it takes to open a split."""

    @property
    def name(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def inputs(self) -> Callable[[Mapping[str, Any]], Inputs]: ...


def open_split(
    folder: str | Path,
    name: str,
    task: Reading,
    *,
    stage: str,
    device: torch.device | str = "cpu",
    limit: Limit | None = None,
) -> Split:
    """One split of a folder that prepare wrote for `task`, checked against the manifest, on `device`.

    Whole numbers that are to be told are int64. Where all splits together are over the `limit`, what networks are given
    stays on disk, decoded, and the rows have an order of their own (`data.decoded`). Raises Refused where the stage may
    not read the split, where it was prepared for another task, and where a file is missing, damaged or another than the
    manifest describes.
    """
    _check_reader(stage, name)
    folder = Path(folder)
    manifest = manifest_for(folder, task)
    inputs = task.inputs(manifest["facts"])
    arrays, files = _read(folder, name, manifest, reads_of(task, manifest), limit)
    columns = {key: torch.from_numpy(values) for key, values in arrays.items()}
    if not columns[task.target].is_floating_point():
        columns[task.target] = columns[task.target].long()
    return Split(
        name,
        {
            **{key: values.to(device) for key, values in columns.items()},
            **{key: OnDisk([file], device, limit.most) for key, file in files.items() if limit},
        },
        task.target,
        inputs,
        manifest["facts"],
        manifest["splits"][name]["digest"],
    )


def _read(
    folder: Path, name: str, manifest: dict[str, Any], reads: Sequence[str], limit: Limit | None
) -> tuple[dict[str, np.ndarray], dict[str, RowFile]]:
    """The columns of a split: those in memory, and those of `reads` that are to stay on disk."""
    if limit is not None and size_of(folder, manifest, reads) > limit.most:
        return decoded(folder, name, manifest, reads, limit)
    arrays = columns_of(read_split(folder, name, manifest))
    return {key: values.copy() for key, values in arrays.items()}, {}  # Arrow's are read-only


def reads_of(task: Reading, manifest: Mapping[str, Any]) -> list[str]:
    """The columns that networks are given, which may be large."""
    return [name for name in task.inputs(manifest["facts"]).reads if name != task.target]


def manifest_for(folder: Path, task: Reading) -> dict[str, Any]:
    """The manifest of the splits in `folder`. Refused where they were prepared for another task."""
    manifest = read_manifest(folder)
    if manifest["task"] != task.name:
        raise Refused(
            f"{folder} was prepared for task {manifest['task']!r}, and params.yaml has task {task.name!r}: "
            "run `winnow prepare` again"
        )
    return manifest


def join(splits: Sequence[Split]) -> Split:
    """Several splits of one folder as one, in the order given: retraining takes weights, arch and select."""
    first = splits[0]
    if any((_shapes(s), s.facts) != (_shapes(first), first.facts) for s in splits):
        raise ValueError(f"splits {[s.name for s in splits]} differ in their columns or facts")
    return replace(
        first,
        name="+".join(split.name for split in splits),
        columns={name: joined([split.columns[name] for split in splits]) for name in first.columns},
        digest=hashlib.blake2b("+".join(split.digest for split in splits).encode(), digest_size=16).hexdigest(),
    )


def subset(split: Split, which: Tensor | slice, **instead: Tensor) -> Split:
    """The rows at `which` positions, with `instead` in the place of columns; the digest tells it from the whole."""
    columns = {name: values[which] for name, values in split.columns.items()} | instead
    told = hashlib.blake2b(split.digest.encode(), digest_size=16)
    for name, values in columns.items():
        told.update(f"{name} {tuple(values.shape)}".encode())
        told.update(values.cpu().numpy().tobytes())
    return replace(split, columns=columns, digest=told.hexdigest())


def _shapes(split: Split) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (values.dtype, values.shape[1:]) for name, values in split.columns.items()}


class Batches:
    """One epoch of batches at each iteration: x, as `inputs` makes it, and y (b, ...), on the split's device.

    All randomness of an epoch (order and augmentation) is drawn from `generator`, a CPU one, when the iteration
    starts: CPU and GPU see the same batches, and `state()` taken before an epoch is all that a resumed run must
    `restore()` to see it again, as `Cursor` does. Iterating again gives a new order; `next(iter(batches))` twice gives
    two different batches. `batch` may change between two epochs. Of several processes that train together each has its
    `part`, (which, of how many): so many rows of every batch, augmented as one process would. Raises Refused where not
    one batch would come, and where a batch has no equal parts.
    """

    def __init__(
        self,
        split: Split,
        batch: int,
        *,
        generator: torch.Generator,
        augment: Inputs | None = None,  # in place of the split's own inputs, which augment nothing
        shuffle: bool = True,
        drop_last: bool = True,
        channels_last: bool = False,
        part: tuple[int, int] = (0, 1),
    ):
        if batch % part[1]:
            raise Refused(f"runtime.processes: {part[1]} processes cannot share a batch of {batch} evenly")
        if len(split) < (batch if drop_last else 1):
            raise Refused(
                f"split {split.name!r} has {len(split)} rows, fewer than one batch of {batch}; "
                "lower the batch size or give the split more rows"
            )
        self.split, self.batch, self.generator = split, batch, generator
        self.inputs = split.inputs if augment is None else augment
        self.shuffle, self.drop_last = shuffle, drop_last
        self.part = part
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        full, rest = divmod(len(self.split), self.batch)
        return full if self.drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        return self.epoch()

    def epoch(self, skip: int = 0) -> Iterator[tuple[Any, Tensor]]:
        """A new epoch, drawn here and now, without its first `skip` batches."""
        count, device, batch = len(self.split), self.split.device, self.batch
        order = self.split.order(self.generator) if self.shuffle else torch.arange(count)
        order = order if self.split.on_disk else order.to(device)
        draws = {name: each.to(device) for name, each in self.inputs.draw(count, self.generator).items()}
        which, share = self.part[0], batch // self.part[1]
        first = range(skip * batch + which * share, len(self) * batch, batch)
        rows = (slice(start, start + share) for start in first)
        return (self._made(order[each], {name: drawn[each] for name, drawn in draws.items()}) for each in rows)

    def _made(self, rows: Tensor, draws: Mapping[str, Tensor]) -> tuple[Any, Tensor]:
        columns = {name: self.split.columns[name].index_select(0, rows) for name in self.inputs.reads}
        x = self.inputs.make(columns, draws)
        if isinstance(x, Tensor):  # last: one pass here is a third of all steps in that layout
            x = x.contiguous(memory_format=self.layout if x.dim() == 4 else torch.contiguous_format)
        answers, turned = (
            self.split.answers.index_select(0, rows.to(self.split.device)),
            getattr(self.inputs, "turned", None),
        )
        return x, answers if turned is None else turned(answers, draws)

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

    def __init__(self, batches: Iterable[tuple[Any, Tensor]]):
        self.batches, self.taken = batches, 0
        self.began: dict[str, Any] | None = None
        self.rest: Iterator[tuple[Any, Tensor]] | None = None

    def epoch(self) -> Iterator[tuple[Any, Tensor]]:
        """The rest of the running epoch, or a new one."""
        if self.rest is None:
            self.began, self.rest = self._state(), iter(self.batches)
        for batch in self.rest:
            self.taken += 1
            yield batch
        self.taken, self.rest = 0, None

    def next(self) -> tuple[Any, Tensor]:
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

    def _again(self) -> Iterator[tuple[Any, Tensor]]:
        if not isinstance(self.batches, Batches):
            return itertools.islice(self.batches, self.taken, None)
        assert self.began is not None
        self.batches.restore(self.began)
        return self.batches.epoch(self.taken)

    def _state(self) -> dict[str, Any] | None:
        return self.batches.state() if isinstance(self.batches, Batches) else None


def in_order(split: Split, batch: int) -> Batches:
    """All rows of `split`, unaugmented, always in the same order, in batches of nearly equal size up to `batch`."""
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
