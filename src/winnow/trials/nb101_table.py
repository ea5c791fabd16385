"""NAS-Bench-101 as it is published, TFRecord files of JSON and protocol buffers, or its rows as Parquet or JSON."""

import base64
import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from winnow.core.errors import Refused
from winnow.trials.importing import Contents, Entry, check_columns, rows_of

PUBLISHED = {  # SHA-256 of the authors' files: what is in them needs no sums checked
    "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1",  # nasbench_only108.tfrecord
    "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c",  # nasbench_full.tfrecord
}
LONGEST = 1 << 20  # bytes of a record; theirs have some 300
ACCURACIES = {
    "train_accuracy": "cifar10_train",
    "validation_accuracy": "cifar10_valid",
    "test_accuracy": "cifar10_test",
}
COSTS = {"training_time": "train_seconds", "trainable_parameters": "params"}
ROWS = ("module_adjacency", "module_operations", "epochs")  # the authors' names, and the length of a training
FIELDS = ("current_epoch", *("training_time", *ACCURACIES))  # of EvaluationData, from 1


@dataclass(frozen=True)
class Training:
    """One of a cell: how it is written, for how many epochs, and what was measured last, by the authors' names."""

    adjacency: str  # row by row
    operations: str  # separated by commas
    epochs: float
    measured: Mapping[str, float]
    hash: str | None = None


def nas_bench_101(path: Path, space: str | None) -> Contents:
    """423,624 cells after 4, 12, 36 or 108 epochs on CIFAR-10 (Ying et al. 2019): means of three trainings.

    A TFRecord file of the authors, or rows, one a training or a mean of some, as Parquet or a JSON list:
    `module_adjacency`, a matrix or its digits; `module_operations`; `epochs`; `validation_accuracy`, `test_accuracy`,
    `train_accuracy` from 0 to 1, `training_time` in seconds and `trainable_parameters`, as far as they are there.
    """
    from winnow.spaces.nb101_cells import architecture, canonical, cell, fingerprint

    if space is not None:
        raise Refused(f"{path} is of one space by its format: leave out --space {space}")
    rows = {".parquet": _parquet, ".json": _json}.get(path.suffix, _records)
    archs: dict[tuple[str, str], Any] = {}
    found: dict[tuple[Any, float], list[Mapping[str, float]]] = {}
    number = -1
    for number, each in enumerate(rows(path)):
        written = each.adjacency, each.operations
        try:
            if written not in archs:
                of = cell(_matrix(each.adjacency), each.operations.split(","))
                if each.hash is not None and fingerprint(of) != each.hash:
                    raise ValueError(f"the cell's hash is {fingerprint(of)}, not {each.hash}")
                archs[written] = architecture(canonical(of))
            measured = _checked(each.measured)
        except ValueError as error:
            raise Refused(f"{path}, row {number}: {error}") from error
        found.setdefault((archs[written], each.epochs), []).append(measured)
    if number < 0:
        raise Refused(f"{path} has no rows")
    entries = [Entry(arch, _mean(path, trainings), {"epochs": at}) for (arch, at), trainings in found.items()]
    return Contents("nas_bench_101", entries)


def _matrix(digits: str) -> list[list[int]]:
    size = math.isqrt(len(digits))
    if size**2 != len(digits) or not set(digits) <= set("01"):
        raise ValueError(f"an adjacency matrix is a square of 0 and 1, not {digits!r:.80}")
    return [[int(digit) for digit in digits[i * size : (i + 1) * size]] for i in range(size)]


def _checked(measured: Mapping[str, float]) -> dict[str, float]:
    """By our names, accuracies in per cent."""
    if not ACCURACIES.keys() & measured:
        raise ValueError(f"there is no accuracy: it takes any of {', '.join(ACCURACIES)}")
    for name, value in measured.items():
        most = 1 if name in ACCURACIES else math.inf
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf:
            raise ValueError(f"{name} takes {'0 to 1' if most == 1 else 'a number of 0 or more'}, not {value!r}")
    shares = {ours: 100 * measured[name] for name, ours in ACCURACIES.items() if name in measured}
    return shares | {ours: float(measured[name]) for name, ours in COSTS.items() if name in measured}


