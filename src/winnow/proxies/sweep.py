"""Many architectures of one space scored, duplicates once, in parts on disk: killed anywhere, it goes on from there.

What is equal depends on the proxy, and so does which reading of "equal" is right. Taking dead operations out of a child
leaves every proxy with `ignores_dead` exactly as it was. Contracting skip connections or sorting sums gives the same
network under other weights: equal in distribution, not in value; a sweep then scores one network for the class. Sizes
(`params`, `macs`, `complexity`) are always those of the architecture itself.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.proxies.common import Batch
from winnow.proxies.scorer import SIZES, Streams, check_names, scorer_of
from winnow.proxies.sizes import sizes_of

PART = 64
CHUNKS = (2, 4, 10, 16)  # of a part, and 32 from then on: what is told is never far behind, from the first ones on

Score = Callable[[Sequence[Architecture]], list[dict]]
Share = Callable[[Callable[[], Score], Sequence[Sequence[Architecture]]], Iterator[tuple[int, list[dict]]]]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums of several threads are rounded otherwise; and networks of this size gain nothing from a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def alone(make: Callable[[], Score], lists: Sequence[Sequence[Architecture]]) -> Iterator[tuple[int, list[dict]]]:
    """The index of each list and the rows that `make()` gives for it, one after another in this process."""
    with one_thread():
        if lists:
            score = make()
            for index, archs in enumerate(lists):
                yield index, score(archs)


@dataclass(frozen=True)
class Swept:
    """`path` holds one row an architecture: `architecture`, `scored` (the JSON of the network that was scored), a
    column a proxy, and `reason` where one has no value. `missing` counts those, `distinct` the networks scored.
    """

    path: Path
    rows: int
    distinct: int
    missing: dict[str, int]


def sweep(
    space: Space,
    architectures: Sequence[Architecture],
    names: Sequence[str],
    batch: Batch,
    folder: Path,
    *,
    streams: Streams,
    represent: Callable[[Architecture], Architecture] = lambda arch: arch,
    part: int = PART,
    code: str = "",
    by: Share = alone,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Swept:
    """Score `names` of every architecture with the weights that `space` has, into `folder`/scores.parquet.

    `streams(name)` gives the random numbers called `name`, always the same; AZ-NAS' scores draw the weights of the
    whole space once, from `streams("weights")`. `represent` names the one network to score for an architecture and its
    equals; `code` is a digest of code of the user's own that scores hang on. A child that a proxy refuses, or that has
    no value, is NaN with its reason. `by` scores lists of architectures, called and answering as `alone` does.
    Refused where `folder` holds another sweep, and where a proxy needs labels that the batch does not have.
    """
    check_names(names, batch)
    if not architectures:
        raise Refused("a sweep takes one architecture or more")
    scored = [represent(arch) for arch in architectures]
    distinct = sorted(set(scored), key=Architecture.to_json)  # neighbours share options, and so their layers
    folder.mkdir(parents=True, exist_ok=True)
    mark = fingerprint(space, distinct, names, batch, streams, part, code)
    children = [name for name in names if name not in SIZES]
    parts = [distinct[start : start + part] for start in range(0, len(distinct), part)]
    paths = [folder / f"part-{number:05}.parquet" for number in range(len(parts))]
    done = [_read_part(path, mark) for path in paths]
    missing = [number for number, rows in enumerate(done) if rows is None]
    ready = sum(len(rows) for rows in done if rows is not None)
    progress(ready, len(distinct))
    make = partial(scorer_of, space, children, batch, streams)
    tasks = [(number, start, some) for number in missing for start, some in _chunks(parts[number])]
    waiting: dict[int, dict[int, list[dict]]] = {number: {} for number in missing}
    for index, rows in by(make, [some for _, _, some in tasks]):
        number, start, _ = tasks[index]
        waiting[number][start] = rows
        ready += len(rows)
        if sum(map(len, waiting[number].values())) == len(parts[number]):
            whole = [row for _, some in sorted(waiting.pop(number).items()) for row in some]
            _write(_table(parts[number], children, whole), paths[number], mark)
            done[number] = whole
        progress(ready, len(distinct))
    found = {
        arch: row for archs, rows in zip(parts, done, strict=True) for arch, row in zip(archs, rows or (), strict=True)
    }
    sizes = sizes_of(space, tuple(batch[0].shape[1:])) if set(names) & set(SIZES) else None
    rows = [found[rep] | (sizes(arch) if sizes else {}) for arch, rep in zip(architectures, scored, strict=True)]
    table = _table(architectures, names, rows).add_column(1, "scored", [[rep.to_json() for rep in scored]])
    _write(table, folder / "scores.parquet", mark)
    gaps = {name: sum(math.isnan(row[name]) for row in rows) for name in names}
    return Swept(folder / "scores.parquet", len(rows), len(distinct), gaps)


def _chunks(archs: Sequence[Architecture]) -> Iterator[tuple[int, Sequence[Architecture]]]:
    """Where each chunk begins, and the chunk: always the same, so that what is scored together is too.

    None of one network unless it is alone: a BatchNorm of a single place takes no batch of one.
    """
    start, sizes = 0, iter(CHUNKS)
    while start < len(archs):
        size = next(sizes, 32)
        size += len(archs) - start - size == 1
        yield start, archs[start : start + size]
        start += size


def fingerprint(
    space: Space,
    archs: Iterable[Architecture],
    names: Sequence[str],
    batch: Batch,
    streams: Streams,
    part: int,
    code: str,
) -> str:
    """Everything that a score hangs on."""
    text = [torch.__version__, space.digest, code, list(names), part, [arch.digest for arch in archs]]
    digest = hashlib.sha256(json.dumps(text).encode())
    states = [streams(name).get_state() for name in ("weights", "az_nas", *names)]
    tensors = [*space.state_dict().values(), *(t for t in batch if t is not None), *states]
    for tensor in tensors:
        digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _table(archs: Sequence[Architecture], names: Sequence[str], rows: Sequence[Mapping]) -> pa.Table:
    columns = {"architecture": pa.array([arch.to_json() for arch in archs], pa.string())}
    columns |= {name: pa.array([float(row[name]) for row in rows], pa.float64()) for name in names}
    return pa.table({**columns, "reason": pa.array([row["reason"] for row in rows], pa.string())})


def _write(table: pa.Table, path: Path, mark: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.writing")
    pq.write_table(table.replace_schema_metadata({"winnow.sweep": mark}), temporary.absolute())
    os.replace(temporary, path)


def _read_part(path: Path, mark: str) -> list[dict] | None:
    if not path.exists():
        return None
    table = pq.read_table(path)
    if (table.schema.metadata or {}).get(b"winnow.sweep") != mark.encode():
        raise Refused(
            f"{path.parent} holds scores of another sweep (space, its code, weights, batch, seeds, proxies or "
            "architectures differ): name another folder, or delete it"
        )
    return table.to_pylist()
