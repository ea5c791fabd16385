"""From the name of a source to a folder of splits: what the prepare stage runs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from winnow.data.schema import columns_of
from winnow.data.source import Columns, ImageSize, Options, Source
from winnow.data.sources import load_source
from winnow.data.splits import Deal, Splits, check_leakage, make_splits
from winnow.data.storage import build_manifest, write_splits


class Preparing(Protocol):
    """Of a task, what it takes to prepare its splits."""

    @property
    def name(self) -> str: ...
    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def target(self) -> str: ...
    @property
    def check(self) -> Callable[[Source], Source]: ...
    @property
    def deal(self) -> Deal: ...
    @property
    def learnt(self) -> Callable[[Sequence[Columns], Mapping[str, Any]], Mapping[str, Any]]: ...
    @property
    def noted(self) -> Callable[[Mapping[str, Columns], Mapping[str, Any]], Sequence[str]]: ...


def prepare_splits(
    folder: str | Path,
    task: Preparing,
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
    own: Mapping[str, Any] | None = None,
) -> dict:
    """Write `weights`, `arch`, `select`, `test` .parquet and manifest.json into `folder`; returns the manifest.

    `own` are options that the source alone takes. Raises Refused, in one sentence, on anything wrong with the data or
    its settings; then the folder is unchanged.
    """
    options = Options(path, image_column, label_column, image_size, limit_train, limit_test, seed)
    data = task.check(load_source(source, options, **(own or {})))
    splits = make_splits(
        data,
        reads=task.reads,
        target=task.target,
        deal=task.deal,
        seed=seed,
        fractions=fractions,
        test_fraction=test_fraction,
        limit_train=limit_train,
    )
    check_leakage(splits.tables)
    columns = {name: columns_of(each) for name, each in splits.tables.items()}
    learnt = task.learnt([columns[name] for name in ("weights", "arch")], data.facts)
    manifest = build_manifest(
        splits.tables,
        {**data.facts, **learnt},
        task=task.name,
        source=source,
        source_digest=data.digest,
        seed=seed,
        duplicates={"dropped_from_train": splits.dropped, "kept_together": splits.repeated},
        **_said(data, splits, task.noted(columns, {**data.facts, **learnt})),
    )
    write_splits(splits.tables, manifest, Path(folder))
    return manifest


def _said(data: Source, splits: Splits, noted: Sequence[str]) -> dict[str, object]:
    """What a reader should hear of, where there is any: `left_out`, counts by reason, and `notes`, sentences."""
    notes = list(data.notes)
    if splits.dropped:
        notes.append(f"{splits.dropped} training row(s) are in the test set too: left out of training")
    if splits.repeated:
        notes.append(f"{splits.repeated} training row(s) are there more than once: kept in one split")
    if splits.contradicted:
        notes.append(f"{splits.contradicted} row(s) have an equal one with another answer")
    notes += noted
    return ({"left_out": dict(data.left_out)} if data.left_out else {}) | ({"notes": notes} if notes else {})