def _mean(path: Path, trainings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    first = trainings[0]
    for each in trainings:
        if each.keys() != first.keys() or each.get("params") != first.get("params"):
            raise Refused(f"{path}: trainings of one cell differ in what was measured or in its parameters")
    return {name: math.fsum(each[name] for each in trainings) / len(trainings) for name in first}


def _parquet(path: Path) -> Iterator[Training]:
    return (_row(path, number, row) for number, row in enumerate(rows_of(path, ROWS).to_pylist()))


def _json(path: Path) -> Iterator[Training]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"no file {path}") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{path} is no JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused(f"{path} takes a list of objects with {', '.join(ROWS)} and accuracies")
    for number, row in enumerate(rows):
        check_columns(path, list(row), ROWS)
        yield _row(path, number, row)


def _row(path: Path, number: int, row: Mapping[str, Any]) -> Training:
    adjacency, operations, epochs = (row[name] for name in ROWS)
    listed = adjacency if isinstance(adjacency, list | str) else [adjacency]
    digits = "".join(str(part) for each in listed for part in (each if isinstance(each, list) else [each]))
    if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not epochs > 0:
        raise Refused(f"{path}, row {number}: epochs takes a number above 0, not {epochs!r}")
    if not isinstance(operations, str):
        operations = ",".join(map(str, operations if isinstance(operations, list) else [operations]))
    measured = {name: row[name] for name in (*ACCURACIES, *COSTS) if row.get(name) is not None}
    return Training(digits, operations, float(epochs), measured)


def _records(path: Path) -> Iterator[Training]:
    """Of the authors' own file: JSON lists of hash, epochs, digits, operations and a `ModelMetrics` in base64."""
    try:
        with path.open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() in PUBLISHED
            file.seek(0)
            for number, record in enumerate(_framed(path, file, sums=not whole)):
                try:
                    module_hash, epochs, digits, operations, encoded = json.loads(record)
                    measured = _metrics(base64.b64decode(encoded, validate=True))
                    yield Training(str(digits), str(operations), float(epochs), measured, str(module_hash))
                except (ValueError, TypeError, IndexError, KeyError, struct.error) as error:
                    raise Refused(
                        f"{path}, row {number} is no record of NAS-Bench-101: {type(error).__name__} {error}"
                    ) from error
    except FileNotFoundError as error:
        raise Refused(f"no file {path}") from error
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error}") from error


def _framed(path: Path, file: BinaryIO, sums: bool) -> Iterator[bytes]:
    """The records of a TFRecord file: length, its sum, the record, its sum (TensorFlow's record_writer.cc)."""
    while head := file.read(12):
        length = int.from_bytes(head[:8], "little")
        if len(head) < 12 or _masked(head[:8]) != int.from_bytes(head[8:], "little") or length > LONGEST:
            raise Refused(f"{path} is no TFRecord file of NAS-Bench-101, or damaged, at byte {file.tell() - len(head)}")
        body = file.read(length + 4)
        record, told = body[:length], int.from_bytes(body[length:], "little")
        if len(body) < length + 4:
            raise Refused(f"{path} ends within a record: get it whole")
        if sums and _masked(record) != told:
            raise Refused(f"{path} is damaged in the record before byte {file.tell()}: its sum is another")
        yield record


@cache
def _table() -> tuple[int, ...]:
    """Of CRC-32C, the remainders of each byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def _masked(data: bytes) -> int:
    """CRC-32C, turned and added to as TFRecord files have it."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _metrics(message: bytes) -> dict[str, float]:
    """Of a `ModelMetrics`: its parameters, and what its last evaluation measured (nasbench/lib/model_metrics.proto)."""
    fields = list(_fields(message))
    last = dict(_fields([value for number, value in fields if number == 1][-1]))
    found = {name: struct.unpack("<d", last[i])[0] for i, name in enumerate(FIELDS, 1) if name != "current_epoch"}
    return found | {"trainable_parameters": dict(fields)[2]}


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protocol buffer: a whole number, or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        if key & 7 not in (1, 2, 5) or at + size > len(message):
            raise ValueError("its metrics are no protocol buffer, or cut short")
        yield key >> 3, message[at : at + size]
        at += size
