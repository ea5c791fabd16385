"""A folder of splits on disk: four Parquet files and `manifest.json`, each written whole or not at all."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.errors import Refused
from winnow.data.schema import FORMAT, HASH_BYTES, check_schema, content_digest

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
        write_manifest(manifest, waiting[folder / MANIFEST])
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


def write_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """With a digest of its own."""
    whole = {**manifest, "digest": _digest(manifest)}
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def write_table(table: pa.Table, path: Path) -> None:
    """One split as Parquet: zstd, row groups of about 64 MiB, dictionaries only where they help."""
    rows = max(1, ROW_GROUP_BYTES * len(table) // max(table.nbytes, 1))
    repeating = [f.name for f in table.schema if pa.types.is_integer(f.type) and f.name != "row"] + ["source"]
    # absolute: Arrow takes a relative path with a colon for the address of a server
    pq.write_table(
        table, path.absolute(), row_group_size=rows, compression="zstd", use_dictionary=[*repeating, "source"]
    )


def read_manifest(folder: Path) -> dict:
    """What `build_manifest` made; Refused where it is missing, unreadable or of another format."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"{path} is missing; run the prepare stage first") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is no JSON ({error}); run the prepare stage again") from error
    if isinstance(manifest, dict) and manifest.get("format") == 1:
        raise Refused(f"{path} is of format 1, of an older winnow: run `winnow prepare` again")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Refused(f"{path} is not a manifest of format {FORMAT}; run the prepare stage again")
    if manifest.get("digest") != _digest(manifest):
        raise Refused(f"{path} is damaged: it is not what prepare wrote; run the prepare stage again")
    return manifest


def _digest(manifest: Mapping[str, Any]) -> str:
    """32 hex digits of all entries but the digest."""
    text = json.dumps({key: value for key, value in manifest.items() if key != "digest"}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=HASH_BYTES).hexdigest()


def read_split(folder: Path, name: str, manifest: dict) -> pa.Table:
    """The table of one split, its schema, row count and content checked against the manifest."""
    path, expected = folder / f"{name}.parquet", manifest["splits"][name]
    with reading(path):
        table = pq.read_table(path.absolute())
    check_schema(table.schema, path.name)
    if len(table) != expected["rows"]:
        raise Refused(f"{path} has {len(table)} rows, its manifest says {expected['rows']}; run prepare again")
    if content_digest(table) != expected["digest"]:
        raise Refused(f"{path} is not the file its manifest describes (other content); run the prepare stage again")
    return table


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what a reader of the split `path` raises into a sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise Refused(f"{path} is missing; run the prepare stage again") from error
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{path} is no whole Parquet file ({_reason(error)}); run the prepare stage again") from error


def build_manifest(tables: Mapping[str, pa.Table], facts: Mapping[str, Any], **more: object) -> dict:
    """What there is to know of the splits without opening them; `facts` are the source's and what was learnt."""
    splits = {name: {"rows": len(table), "digest": content_digest(table)} for name, table in tables.items()}
    return {"format": FORMAT, **more, "facts": dict(facts), "splits": splits}


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).splitlines()[0]
