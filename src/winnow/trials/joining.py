"""Several tables of one space as one: what one benchmark measured beside what another did."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from winnow.core.errors import Refused
from winnow.trials.importing import signed, sources_of
from winnow.trials.lookup import Fidelity, Table
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import Row, as_rows, as_table, read_table, write_table

AGREE = 1e-6  # of a number that two tables have


def join(paths: Sequence[Path], out: Path) -> tuple[int, list[str]]:
    """Write the rows of the first table with the metrics that the others have of their architectures; how many rows
    those are, and sentences on who is missing where.

    A metric at a fidelity goes to the rows of that fidelity, one at full fidelity, as a latency, to every row of its
    architecture. Refused for one table, for tables without an architecture in common, and where two differ about a
    number.
    """
    if len(paths) < 2:
        raise Refused("joining takes two tables or more")
    first, *others = paths
    rows = [row for row in as_rows(read_table(first)) if row.state == COMPLETE and row.copy_of is None]
    remarks = []
    for path in others:
        table = Table.read(path)
        common = {row.architecture for row in rows} & set(table.texts)
        if not common:
            raise Refused(f"{first} and {path} have no architecture in common: they are of two spaces")
        alone = len({row.architecture for row in rows}) - len(common), len(table) - len(common)
        for count, where, why in zip(alone, (first, path), ("without", "left out:"), strict=True):
            if count:
                remarks.append(f"{count:,} architectures are in {where} alone: {why} what {path} says")
        rows = [_beside(row, table, path) for row in rows]
    table = as_table([replace(row, number=number) for number, row in enumerate(rows)])
    write_table(out, signed(table, [source for path in paths for source in sources_of(path)]))
    return len(rows), remarks


def _beside(row: Row, table: Table, path: Path) -> Row:
    """The row with what the table has of its architecture, at its fidelity or at full fidelity."""
    place = table.texts.get(row.architecture or "")
    if place is None:
        return row
    own: Fidelity = tuple(sorted(row.fidelity.items()))
    said = {name: table.column(name, dict(at))[place] for name, at in table.columns if at in ((), own)}
    found = {name: float(value) for name, value in said.items() if np.isfinite(value)}
    _check(row.metrics, found, row, path)
    return replace(row, metrics={**found, **row.metrics})


def _check(here: Mapping[str, float], there: Mapping[str, float], row: Row, path: Path) -> None:
    for name in here.keys() & there.keys():
        if abs(here[name] - there[name]) > AGREE * abs(here[name]):
            raise Refused(
                f"{path} has another {name} of {row.architecture} than a table before it, {there[name]:g} rather than "
                f"{here[name]:g}: leave one of the two out"
            )
