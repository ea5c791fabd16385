"""Columns that stay on disk: their rows are read by whole blocks, and few blocks are in memory at a time.

A block is read, not mapped: pages of a mapping count as the process' own, and a file that is cut short under a mapping
ends the process without a word.
"""

import os
import threading
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from winnow.core.errors import Refused

BLOCK_BYTES = 1 << 20  # of a block, at most, or one row
FEW = 1 << 30  # bytes that always may be brought to memory
WINDOW = 64  # blocks whose rows an epoch mixes; twice as many are held


class RowFile:
    """Rows of one `shape` and `dtype`, one after another, `block` of them a block; `sums` are the blocks' CRC-32.

    What is read is checked: Refused, after `spoilt()`, where the file was cut short or changed since it was written.
    """

    def __init__(
        self,
        path: Path,
        rows: int,
        shape: Sequence[int],
        dtype: str,
        block: int,
        sums: Sequence[int],
        spoilt: Callable[[], None] = lambda: None,
    ):
        self.path, self.rows, self.shape, self.dtype = path, rows, tuple(shape), np.dtype(dtype)
        self.width, self.block, self.sums, self.spoilt = width_of(shape, dtype), block, tuple(sums), spoilt
        self.file = os.open(path, os.O_RDONLY)  # held: what takes its place later is not ours
        weakref.finalize(self, os.close, self.file)
        self.slots: OrderedDict[int, int] = OrderedDict()  # by block; the one that was asked for longest ago first
        self.held: Tensor | None = None
        self.lock = threading.Lock()

    def sizes(self) -> list[int]:
        """Of the blocks, in rows."""
        return [min(self.block, self.rows - start) for start in range(0, self.rows, self.block)]

    def take(self, rows: Tensor) -> Tensor:
        """(len(rows), ...): the rows of these numbers (n,) on the CPU."""
        blocks, found = rows // self.block, torch.empty(len(rows), self.width, dtype=torch.uint8)
        every = torch.unique(blocks)
        with self.lock:
            for some in every.split(2 * WINDOW):
                at = torch.searchsorted(some, blocks).clamp_(max=len(some) - 1)
                at = torch.tensor(self._slots(some.tolist()))[at] * self.block + rows % self.block
                if len(some) == len(every):
                    torch.index_select(self._room(), 0, at, out=found)
                else:
                    here = torch.isin(blocks, some)
                    found[here] = self._room()[at[here]]
        return torch.from_numpy(found.numpy().view(self.dtype).reshape(-1, *self.shape))

    def _room(self) -> Tensor:
        if self.held is None:  # pages that are not written take no memory
            self.held = torch.empty(min(2 * WINDOW, len(self.sums)) * self.block, self.width, dtype=torch.uint8)
        return self.held

    def _slots(self, blocks: list[int]) -> list[int]:
        """Where these blocks are held, read where they were not."""
        for block in blocks:
            if block in self.slots:
                self.slots.move_to_end(block)
        for block in blocks:
            if block not in self.slots:
                full = len(self.slots) * self.block == len(self._room())
                slot = self.slots.popitem(last=False)[1] if full else len(self.slots)
                self._read(block, slot)
                self.slots[block] = slot
        return [self.slots[block] for block in blocks]

    def _read(self, block: int, slot: int) -> None:
        count = min(self.block, self.rows - block * self.block)
        into = memoryview(self._room()[slot * self.block : slot * self.block + count].numpy().data).cast("B")
        done, begin = 0, block * self.block * self.width
        while done < len(into):
            got = os.preadv(self.file, [into[done:]], begin + done)
            if not got:
                self.spoilt()
                size = os.fstat(self.file).st_size
                raise Refused(
                    f"{self.path} was cut short while it was read ({size} of {self.rows * self.width} bytes are left): "
                    "run the same command again, which decodes the split anew"
                )
            done += got
        if zlib.crc32(into) != self.sums[block]:
            self.spoilt()
            raise Refused(
                f"{self.path} has changed since it was decoded (block {block}): run the same command again, which "
                "decodes the split anew"
            )


def width_of(shape: Sequence[int], dtype: str) -> int:
    """Bytes of a row."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def block_of(width: int) -> int:
    """Rows of a block."""
    return max(1, BLOCK_BYTES // width)


class OnDisk:
    """A column (n, ...) in files, their rows one after another. Rows that are asked for come as a tensor on `device`.

    At most `most` bytes, or `FEW`, are brought to memory for good (`[...]`); Refused beyond.
    """

    def __init__(self, files: Sequence[RowFile], device: torch.device | str, most: int):
        self.files, self.device, self.most = tuple(files), torch.device(device), max(most, FEW)
        first = self.files[0]
        self.shape = torch.Size((sum(file.rows for file in self.files), *first.shape))
        self.dtype = torch.from_numpy(np.empty(0, first.dtype)).dtype
        self.ends = torch.tensor([file.rows for file in self.files]).cumsum(0)

    def __len__(self) -> int:
        return self.shape[0]

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """The rows (n,) whole numbers; `dim` is 0."""
        assert dim == 0
        rows = rows.cpu()
        if len(self.files) == 1:
            return self.files[0].take(rows).to(self.device)
        found = torch.empty(len(rows), *self.shape[1:], dtype=self.dtype)
        which = torch.searchsorted(self.ends, rows, right=True)
        for number, file in enumerate(self.files):
            if (here := which == number).any():
                found[here] = file.take(rows[here] - (self.ends[number] - file.rows))
        return found.to(self.device)

    def __getitem__(self, which: Tensor | slice) -> Tensor:
        rows = torch.arange(len(self))[which.cpu() if isinstance(which, Tensor) else which]
        size = len(rows) * self.files[0].width
        if size > self.most:
            raise Refused(
                f"{len(rows)} rows are asked for in memory, {size / 2**30:.2f} GiB, and the splits are over "
                f"data.memory_gib: raise that, or ask for rows of {self.most / 2**30:g} GiB at most"
            )
        return self.index_select(0, rows)

    def order(self, generator: torch.Generator) -> Tensor:
        """(n,): all rows, shuffled by block: the rows of `WINDOW` drawn blocks are mixed, then those of the next."""
        sizes = torch.tensor([size for file in self.files for size in file.sizes()])
        starts = sizes.cumsum(0) - sizes
        parts = []
        for window in torch.randperm(len(sizes), generator=generator).split(WINDOW):
            rows = torch.cat([torch.arange(int(starts[b]), int(starts[b] + sizes[b])) for b in window])
            parts.append(rows[torch.randperm(len(rows), generator=generator)])
        return torch.cat(parts)


def joined(columns: Sequence[Tensor | OnDisk]) -> Tensor | OnDisk:
    """Columns one after another."""
    if any(isinstance(column, OnDisk) for column in columns):
        parts = [column for column in columns if isinstance(column, OnDisk)]
        if len(parts) < len(columns):
            raise ValueError("a column is on disk in some splits only")
        return OnDisk([file for part in parts for file in part.files], parts[0].device, parts[0].most)
    return torch.cat([column for column in columns if isinstance(column, Tensor)])
