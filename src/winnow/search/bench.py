"""What strategies and selections work with, and what a strategy leaves. Knows no stage and no params.yaml."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.data.loaders import Split, in_order
from winnow.search.gradients import Objective
from winnow.search.mixture import Between
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, Relax, softmax
from winnow.search.training_free import Judge, Load
from winnow.tasks import usual
from winnow.tasks.task import Task
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import Batch, calibrated, measured
from winnow.train.watch import Watch

Chosen = tuple[Architecture, list[dict[str, Any]]]  # what a selection returns: the architecture, and rows of evidence


@dataclass(frozen=True)
class Found:
    """What a strategy returns: the space with its weights, narrower where it was narrowed, and logits, if any.

    `trained` is False where nothing was: networks are then judged as they begin. `metrics` are numbers to report.
    `shortlist` are architectures that did well on the way, the best first.
    """

    space: Space
    logits: Logits | None = None
    trained: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict)
    shortlist: tuple[Architecture, ...] = ()


@dataclass(frozen=True)
class Further:
    """How the search trained, so that it may go on: by the steps of `between` after some decisions, by `recipe`.

    `remembered`: whether the logits come with what Adam remembers of them.
    """

    recipe: Recipe
    between: Callable[[torch.Generator], Between]
    remembered: bool = True


def _nothing() -> contextlib.AbstractContextManager[Watch]:
    return contextlib.nullcontext(Watch())


def _no_files(path: str) -> Mapping[str, Tensor]:
    raise Refused(f"this bench reads no files, so not {path!r}")


def _no_study() -> Mapping[str, float]:
    raise Refused("this bench runs no study of trials")


def _no_sizes(arch: Architecture) -> Mapping[str, float]:
    raise Refused("this bench does not know how large its networks are")


def _untrained(arch: Architecture, epochs: int, watch: Watch, told: str) -> nn.Module:
    raise Refused("this bench trains no networks alone")


def _no_objective(batch: Batch, setting: Setting) -> Tensor:
    raise Refused("this bench has no objective: nothing can be trained on it")


@dataclass(frozen=True)
class Bench:
    """What a strategy or a selection works with: `space`, which it may use up, and the `seed` of all that it draws.

    To train: `objective(batch, setting)` on batches of `train` (split "weights") and `valid` ("arch"), told to `watch`.
    To judge, as `task` does: rows of `judged`, `batch` at a time, after `calibration_images` of split "weights" made a
    child's BatchNorm statistics. `allowed` are the architectures within the limits, `limits` says these in words, and
    `load(arch)` is the share of them that one takes: None without any. `sizes(arch)` are its params and macs, and what
    else adds up, of which `most` may not be passed; `whole` says the limits that do not; `known` are scores by digest,
    of the same selection under other limits. A selection has what the search left, None where it left none: `logits`,
    which `relax` turns into weights that are off up to `closed` (None: the even share), `further`, `scorer` (of
    untrained networks), `trials` (a plan and its rows, as `winnow.trials` has them), `shortlist`.
    `tensors(path)` reads weights from a file that the user names, and `study()` tries architectures one by one;
    `trained(arch, epochs, watch, told)` is a network trained alone for so long, as it is retrained.
    """

    space: Space
    seed: int
    task: Task = field(default_factory=usual)
    objective: Objective = _no_objective
    train: Iterable[Batch] = ()
    valid: Iterable[Batch] = ()
    watch: Watch = field(default_factory=Watch)
    splits: Mapping[str, Split] = field(default_factory=dict)
    judged: Split | None = None
    batch: int = 256
    calibration_images: int = 1024
    allowed: Callable[[Architecture], bool] = lambda arch: True
    load: Load | None = None
    limits: str = "none"
    sizes: Callable[[Architecture], Mapping[str, float]] = _no_sizes
    most: Mapping[str, float] = field(default_factory=dict)
    whole: str = ""
    known: dict[str, float] = field(default_factory=dict)
    logits: Logits | None = None
    relax: Relax = softmax
    closed: float | None = None
    further: Further | None = None
    scorer: Callable[[], Judge] | None = None
    trials: Callable[[], tuple[Any, list[Any]]] | None = None
    shortlist: tuple[Architecture, ...] | None = None
    keeper: Keeper = field(default_factory=Keeper)
    shown: Callable[[], contextlib.AbstractContextManager[Watch]] = _nothing
    say: Callable[[str], None] = lambda text: None
    tensors: Callable[[str], Mapping[str, Tensor]] = _no_files
    study: Callable[[], Mapping[str, float]] = _no_study
    trained: Callable[[Architecture, int, Watch, str], nn.Module] = _untrained

    def needed(self, name: str) -> Any:
        """`logits`, `further`, `scorer`, `trials` or `shortlist`. Refused where the search left none."""
        found = getattr(self, name)
        if found is None:
            raise Refused(f"this selection needs {name}, which the search before it does not leave")
        return found

    def weights(self) -> dict[str, Tensor]:
        """The mixture weights of the search, or how far its gates are open: above one half where their logit is > 0."""
        with torch.no_grad():
            return cast(dict[str, Tensor], self.relax(self.needed("logits")))

    def judge(self, predict: Callable[[Any], Tensor], batches: Iterable[Batch]) -> tuple[float, float]:
        """The score of `predict`, the task's first metric turned so that more is better, and its loss."""
        found = measured(self.task, predict, batches)
        score = self.task.score(found)
        return score, found.get("loss", -score)

    def child(self, arch: Architecture) -> nn.Module:
        """With the supernet's weights and BatchNorm statistics of its own."""
        return calibrated(self.space.derive(arch), self.splits["weights"], self.calibration_images, self.batch)

    def score(self, arch: Architecture) -> float:
        """That of its child."""
        return self.judge(self.child(arch), in_order(self.needed("judged"), self.batch))[0]

    def known_score(self, arch: Architecture, scores: dict[str, float]) -> float:
        """The same, read from `scores` by its digest where it is there: the memory of a selection that was stopped."""
        if arch.digest not in scores:
            if arch.digest not in self.known:
                self.keeper.due()
                self.known[arch.digest] = self.score(arch)
            scores[arch.digest] = self.known[arch.digest]
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
