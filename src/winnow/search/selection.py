"""What winnow knows of a selection before it runs; plain data, so that params.yaml is read without anything heavy."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch is heavy, and params.yaml is read without it
    from winnow.core.space import Space


@dataclass(frozen=True)
class Selection:
    """One selection: its file holds `choose(bench, *, own options)`, which returns an architecture and its evidence.

    `needs` is what it asks of a search (logits, mixture, distribution, children, initialised, trials), `reason` why, as
    the end of a sentence. `keeps_limits`: whether it looks at whole networks. `evidence` is how the report draws its
    rows: "masks", "children", or "" for not at all.
    """

    module: str
    needs: str
    reason: str
    keeps_limits: bool = False
    evidence: str = ""

    @property
    def choose(self) -> Callable[..., Any]:
        return importlib.import_module(self.module).choose

    def seconds(self, costs: "Costs", **options: Any) -> float:
        """What it will take, by the `seconds` of its file; one without looks at numbers that are there, in no time."""
        expected = getattr(importlib.import_module(self.module), "seconds", None)
        return 0.0 if expected is None else expected(costs, **options)


@dataclass(frozen=True)
class Costs:
    """What `winnow plan` measured, in seconds: of a `step` of the search, an image of a mixture, one of a child.

    `judged` images tell how good something is; an epoch of the search has `epoch` steps. `score` is of one untrained
    network, None where the search trains.
    """

    space: "Space"
    judged: int
    epoch: int
    step: float
    mixture_image: Callable[[], float]
    child_image: Callable[[], float]
    score: float | None = None
