"""One source into four named splits: stratified, seeded, and no image in two of them.

`weights` trains the network, `arch` the logits, `select` ranks architectures, `test` is for the last stage alone.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.schema import SPLITS, fixed_binary, fixed_numpy, pixel_hashes, split_schema
from winnow.data.source import Part, Source, shares


@dataclass(frozen=True)
class Splits:
    """The four tables, and how many images were left out of training because the test set has them too.

    `repeated` counts training images whose pixels an earlier one has; they went to the earlier one's split.
    `contradicted` counts images that an equal one with another label contradicts, in training or test.
    """

    tables: dict[str, pa.Table]
    dropped: int
    repeated: int
    contradicted: int


def make_splits(
    source: Source,
    *,
    seed: int,
    fractions: Mapping[str, float],
    test_fraction: float,
    limit_train: int | None = None,
) -> Splits:
    """Deal the training images by `fractions` (of weights, arch, select; they sum to 1), class by class.

    Images with equal pixels are dealt as one. A source without a test set gives `test_fraction` of its images up
    first; one with a test set loses the training images that are in it. Rows keep the source's order. The same
    source and seed give the same splits. Raises Refused where classes have too few distinct images, which may be for
    `limit_train`, the number of images that the source was told to read.
    """
    fractions = _checked_fractions(fractions, None if source.test else test_fraction)
    hashes = pixel_hashes(source.train.images)
    keys = hashes.view("V16").ravel()
    test_hashes = pixel_hashes(source.test.images) if source.test else np.empty((0, 16), np.uint8)
    fresh = np.flatnonzero(~np.isin(keys, test_hashes.view("V16").ravel()))
    _, first, group = np.unique(keys[fresh], return_index=True, return_inverse=True)
    distinct = source.train.labels[fresh][first]
    _check_counts(distinct, tuple(fractions), source.classes, limit_train)
    dealt = _deal(distinct, fractions, len(source.classes), np.random.default_rng(seed))
    split_of = dealt[group]
    tables = {name: _table(source, "train", fresh[split_of == number], hashes) for number, name in enumerate(fractions)}
    if source.test:
        tables["test"] = _table(source, "test", np.arange(len(source.test.images)), test_hashes)
    contradicted = _contradicted(source, keys, test_hashes.view("V16").ravel())
    return Splits(tables, len(keys) - len(fresh), len(fresh) - len(first), contradicted)


def check_leakage(tables: Mapping[str, pa.Table]) -> None:
    """Refuse splits that share an image (by the hash of its pixels), with the counts of each pair."""
    keys = {name: fixed_numpy(table["hash"]).view("V16").ravel() for name, table in tables.items()}
    shared = {
        f"{a} and {b}": count
        for a, b in itertools.combinations(keys, 2)
        if (count := len(np.intersect1d(keys[a], keys[b])))
    }
    if shared:
        counts = ", ".join(f"{pair} share {count} image(s)" for pair, count in shared.items())
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


def _check_counts(labels: np.ndarray, splits: tuple[str, ...], classes: tuple[str, ...], limit: int | None) -> None:
    """Refuse classes with fewer distinct images than there are splits, all of them at once."""
    counts = np.bincount(labels, minlength=len(classes))
    few = np.flatnonzero(counts < len(splits))
    if not len(few):
        return
    first, more = few[0], ""
    if len(few) > 1:
        others = ", ".join(f"{classes[label]!r} {counts[label]}" for label in few[1:20])
        more = f"; so it is with {len(few)} of {len(classes)} classes ({others}{', …' if len(few) > 20 else ''})"
    if limit is not None:
        enough = -(-limit * len(splits) // max(int(counts[few].min()), 1))
        more += f"; data.limit_train is {limit}: raise it to about {enough}, or set it to null"
    raise Refused(
        f"class {classes[first]!r} has {counts[first]} distinct training image(s); it takes {len(splits)}, "
        f"one for each of {', '.join(splits)}{more}"
    )


def _deal(labels: np.ndarray, fractions: Mapping[str, float], classes: int, rng: np.random.Generator) -> np.ndarray:
    """For each distinct image the number of its split; every class is in every split."""
    dealt = np.empty(len(labels), np.int64)
    order = np.argsort(labels, kind="stable")
    for members in np.split(order, np.searchsorted(labels[order], np.arange(1, classes))):
        members = rng.permutation(members)
        counts = shares(len(members), np.array(list(fractions.values())))
        dealt[members] = np.repeat(np.arange(len(counts)), counts)
    return dealt


def _contradicted(source: Source, keys: np.ndarray, test_keys: np.ndarray) -> int:
    """How many images there are, in training and test, of which an equal one has another label."""
    labels = source.train.labels if source.test is None else np.concatenate([source.train.labels, source.test.labels])
    _, group = np.unique(np.concatenate([keys, test_keys]), return_inverse=True)
    least, most = np.full(group.max() + 1, len(source.classes)), np.full(group.max() + 1, -1)
    np.minimum.at(least, group, labels)
    np.maximum.at(most, group, labels)
    return int((least < most)[group].sum())


def _table(source: Source, origin: str, chosen: np.ndarray, hashes: np.ndarray) -> pa.Table:
    part: Part = source.train if origin == "train" else source.test
    columns = [
        fixed_binary(part.images[chosen]),
        pa.array(part.labels[chosen], pa.int32()),
        pa.array(part.rows[chosen], pa.int64()),
        pa.array(np.full(len(chosen), origin, object), pa.string()),
        fixed_binary(hashes[chosen]),
    ]
    return pa.table(columns, schema=split_schema(part.images.shape[1:], source.classes))
