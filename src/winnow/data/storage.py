"""A folder of splits on disk: four Parquet files and `manifest.json`, each written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.errors import Refused
from winnow.data.schema import FORMAT, SPLITS, check_schema, classes_of, content_digest, fixed_numpy, shape_of

MANIFEST = "manifest.json"
ROW_GROUP_BYTES = 64 << 20


def write_splits(tables: Mapping[str, pa.Table], manifest: dict, folder: Path) -> None:
    """Write every split and then the manifest; until all are on disk, what was there before stays as it was."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"cannot make the folder {folder}: {_reason(error)}") from error
    waiting = {folder / f"{name}.parquet": folder / f".{name}.parquet.part" for name in tables}
    waiting[folder / MANIFEST] = folder / f".{MANIFEST}.part"
    try:
        for table, part in zip(tables.values(), waiting.values(), strict=False):
            write_table(table, part)
        waiting[folder / MANIFEST].write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for final, part in waiting.items():
            os.replace(part, final)
    except OSError as error:
        size = sum(table.nbytes for table in tables.values()) >> 20
        raise Refused(
            f"cannot write the splits (up to {size} MiB) to {folder}: {_reason(error)}; nothing was changed"
        ) from error
    finally:
        for part in waiting.values():
            part.unlink(missing_ok=True)


def write_table(table: pa.Table, path: Path) -> None:
    """One split as Parquet: zstd, row groups of about 64 MiB, dictionaries only where they help."""
    rows = max(1, ROW_GROUP_BYTES // table.schema.field("image").type.byte_width)
    # absolute: Arrow takes a relative path with a colon for the address of a server
    pq.write_table(table, path.absolute(), row_group_size=rows, compression="zstd", use_dictionary=["label", "source"])


def read_manifest(folder: Path) -> dict:
    """What `build_manifest` made; Refused where it is missing, unreadable or of another format."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"{path} is missing; run the prepare stage first") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is no JSON ({error}); run the prepare stage again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Refused(f"{path} is not a manifest of format {FORMAT}; run the prepare stage again")
    if wrong := _wrong(manifest):
        raise Refused(f"{path} is damaged: {wrong} is not what prepare writes; run the prepare stage again")
    return manifest


def _wrong(manifest: Mapping[str, Any]) -> str | None:
    """The first entry of a manifest that is missing or cannot be used."""

    def values(key: str, *kinds: type) -> list[Any]:
        found = manifest.get(key)
        return found if isinstance(found, list) and all(type(value) in kinds for value in found) else []

    shape, splits = values("shape", int), manifest.get("splits")
    channels = shape[0] if len(shape) == 3 and min(shape) > 0 else -1
    known = [splits.get(name) for name in SPLITS] if isinstance(splits, dict) else [None]
    checks = {
        "shape": channels > 0,
        "splits": all(isinstance(s, dict) and type(s.get("rows")) is int and "digest" in s for s in known),
        "classes": bool(values("classes", str)),
        "mean": len(values("mean", float, int)) == channels,
        "std": len(values("std", float, int)) == channels,
        "symmetric": isinstance(manifest.get("symmetric"), bool),
    }
    return next((key for key, good in checks.items() if not good), None)


def read_split(folder: Path, name: str, manifest: dict) -> pa.Table:
    """The table of one split, its schema, row count and content checked against the manifest."""
    path, expected = folder / f"{name}.parquet", manifest["splits"][name]
    try:
        table = pq.read_table(path.absolute())
    except FileNotFoundError as error:
        raise Refused(f"{path} is missing; run the prepare stage again") from error
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{path} is no whole Parquet file ({_reason(error)}); run the prepare stage again") from error
    check_schema(table.schema, path.name)
    if list(shape_of(table.schema)) != manifest["shape"]:
        raise Refused(f"{path} holds images of another shape than its manifest says; run the prepare stage again")
    if len(table) != expected["rows"]:
        raise Refused(f"{path} has {len(table)} rows, its manifest says {expected['rows']}; run prepare again")
    if content_digest(table) != expected["digest"]:
        raise Refused(f"{path} is not the file its manifest describes (other content); run the prepare stage again")
    return table


def build_manifest(tables: Mapping[str, pa.Table], **facts: object) -> dict:
    """What there is to know of the splits without opening them; `facts` are added as they are.

    `mean` and `std` are per channel, in units of full white (pixel / 255), over weights and arch alone.
    """
    schema = tables["weights"].schema
    mean, std = _moments([tables["weights"], tables["arch"]], shape_of(schema))
    classes = classes_of(schema)
    splits = {
        name: {
            "rows": len(table),
            "digest": content_digest(table),
            "per_class": np.bincount(table["label"].to_numpy(), minlength=len(classes)).tolist(),
        }
        for name, table in tables.items()
    }
    shape = list(shape_of(schema))
    return {"format": FORMAT, **facts, "shape": shape, "classes": list(classes), "mean": mean, "std": std} | {
        "splits": splits
    }


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).splitlines()[0]


def _moments(tables: list[pa.Table], shape: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, from exact counts of the 256 pixel values."""
    counts = np.zeros((shape[0], 256), np.int64)
    for table in tables:
        for chunk in np.array_split(fixed_numpy(table["image"]), len(table) // 1024 + 1):
            for channel, pixels in enumerate(chunk.reshape(-1, *shape).swapaxes(0, 1)):
                counts[channel] += np.bincount(pixels.ravel(), minlength=256)
    share, value = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = share @ value
    variance = (share * (value - mean[:, None]) ** 2).sum(1)
    return mean.tolist(), np.sqrt(variance).tolist()
