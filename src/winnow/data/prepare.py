"""From the name of a source to a folder of splits: what the prepare stage runs."""

from collections.abc import Mapping
from pathlib import Path

from winnow.data.source import ImageSize, Options, Source
from winnow.data.sources import load_source
from winnow.data.splits import Splits, check_leakage, make_splits
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
    splits = make_splits(data, seed=seed, fractions=fractions, test_fraction=test_fraction, limit_train=limit_train)
    check_leakage(splits.tables)
    manifest = build_manifest(
        splits.tables,
        source=source,
        source_digest=data.digest,
        seed=seed,
        symmetric=data.symmetric,
        duplicates={"dropped_from_train": splits.dropped, "kept_together": splits.repeated},
        **_said(data, splits),
    )
    write_splits(splits.tables, manifest, Path(folder))
    return manifest


def _said(data: Source, splits: Splits) -> dict[str, object]:
    """What a reader should hear of, where there is any: `left_out`, counts by reason, and `notes`, sentences."""
    notes = list(data.notes)
    if splits.dropped:
        notes.append(f"{splits.dropped} training image(s) are in the test set too: left out of training")
    if splits.repeated:
        notes.append(f"{splits.repeated} training image(s) are there more than once: kept in one split")
    if splits.contradicted:
        notes.append(f"{splits.contradicted} image(s) have an equal one with another label")
    return ({"left_out": dict(data.left_out)} if data.left_out else {}) | ({"notes": notes} if notes else {})
