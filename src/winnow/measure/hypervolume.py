"""How much of the space of objectives a set of points dominates."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (points, objectives), larger is better


def front(points: Points) -> Points:
    """The points that no other is at least as good as in all objectives and better in one, each once."""
    kept: list[Points] = []
    for point in sorted(
        np.unique(points, axis=0), key=lambda p: -float(p.sum())
    ):  # what beats a point has a larger sum
        if not any((other >= point).all() for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, points.shape[1])


def hypervolume(points: Points) -> float:
    """Of the boxes from the origin to each point: the volume of their union. Points are 0 or more in all objectives.

    Exact, by slices along the last objective: made for fronts of up to some hundred points and few objectives.
    """
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    points = points[np.argsort(-points[:, -1], kind="stable")]
    if points.shape[1] == 2:
        widest = np.maximum.accumulate(points[:, 0])
        return float((widest * -np.diff(points[:, 1], append=0.0)).sum())
    heights = -np.diff(points[:, -1], append=0.0)
    return float(sum(h * hypervolume(points[: i + 1, :-1]) for i, h in enumerate(heights) if h > 0))
