"""The exact optimum of a sum over parts under one limit, by merging the parts' Pareto fronts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Front:
    """Points that nothing is both cheaper and better than, by cost: (m,) each; `picks` (m, parts) are their options."""

    costs: Numbers
    scores: Numbers
    picks: NDArray[np.int64]

    def best(self, limit: float = float("inf")) -> int:
        """The point of the highest score at a cost of at most `limit`. ValueError where even the cheapest is dearer."""
        place = int(np.searchsorted(self.costs, limit, side="right")) - 1
        if place < 0:
            raise ValueError(f"the cheapest costs {self.costs[0]:.6g}, and the limit is {limit:.6g}")
        return place


def front(costs: Numbers, scores: Numbers) -> Front:
    """Of the options of one part; ties go to the earlier option."""
    order = np.lexsort((-scores, costs))
    ahead = np.r_[-np.inf, np.maximum.accumulate(scores[order])[:-1]]
    kept = order[scores[order] > ahead]
    return Front(costs[kept], scores[kept], kept[:, None])


def merged(parts: Sequence[tuple[Numbers, Numbers]]) -> Front:
    """Of all sums of one option of each part: `parts` are their (costs, scores). Exact, since both are sums."""
    total = front(*parts[0])
    for costs, scores in parts[1:]:
        one = front(costs, scores)
        both = front((total.costs[:, None] + one.costs).ravel(), (total.scores[:, None] + one.scores).ravel())
        left, right = np.divmod(both.picks[:, 0], len(one.costs))
        total = Front(both.costs, both.scores, np.column_stack([total.picks[left], one.picks[right]]))
    return total
