"""One source into four named splits: dealt as its task asks, seeded, and no row in two of them.

`weights` trains the network, `arch` the logits, `select` ranks architectures, `test` is for the last stage alone.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.deal import Fractions, by_groups
from winnow.data.schema import SPLITS, fixed_binary, fixed_numpy, kinds_of, row_hashes, split_schema, stored
from winnow.data.source import GROUP, Columns, Part, Source

# columns of distinct rows, facts of the source, fractions, draws, data.limit_train -> the number of each row's split
Deal = Callable[[Columns, Mapping[str, Any], Fractions, np.random.Generator, int | None], np.ndarray]


@dataclass(frozen=True)
class Splits:
    """The four tables, and how many rows were left out of training because the test set has them too.

    Equal are rows that give a network the same. `repeated` counts training rows that an earlier one equals; they went
    to the earlier one's split. `contradicted` counts rows of which an equal one tells another answer.
    """

    tables: dict[str, pa.Table]
    dropped: int
    repeated: int
    contradicted: int


def make_splits(
    source: Source,
    *,
    reads: Sequence[str],
    target: str,
    deal: Deal,
    seed: int,
    fractions: Mapping[str, float],
    test_fraction: float,
    limit_train: int | None = None,
) -> Splits:
    """Deal the training rows by `fractions` (of weights, arch, select; they sum to 1), as `deal` does, or by groups.

    A network is given the columns `reads` and is to tell `target`. Equal rows are dealt as one, and column
    `group` numbers the groups, where there are any. A source without a test
    set gives `test_fraction` of its rows up first; one with a test set loses the training rows that are in it. Rows
    keep the source's order. The same source and seed give the same splits. Raises Refused where there are too few
    rows, which may be for `limit_train`, the number of rows that the source was told to read.
    """
    fractions, source = _checked_fractions(fractions, None if source.test else test_fraction), _grouped(source)
    hashes = {name: row_hashes(part.columns, reads) for name, part in source.parts().items()}
    keys = {name: each.view("V16").ravel() for name, each in hashes.items()}
    fresh = np.arange(len(keys["train"]))
    if source.test:
        fresh = np.flatnonzero(~np.isin(keys["train"], keys["test"]))
    _, first, group = np.unique(keys["train"][fresh], return_index=True, return_inverse=True)
    rng, chosen = np.random.default_rng(seed), fresh[first]
    if source.train.groups is not None:
        dealt = by_groups(_whole(source.train.groups[fresh], group, first), fractions, rng)
    else:
        distinct = {name: values[chosen] for name, values in source.train.columns.items()}
        dealt = deal(distinct, source.facts, fractions, rng, limit_train)
    split_of = dealt[group]
    tables = {
        name: _table(source, "train", fresh[split_of == number], hashes["train"])
        for number, name in enumerate(fractions)
    }
    if source.test:
        tables["test"] = _table(source, "test", np.arange(len(source.test)), hashes["test"])
    contradicted = _contradicted(source, np.concatenate(list(keys.values())), target)
    return Splits(tables, len(keys["train"]) - len(fresh), len(fresh) - len(first), contradicted)


def _grouped(source: Source) -> Source:
    """With column GROUP where training rows have groups: int32, in the order of names; -1 for test rows of none."""
    if source.train.groups is None:
        return source
    if GROUP in source.train.columns:
        raise Refused(f"a column of the source is called {GROUP!r}, which numbers its groups: give it another name")
    parts = source.parts()
    names = np.unique(np.concatenate([part.groups for part in parts.values() if part.groups is not None]))

    def numbered(part: Part) -> Part:
        none = np.full(len(part), -1, np.int32)
        own = none if part.groups is None else np.searchsorted(names, part.groups).astype(np.int32)
        return replace(part, columns={**part.columns, GROUP: own})

    return source.with_parts({name: numbered(part) for name, part in parts.items()})


def check_leakage(tables: Mapping[str, pa.Table]) -> None:
    """Refuse splits that share a row (by the hash of what a network is given), with the counts of each pair."""
    keys = {name: fixed_numpy(table["hash"]).view("V16").ravel() for name, table in tables.items()}
    shared = {
        f"{a} and {b}": count
        for a, b in itertools.combinations(keys, 2)
        if (count := len(np.intersect1d(keys[a], keys[b])))
    }
    if shared:
        counts = ", ".join(f"{pair} share {count} row(s)" for pair, count in shared.items())
        raise Refused(f"splits leak: {counts}; run the prepare stage again")


def _checked_fractions(fractions: Mapping[str, float], test_fraction: float | None) -> dict[str, float]:
    """Fractions of all that is dealt, in the order of SPLITS and with `test` where it is held out."""
    if set(fractions) != set(SPLITS[:3]) or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise Refused(f"data.fractions takes positive weights, arch and select that sum to 1; got {dict(fractions)}")
    if test_fraction is None:
        return {name: fractions[name] for name in SPLITS[:3]}
    if not 0 < test_fraction < 1:
        raise Refused(
            f"data.test_fraction must lie between 0 and 1, as this source has no test set; got {test_fraction}"
        )
    return {name: fractions[name] * (1 - test_fraction) for name in SPLITS[:3]} | {"test": test_fraction}


def _whole(groups: np.ndarray, equal: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The group of each distinct row. Refused where equal rows are of two groups: they cannot be held apart."""
    torn = np.flatnonzero(groups != groups[first][equal])
    if len(torn):
        one, other = groups[torn[0]], groups[first][equal][torn[0]]
        raise Refused(
            f"groups {other!s} and {one!s} hold equal rows ({len(torn)} in all), so neither can be held out: leave one "
            "of each such pair out of the source"
        )
    return groups[first]


def _contradicted(source: Source, keys: np.ndarray, target: str) -> int:
    """How many rows there are, in training and test, of which an equal one has another answer."""
    hashes = [row_hashes(part.columns, (target,)) for part in source.parts().values()]
    _, answers = np.unique(np.concatenate(hashes).view("V16").ravel(), return_inverse=True)
    _, group = np.unique(keys, return_inverse=True)
    least, most = np.full(group.max() + 1, answers.max()), np.full(group.max() + 1, -1)
    np.minimum.at(least, group, answers)
    np.maximum.at(most, group, answers)
    return int((least < most)[group].sum())


def _table(source: Source, origin: str, chosen: np.ndarray, hashes: np.ndarray) -> pa.Table:
    part: Part = source.parts()[origin]
    assert part.rows is not None  # `checked` numbers them
    columns = [
        *(stored(values[chosen]) for values in part.columns.values()),
        pa.array(part.rows[chosen], pa.int64()),
        pa.array(np.full(len(chosen), origin, object), pa.string()),
        fixed_binary(hashes[chosen]),
    ]
    return pa.table(columns, schema=split_schema(kinds_of(part.columns), source.facts))
