"""Parquet files of flat columns, an event a row: which are categories, which numbers, and whether it was clicked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from winnow.core.errors import Refused
from winnow.core.options import NotNegative, Positive
from winnow.data.labelled import limited
from winnow.data.source import Options, Part, Source
from winnow.data.sources.cells import clicks_of, keys_of, kind_of, numbers_of, times_of
from winnow.data.sources.columns import nearest_column, opened, read_column
from winnow.data.sources.sets import files_digest
from winnow.data.sources.shards import check_whole, find_shards

CLICK_NAMES = ("click", "clicked", "label", "target")
LABEL, TIME, WITHIN = "data.label_column", "data.options.time_column", "data.options.time_within"


def table_parquet(
    options: Options,
    *,
    categorical: list[str] = [],  # noqa: B006
    dense: list[str] = [],  # noqa: B006
    leave_out: list[str] = [],  # noqa: B006
    time_column: str | None = None,
    time_within: str | None = None,
    min_count: Positive = 1,
    buckets: NotNegative = 0,
) -> Source:
    """Columns of texts, whole numbers and booleans are categories, of real numbers dense; files as for `parquet`.

    `categorical` and `dense` name columns to be taken so instead, `leave_out` those that no network is given. The label
    is 0 or 1 (column click, clicked, label or target, or data.label_column). With `time_column` splits follow time: the
    earliest rows train, later ones judge; `time_within` names whose own order that is, a user's. A value seen fewer
    than `min_count` times in training counts as unseen; with `buckets` values are hashed into so many a column instead.
    """
    if options.path is None:
        raise Refused(
            "data.source is 'table_parquet' and data.path is not set; give a Parquet file or a folder of them"
        )
    shards = find_shards(Path(options.path))
    names = opened(shards.train[0]).schema_arrow.names
    for name in dict.fromkeys(names):  # each may become a feature
        nearest_column(name, names, (), shards.train[0].name, "data.options.leave_out")
    label = nearest_column(options.label_column, names, CLICK_NAMES, shards.train[0].name, LABEL)
    for name, option in ((time_column, TIME), (time_within, WITHIN)):
        if name is not None:
            nearest_column(name, names, (), shards.train[0].name, option)
    if time_within is not None and time_column is None:
        raise Refused(f"{WITHIN} says whose order of time it is: say in {TIME} which column has the times")
    features = [name for name in names if name not in (label, time_column) or name in (*categorical, *dense)]
    fields, numbers = _kinds(shards.train[0], features, label, categorical, dense, leave_out)
    train = _part(shards.train, label, fields, numbers, (time_column, time_within), buckets)
    if train is None:
        raise Refused(f"{shards.train[0].name}: column {label!r} says of no row whether it was clicked")
    train = _some(train, limited(train.columns["click"], options.limit_train, "limit_train", options.seed))
    test, left_out, notes, files = None, shards.left_out, [], list(shards.train)
    for role, parts in shards.tests.items():
        found = None
        if test is None:
            check_whole(Path(options.path), parts)
            found = _part(parts, label, fields, numbers, (time_column, time_within), buckets)
        if found is None:
            notes.append(f"{role} is left out: {'there is a test set' if test else 'it has no labels'}")
            left_out[f"file of {role}"] += len(parts)
        else:
            test = _some(found, limited(found.columns["click"], options.limit_test, "limit_test", options.seed))
            files += parts
            notes += [f"{role} is taken for the test set"] * (role != "test")
    if test is not None and time_column is not None and time_within is None:
        early = int((test.columns["time"] < train.columns["time"].max()).sum())
        notes += [f"{early} of {len(test)} test rows are earlier than the last training row"] * (early > 0)
    facts = {"fields": fields, "dense": numbers, "min_count": min_count, "buckets": buckets}
    facts |= {"ordered": time_column is not None}
    return Source(train, test, facts, digest=files_digest(files), left_out=dict(left_out), notes=tuple(notes))


def _kinds(
    file: Path, features: Sequence[str], label: str, categorical: list[str], dense: list[str], leave_out: list[str]
) -> tuple[list[str], list[str]]:
    """The columns that are categories and those that are numbers, in the order of the file."""
    schema = opened(file).schema_arrow
    for option, given in (("categorical", categorical), ("dense", dense), ("leave_out", leave_out)):
        for name in given:
            nearest_column(name, schema.names, (), file.name, f"data.options.{option}")
            if name == label:
                raise Refused(f"data.options.{option} names {name!r}, which is what is to be told")
    for one, other in ((categorical, dense), (categorical, leave_out), (dense, leave_out)):
        if both := sorted(set(one) & set(other)):
            raise Refused(f"column {both[0]!r} is named twice among data.options categorical, dense and leave_out")
    fields: list[str] = []
    numbers: list[str] = []
    odd: list[str] = []
    for name in features:
        if name in leave_out:
            continue
        kind = kind_of(schema.field(name).type)
        if name in categorical or (name not in dense and kind == "category"):
            fields.append(name)
        elif name in dense or kind == "number":
            numbers.append(name)
        else:
            odd.append(f"{name} ({schema.field(name).type})")
    if odd:
        raise Refused(
            f"{file.name}: {len(odd)} column(s) hold neither categories (texts, whole numbers, booleans) nor numbers: "
            f"{', '.join(odd[:8])}; name them in data.options.leave_out, or write them otherwise"
        )
    if not fields and not numbers:
        raise Refused(f"{file.name} has no column beside {label!r} that a network could be given")
    return fields, numbers


def _part(
    files: Sequence[Path],
    label: str,
    fields: Sequence[str],
    numbers: Sequence[str],
    order: tuple[str | None, str | None],
    buckets: int,
) -> Part | None:
    """All rows of the files; None where no label is there."""
    clicks = clicks_of([(file, read_column(file, label, LABEL)) for file in files], label)
    if clicks is None:
        return None
    cells = np.empty((len(clicks), len(fields) + len(numbers)), np.float64)
    for place, name in enumerate((*fields, *numbers)):
        read = [(file, read_column(file, name, "data.options.leave_out")) for file in files]
        made = [keys_of(file, name, v, buckets) if name in fields else numbers_of(file, name, v) for file, v in read]
        cells[:, place] = np.concatenate(made)
    columns = {"cells": cells, "click": clicks}
    time, within = order
    if time is not None:
        columns["time"] = np.concatenate([times_of(file, time, read_column(file, time, TIME)) for file in files])
    if within is not None:
        owners = [keys_of(file, within, read_column(file, within, WITHIN), 0) for file in files]
        columns["owner"] = np.concatenate(owners)
    return Part(columns)


def _some(part: Part, rows: np.ndarray) -> Part:
    return Part({name: values[rows] for name, values in part.columns.items()}, rows)
