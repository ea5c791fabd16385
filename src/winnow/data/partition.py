"""Rows dealt to the clients of federated training: as they came (speakers, drawers), or with a wanted skew of labels.

The skew of a partition is the mean Kolmogorov-Smirnov statistic over pairs of clients, 0 where all have labels alike
and 1 where none has another's (Qu et al. 2022, arXiv:2106.06047, section 4.1). It depends on the order of the classes.
"""

from collections.abc import Sequence

import numpy as np

from winnow.core.errors import Refused

NEAR = 0.02  # a partition whose skew is that near to the wanted one will do


def ks(counts: np.ndarray) -> np.ndarray:
    """(clients, clients): max over c of |F_i(c) - F_j(c)|; `counts` (clients, kinds) are rows or shares."""
    steps = (counts / counts.sum(1, keepdims=True)).cumsum(1)
    gaps: np.ndarray = np.abs(steps[:, None] - steps[None])
    return gaps.max(2)


def skew(counts: np.ndarray) -> float:
    """The mean of `ks` over pairs of clients."""
    return float(ks(counts)[np.triu_indices(len(counts), 1)].mean())


def windows(clients: int, kinds: int, width: int) -> np.ndarray:
    """(clients, kinds) shares: each client has `width` kinds in a row, evenly; the first ones are spread evenly."""
    shares = np.zeros((clients, kinds))
    for client in range(clients):
        first = client * kinds // clients
        shares[client, np.arange(first, first + width) % kinds] = 1 / width
    return shares


def apart(clients: int, kinds: int) -> np.ndarray:
    """(clients, kinds) shares: each class has one owner, or each client one class where there are more of them."""
    shares = np.zeros((clients, kinds))
    for client in range(clients):
        first, end = client * kinds // clients, (client + 1) * kinds // clients
        shares[client, first : max(end, first + 1)] = 1 / max(end - first, 1)
    return shares


def counts_of(shares: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(clients, kinds) rows: those of each class, `sizes` of them, by the clients' shares in it; all are dealt."""
    ends = np.cumsum(shares, 0) / shares.sum(0)
    return np.diff(np.rint(ends * sizes).astype(int), axis=0, prepend=0)


def by_skew(answers: np.ndarray, kinds: int, clients: int, wanted: float, rng: np.random.Generator) -> np.ndarray:
    """(rows,): the client of each row, so that `skew` is within `NEAR` of `wanted`. Every row is dealt.

    `answers` (rows,) are below `kinds`. Windows where some width will do (10 classes, 5 clients: 4 wide is 0.65, 2 wide
    is 1), else kinds of one's own mixed with a share of all. Refused where that reaches no such skew, or where a client
    would have no rows.
    """
    sizes = np.bincount(answers, minlength=kinds)
    widths = [windows(clients, kinds, width) for width in range(1, kinds + 1)]
    dealt = [counts_of(shares, sizes) for shares in widths if (shares.sum(0) > 0).all()]
    dealt = [counts for counts in dealt if counts.sum(1).all()]
    counts = min(dealt, key=lambda each: abs(skew(each) - wanted), default=None)
    if counts is None or abs(skew(counts) - wanted) > NEAR:
        counts = _mixed(sizes, clients, wanted)
    owner = np.empty(len(answers), np.int64)
    for kind in range(kinds):
        members = rng.permutation(np.flatnonzero(answers == kind))
        owner[members] = np.repeat(np.arange(clients), counts[:, kind])
    return owner


def _mixed(sizes: np.ndarray, clients: int, wanted: float) -> np.ndarray:
    own, even = apart(clients, len(sizes)), np.full((clients, len(sizes)), 1 / len(sizes))

    def counts(share: float) -> np.ndarray:
        found = counts_of((1 - share) * own + share * even, sizes)
        if not found.sum(1).all():
            lacking = int(np.flatnonzero(found.sum(1) == 0)[0])
            raise Refused(
                f"client {lacking} of {clients} would have no row of {sizes.sum()}, as each class is dealt by itself, "
                "by shares of it: take fewer clients"
            )
        return found

    low, high = 0.0, 1.0  # shares of all: much skew, little
    least, most = skew(counts(high)), skew(counts(low))
    if not least - NEAR <= wanted <= most + NEAR:
        raise Refused(
            f"skew {wanted:g} is out of reach: {clients} clients of these {int((sizes > 0).sum())} classes have "
            f"{least:.2f} to {most:.2f}; take one within, or another number of clients"
        )
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if skew(counts(middle)) > wanted else (low, middle)
    found = min((counts(low), counts(high)), key=lambda each: abs(skew(each) - wanted))
    if abs(skew(found) - wanted) > NEAR:
        raise Refused(
            f"skew {wanted:g} is not reached: with {int(sizes.sum())} rows the nearest of {clients} clients is "
            f"{skew(found):.3f}; take that, or more rows"
        )
    return found


def members(owner: np.ndarray) -> list[np.ndarray]:
    """The rows of each client, in order; `owner` (rows,) are whole numbers, whichever."""
    return [np.flatnonzero(owner == client) for client in np.unique(owner)]


def held_out(
    clients: Sequence[np.ndarray], share: float, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each client the rows to train on and those to be judged by, `share` of them and one at least, both in order.

    Refused where there is one client alone, or one has fewer than two rows.
    """
    if len(clients) < 2:
        raise Refused("there is one client: federated training takes two or more; leave retrain.federation out")
    found = []
    for number, rows in enumerate(clients):
        if len(rows) < 2:
            raise Refused(
                f"client {number} of {len(clients)} has {len(rows)} row(s), and takes one to train on and one to be "
                "judged by: take fewer clients, or more rows"
            )
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        drawn = rng.permutation(rows)
        found.append((np.sort(drawn[count:]), np.sort(drawn[:count])))
    return found
