"""Which row goes into which split: by kinds in equal shares, or in whole groups."""

from collections.abc import Mapping, Sequence

import numpy as np

from winnow.core.errors import Refused

Fractions = Mapping[str, float]  # by split, in the order of their numbers; they sum to 1


def stratified(
    kinds: np.ndarray, names: Sequence[str], fractions: Fractions, rng: np.random.Generator, limit: int | None = None
) -> np.ndarray:
    """For each row the number of its split; every kind, 0 to len(names) - 1, is in every split in its share.

    Refused where a kind has fewer rows than there are splits, all such at once; `limit` is data.limit_train.
    """
    _check_counts(kinds, tuple(fractions), names, limit)
    dealt = np.empty(len(kinds), np.int64)
    order = np.argsort(kinds, kind="stable")
    for members in np.split(order, np.searchsorted(kinds[order], np.arange(1, len(names)))):
        members = rng.permutation(members)
        counts = shares(len(members), np.array(list(fractions.values())))
        dealt[members] = np.repeat(np.arange(len(counts)), counts)
    return dealt


def at_random(count: int, fractions: Fractions, rng: np.random.Generator) -> np.ndarray:
    """The same for `count` rows that are all of one kind. Refused where there are fewer than splits."""
    if count < len(fractions):
        raise Refused(
            f"there are {count} different training rows; it takes {len(fractions)} or more, one for each of "
            f"{', '.join(fractions)}"
        )
    return stratified(np.zeros(count, np.int64), ("all",), fractions, rng)


def in_time(times: np.ndarray, fractions: Fractions) -> np.ndarray:
    """For each row the number of its split: the earliest rows in the first. Rows of one moment stay together.

    Refused where a split would be empty: too few moments.
    """
    moments, which, counts = np.unique(times, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(times)  # where in all rows those of a moment lie
    splits = np.searchsorted(np.cumsum(list(fractions.values()))[:-1], middle, side="right")
    if missing := [name for number, name in enumerate(fractions) if number not in splits]:
        raise Refused(
            f"there are {len(moments)} different times, and no row for split {missing[0]}: rows of one time stay "
            "together; take a finer time, or other data.fractions"
        )
    return splits[which]


def in_time_within(owners: np.ndarray, times: np.ndarray, fractions: Fractions) -> np.ndarray:
    """The same in each owner's own order: the first of a user's rows in the first split, the last ones in the last.

    An owner of few rows may be in some splits only. Equal times keep the order of the rows. Refused where a split would
    be empty.
    """
    _, which, counts = np.unique(owners, return_inverse=True, return_counts=True)
    order = np.lexsort((times, which))
    place = np.empty(len(times), np.int64)
    place[order] = np.arange(len(times)) - np.repeat(np.cumsum(counts) - counts, counts)
    middle = (place + 0.5) / counts[which]
    splits = np.searchsorted(np.cumsum(list(fractions.values()))[:-1], middle, side="right")
    if missing := [name for number, name in enumerate(fractions) if number not in splits]:
        raise Refused(f"no owner has enough rows for one in split {missing[0]}: leave data.options.time_within out")
    return splits


def by_groups(groups: np.ndarray, fractions: Fractions, rng: np.random.Generator) -> np.ndarray:
    """For each row the number of its split; no group is in two splits, and each split has one at least.

    The largest group first, each to the split that lacks most of its share; equal ones in a drawn order. Refused where
    there are fewer groups than splits.
    """
    names, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    wanted = np.array(list(fractions.values())) * len(groups)
    if len(names) < len(wanted):
        raise Refused(
            f"the data has {len(names)} group(s) ({', '.join(map(str, names[:8]))}), and no group is torn apart: it "
            f"takes {len(wanted)} or more, one for each of {', '.join(fractions)}"
        )
    order = rng.permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    owner, empty = np.empty(len(names), np.int64), set(range(len(wanted)))
    for position, group in enumerate(order):
        open_to = sorted(empty) if len(order) - position == len(empty) else range(len(wanted))
        split = max(open_to, key=lambda number: (wanted[number], -number))
        owner[group], wanted[split] = split, wanted[split] - counts[group]
        empty.discard(split)
    return owner[which]


def shares(total: int, fractions: np.ndarray) -> np.ndarray:
    """`total` things dealt by `fractions` (which sum to 1) in whole numbers, each share at least 1.

    Largest remainder first, ties to the earlier share. Needs total >= len(fractions).
    """
    wanted = np.asarray(fractions, float) * total
    dealt = np.maximum(np.floor(wanted).astype(int), 1)
    while (gap := total - dealt.sum()) != 0:
        if gap > 0:
            dealt[np.argmax(wanted - dealt)] += 1
        else:  # the guaranteed ones overdrew: take from where there is most beyond the wish
            dealt[np.argmax(np.where(dealt > 1, dealt - wanted, -np.inf))] -= 1
    return dealt


def _check_counts(kinds: np.ndarray, splits: tuple[str, ...], names: Sequence[str], limit: int | None) -> None:
    """Refuse kinds with fewer rows than there are splits, all of them at once."""
    counts = np.bincount(kinds, minlength=len(names))
    few = np.flatnonzero(counts < len(splits))
    if not len(few):
        return
    first, more = few[0], ""
    if len(few) > 1:
        others = ", ".join(f"{names[kind]!r} {counts[kind]}" for kind in few[1:20])
        more = f"; so it is with {len(few)} of {len(names)} classes ({others}{', …' if len(few) > 20 else ''})"
    if limit is not None:
        enough = -(-limit * len(splits) // max(int(counts[few].min()), 1))
        more += f"; data.limit_train is {limit}: raise it to about {enough}, or set it to null"
    raise Refused(
        f"class {names[first]!r} has {counts[first]} distinct training row(s); it takes {len(splits)}, "
        f"one for each of {', '.join(splits)}{more}"
    )
