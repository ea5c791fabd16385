"""How well rows of one class lie together among all rows: recalls, precision and clusters, by cosine."""

import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 1024  # queries whose neighbours are looked for together
TIE = 1e-9  # of the cosine: of rows that are equally near, those of another class come first


def hits(outputs: Tensor, labels: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """(queries, at least depth) bool: is the k-th nearest other row of the query's class? (queries,): how many are.

    Every row is a query among all others, unless it is alone of its class. `outputs` (rows, size) are normalised here;
    an embedding that puts all rows into one point finds none.
    """
    x = F.normalize(outputs.double().nan_to_num())
    others = labels.bincount()[labels] - 1
    queries = others.nonzero().flatten()
    depth = min(max([depth, *others.tolist()]), len(labels) - 1)
    found = [torch.empty(0, depth, dtype=torch.bool)]
    for rows in queries.split(AT_ONCE):
        same = labels[rows][:, None] == labels
        found.append(same.gather(1, _nearest(x, rows, same, depth)))
    return torch.cat(found), others[queries]


def nearest(outputs: Tensor, labels: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(rows, count): of each of `rows` the nearest other rows, and their cosines."""
    x = F.normalize(outputs.double().nan_to_num())
    places = _nearest(x, rows, labels[rows][:, None] == labels, min(count, len(labels) - 1))
    return places, (x[rows][:, None] * x[places]).sum(2)


def nearest_of_each(outputs: Tensor) -> Tensor:
    """(rows,): the nearest other row of each."""
    rows = torch.arange(len(outputs))
    return nearest(outputs, rows, rows, 1)[0][:, 0]


def _nearest(x: Tensor, rows: Tensor, same: Tensor, count: int) -> Tensor:
    near = x[rows] @ x.T - TIE * same
    near[torch.arange(len(rows)), rows] = -torch.inf  # a row is none of its own neighbours
    return near.topk(count).indices


def recall(found: Tensor, k: int) -> float:
    """Percent of queries with a row of their class among the k nearest; 0 where there is no query."""
    return 100 * float(found[:, :k].any(1).double().mean()) if len(found) else 0.0


def map_r(found: Tensor, others: Tensor) -> float:
    """Mean average precision at R, percent: of each query over as many places as there are rows of its class.

    Source: Musgrave et al. 2020, arXiv:2003.08505, section 3.2.
    """
    if not len(found):
        return 0.0
    places = torch.arange(1, found.shape[1] + 1)
    counted = found & (places <= others[:, None])
    precision = found.cumsum(1) / places
    return 100 * float(((precision * counted).double().sum(1) / others).mean())


def clusters(outputs: Tensor, count: int, seed: int = 0, rounds: int = 20) -> Tensor:
    """(rows,): the number of each row's cluster by k-means of `count` on normalised rows, begun at some of them."""
    x = F.normalize(outputs.double().nan_to_num())
    centres = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]]
    for _ in range(rounds):
        which = torch.cat([torch.cdist(rows, centres).argmin(1) for rows in x.split(AT_ONCE)])
        sizes = which.bincount(minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, which, x)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
    return which


def nmi(one: Tensor, other: Tensor) -> float:
    """Mutual information of two partitions (rows,) over the mean of their entropies: 1 where they are the same."""
    _, one = one.unique(return_inverse=True)
    _, other = other.unique(return_inverse=True)
    shape = int(one.max()) + 1, int(other.max()) + 1
    joint = (one * shape[1] + other).bincount(minlength=shape[0] * shape[1]).view(shape).double() / len(one)
    entropies = [float(torch.special.entr(share).sum()) for share in (joint.sum(1), joint.sum(0), joint)]
    mean = (entropies[0] + entropies[1]) / 2
    return (entropies[0] + entropies[1] - entropies[2]) / mean if mean > 0 else 1.0
