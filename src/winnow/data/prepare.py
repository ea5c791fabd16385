"""From the name of a source to a folder of splits: what the prepare stage runs."""

from collections.abc import Mapping
from pathlib import Path

from winnow.data.source import ImageSize, Options
from winnow.data.sources import load_source
from winnow.data.splits import check_leakage, make_splits
from winnow.data.storage import build_manifest, write_splits


def prepare_splits(
    folder: str | Path,
    *,
    source: str,
    seed: int,
    fractions: Mapping[str, float],
    test_fraction: float,
    path: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: ImageSize = None,
    limit_train: int | None = None,
    limit_test: int | None = None,
) -> dict:
    """Write `weights`, `arch`, `select`, `test` .parquet and manifest.json into `folder`; returns the manifest.

    Raises Refused, in one sentence, on anything wrong with the data or its settings; then the folder is unchanged.
    """
    options = Options(path, image_column, label_column, image_size, limit_train, limit_test, seed)
    data = load_source(source, options)
    splits = make_splits(data, seed=seed, fractions=fractions, test_fraction=test_fraction)
    check_leakage(splits.tables)
    manifest = build_manifest(
        splits.tables,
        source=source,
        source_digest=data.digest,
        seed=seed,
        symmetric=data.symmetric,
        duplicates={"dropped_from_train": splits.dropped, "kept_together": splits.repeated},
    )
    write_splits(splits.tables, manifest, Path(folder))
    return manifest
