"""What `winnow plan` measured, by which a selection says how long it will take."""

from collections.abc import Callable
from dataclasses import dataclass

from winnow.core.space import Space


@dataclass(frozen=True)
class Costs:
    """In seconds: of a `step` of the search, an image of a mixture, one of a child.

    `judged` images tell how good something is, after `calibration` images; an epoch of the search has `epoch` steps,
    and split `weights` has `rows`.
    `score` is of one untrained network, None where the search trains.
    """

    space: Space
    judged: int
    calibration: int
    epoch: int
    step: float
    mixture_row: Callable[[], float]
    child_row: Callable[[], float]
    score: float | None = None
    rows: int = 0
