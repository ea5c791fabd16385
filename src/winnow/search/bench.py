"""What a selection works with: a searched space, and all that is needed to judge what it holds. Knows no file."""

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.data.loaders import Batches, Split, in_order
from winnow.search.gradients import Objective
from winnow.search.relax import Logits, Relax, softmax
from winnow.search.training_free import Judge, Load
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import accuracy_and_loss, calibrate
from winnow.train.watch import Watch

Chosen = tuple[Architecture, list[dict[str, Any]]]  # what a selection returns: the architecture, and rows of evidence


@dataclass(frozen=True)
class Further:
    """How the search trained, so that it may go on: by `strategy`, with `rates` as `resume_mixture` names them.

    `batches(split, seed)` are those of split "weights" or "arch"; `noise` and `epsilon` are of strategy sdarts.
    `remembered`: whether the logits come with what Adam remembers of them.
    """

    strategy: str
    objective: Objective
    batches: Callable[[str, int], Batches]
    rates: Mapping[str, float]
    noise: str = "random"
    epsilon: float = 0.3
    remembered: bool = True


def _nothing() -> contextlib.AbstractContextManager[Watch]:
    return contextlib.nullcontext(Watch())


@dataclass(frozen=True)
class Bench:
    """`space` as the search left it and a selection may use it up, the `seed` of all that it draws, and its judges.

    Images are judged on `judged`, `batch` at a time, after `calibration_images` of split "weights" made a child's
    BatchNorm statistics. `allowed` are the architectures within the limits, `limits` says these in words, and
    `load(arch)` is the share of them that one takes: None without any. What a search does not leave is None: `logits`,
    `further`, `scorer` (of untrained networks), `trials` (a plan and its rows, as `winnow.trials` has them).
    """

    space: Space
    seed: int
    splits: Mapping[str, Split]
    judged: Split
    logits: Logits | None = None
    relax: Relax = softmax
    closed: float | None = None  # the weight up to which an option is off; None: the even share
    batch: int = 256
    calibration_images: int = 1024
    allowed: Callable[[Architecture], bool] = lambda arch: True
    load: Load | None = None
    limits: str = "none"
    further: Further | None = None
    scorer: Callable[[], Judge] | None = None
    trials: Callable[[], tuple[Any, list[Any]]] | None = None
    keeper: Keeper = field(default_factory=Keeper)
    shown: Callable[[], contextlib.AbstractContextManager[Watch]] = _nothing
    say: Callable[[str], None] = lambda text: None

    def needed(self, name: str) -> Any:
        """`logits`, `further`, `scorer` or `trials`. Refused where the search left none."""
        found = getattr(self, name)
        if found is None:
            raise Refused(f"this selection needs {name}, which the search before it does not leave")
        return found

    def weights(self) -> dict[str, Tensor]:
        """The mixture weights of the search, or how far its gates are open: above one half where their logit is > 0."""
        with torch.no_grad():
            return self.relax(self.needed("logits"))

    def accuracy(self, arch: Architecture) -> float:
        """Percent correct of a child with the supernet's weights and BatchNorm statistics of its own."""
        child = self.space.derive(arch)
        images = min(self.calibration_images, len(self.splits["weights"]))
        batch = min(self.batch, images)
        batches = in_order(self.splits["weights"], batch)
        calibrate(child, itertools.islice(batches, math.ceil(images / batch)))
        return accuracy_and_loss(child, in_order(self.judged, self.batch))[0]

    def known_accuracy(self, arch: Architecture, scores: dict[str, float]) -> float:
        """The same, read from `scores` by its digest where it is there: the memory of a selection that was stopped."""
        if arch.digest not in scores:
            self.keeper.due()
            scores[arch.digest] = self.accuracy(arch)
        return scores[arch.digest]


def evaluated(event: int, digest: str, accuracy: float | None, kept: bool, loss: float | None = None) -> dict[str, Any]:
    """A row of evidence of an architecture evaluated as a whole."""
    return {"event": event, "decision": "", "option": digest, "accuracy": accuracy, "loss": loss, "kept": kept}


def scored(row: Any) -> dict[str, Any]:
    """A row of evidence of what was scored untrained: event, decision, option, score, kept."""
    return {
        "event": row.event,
        "decision": row.decision,
        "option": str(row.option),
        "score": row.score,
        "kept": row.kept,
    }
