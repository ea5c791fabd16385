"""Looking architectures up in a trials table instead of training them. Imports neither torch nor Optuna."""

import copy
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import read_table

Fidelity = tuple[tuple[str, float], ...]
NB101 = "cell/nodes"  # a decision of no other space


class Table:
    """A trials table by architecture and fidelity.

    `names` are the decisions, `codes` (architectures, decisions) the answers as positions in `options[name]`, -1 where
    an architecture does not reach a decision, and `column(metric, fidelity)` one number an architecture, nan where
    there is none. Complete trials that are no copies count; of several of one architecture and fidelity, the mean.
    """

    def __init__(self, trials: pa.Table, what: str = "the table"):
        trials = trials.filter(_evaluated(trials)).combine_chunks()
        if not len(trials):
            raise Refused(f"{what} has no complete trial of an architecture: nothing to look up")
        texts = trials["architecture"].combine_chunks().dictionary_encode()
        self.texts: dict[str, int] = {text: i for i, text in enumerate(texts.dictionary.to_pylist())}
        architectures = [_shared(Architecture.from_json(text)) for text in self.texts]
        self.rows = {a.choices: i for i, a in enumerate(architectures)}
        self.names = tuple(sorted({name for a in architectures for name, _ in a.choices}))
        self.options, self.codes = _coded(architectures, self.names)
        self._columns = _columns(trials, texts.indices.to_numpy(), len(architectures))

    @classmethod
    def read(cls, path: Path) -> "Table":
        columns = ["architecture", "metrics", "state", "copy_of", "fidelity"]
        return cls(read_table(path, columns), str(path))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[tuple[str, Fidelity]]:
        """(metric, fidelity), sorted."""
        return sorted(self._columns)

    def column(self, metric: str, fidelity: Mapping[str, float]) -> np.ndarray:
        """Shape (architectures,), float64. Refused where the table has no such column."""
        key = metric, tuple(sorted(fidelity.items()))
        if key not in self._columns:
            known = ", ".join(f"{m} at {_readable(f)}" for m, f in self.columns)
            raise Refused(f"the table has no {metric} at {_readable(key[1])}; it has {known}")
        return self._columns[key]

    def fidelities(self, metric: str) -> list[Fidelity]:
        """Those that `metric` is there at, the shortest evaluation first."""
        return [fidelity for name, fidelity in self.columns if name == metric]

    def row(self, architecture: Mapping[str, Value]) -> int:
        """The position of an architecture. Refused where the table does not have it."""
        if not isinstance(architecture, Architecture):
            architecture = Architecture.of(architecture)
        found = self.place(architecture)
        if found is None:
            raise Refused(f"the table does not have {architecture.to_json()}")
        return found

    def place(self, architecture: Architecture) -> int | None:
        """The same, or None; of NAS-Bench-101 a cell is found in whatever way it is answered."""
        found = self.rows.get(architecture.choices)
        if found is None and self.of_nb101:
            from winnow.spaces.nb101_cells import represent

            return self.rows.get(represent(architecture).choices)
        return found

    @property
    def of_nb101(self) -> bool:
        """Whether its architectures are cells of NAS-Bench-101, each in one of several ways to answer it."""
        return NB101 in self.names

    def of_known(self, columns: Sequence[np.ndarray]) -> "Table":
        """The architectures of which all `columns` (architectures,) are known; this one where that is all."""
        known = ~np.isnan(np.column_stack(columns)).any(1)
        if known.all():
            return self
        if not known.any():
            raise Refused("the table has no architecture of which all that is asked for is known")
        some = copy.copy(self)
        kept = np.flatnonzero(known).tolist()
        chosen = dict.fromkeys(kept)
        of = {old: new for new, old in enumerate(kept)}
        some.texts = {text: of[i] for text, i in self.texts.items() if i in chosen}
        some.rows = {choices: of[i] for choices, i in self.rows.items() if i in chosen}
        some.codes = self.codes[known]
        some._columns = {key: column[known] for key, column in self._columns.items()}
        some.__dict__.pop("places", None)
        return some

    @property
    def combinations(self) -> int:
        """Of the options that its architectures take, whether the table has them or not."""
        return math.prod(len(values) for values in self.options.values())

    @property
    def whole(self) -> bool:
        """Whether it has every one of them."""
        return self.combinations == len(self) and bool((self.codes >= 0).all())

    def nearest(self, codes: Sequence[int], among: np.ndarray) -> int:
        """Of the rows `among` (architectures,), true or false, the one with the fewest other answers than `codes`.

        Decisions that a row does not reach do not count; ties go to the earlier row.
        """
        other = (self.codes != np.asarray(codes)) & (self.codes >= 0)
        return int(np.where(among, other.sum(1), np.iinfo(np.int64).max).argmin())

    @cached_property
    def places(self) -> np.ndarray:
        """Positions by codes: an array with one axis a decision, −1 where the table has no such architecture."""
        places = np.full([len(values) for values in self.options.values()], -1, np.int32)
        places[tuple(self.codes.T)] = np.arange(len(self))
        return places


def _coded(architectures: Sequence[Architecture], names: Sequence[str]) -> tuple[dict[str, list[Value]], np.ndarray]:
    """The options of each decision, and each architecture's answers as positions among them."""
    taken: dict[str, set[Value]] = {name: set() for name in names}
    for a in architectures:
        for name, value in a.choices:
            taken[name].add(value)
    options = {name: sorted(values, key=str) for name, values in taken.items()}
    places = {name: (i, {v: at for at, v in enumerate(options[name])}) for i, name in enumerate(names)}
    codes = np.full((len(architectures), len(names)), -1, np.int16)
    for row, a in zip(codes, architectures, strict=True):
        for name, value in a.choices:
            column, positions = places[name]
            row[column] = positions[value]
    return options, codes


def _evaluated(trials: pa.Table) -> np.ndarray:
    states = np.array(trials["state"].to_pylist(), object) == COMPLETE
    given = trials["architecture"].is_valid().to_numpy()
    return states & given & trials["copy_of"].is_null().to_numpy()


def _columns(trials: pa.Table, of: np.ndarray, size: int) -> dict[tuple[str, Fidelity], np.ndarray]:
    """Means by (metric, fidelity); `of` says which architecture each trial is of."""
    fidelities = np.empty(len(trials), object)
    fidelities[:] = [tuple(sorted(each)) for each in trials["fidelity"].to_pylist()]
    metrics = trials["metrics"].combine_chunks()
    lengths = np.diff(metrics.offsets.to_numpy())
    owner = np.repeat(np.arange(len(trials)), lengths)
    names = metrics.keys.dictionary_encode()
    which, values = names.indices.to_numpy(), metrics.items.to_numpy()
    columns = {}
    for fidelity in set(fidelities):
        chosen = np.array([each == fidelity for each in fidelities])[owner]
        for number, name in enumerate(names.dictionary.to_pylist()):
            taken = chosen & (which == number)
            if taken.any():
                where = of[owner[taken]]
                counts = np.bincount(where, minlength=size)
                sums = np.bincount(where, weights=values[taken], minlength=size)
                columns[name, fidelity] = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
    return columns


def _readable(fidelity: Fidelity) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in fidelity) or "full fidelity"


def _shared(architecture: Architecture) -> Architecture:
    """With one copy of each text: fifteen thousand architectures take megabytes rather than tens of them."""
    return Architecture(tuple((sys.intern(n), sys.intern(v) if type(v) is str else v) for n, v in architecture.choices))
