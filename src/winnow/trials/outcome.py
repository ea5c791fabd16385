"""What is handed to an evaluator and what comes back; both are JSON."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.system import disk

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
PARENT = "winnow:parent"  # a sampler's note on a trial: whose child it is
FIDELITY = "winnow:fidelity"  # likewise: what of the plan's fidelity is another for this trial


class Stopped(Exception):
    """Raised by `Job.report` where a trial is not worth going on with; evaluators let it pass."""


class Infeasible(Exception):
    """Raised by an evaluator that need not begin: `metrics`, known beforehand, pass a limit of the plan."""

    def __init__(self, metrics: Mapping[str, float]):
        super().__init__(", ".join(metrics))
        self.metrics = dict(metrics)


@dataclass
class Job:
    """One trial as its evaluator sees it. All randomness of the evaluation comes from `seed`."""

    number: int
    seed: int
    parameters: Mapping[str, Any]  # by decision or range, labels and numbers
    architecture: Architecture | None
    fidelity: Mapping[str, float]
    parent: int | None = None  # the trial whose weights it may begin with; its result is known
    device: str = "cpu"
    ask: Callable[[int, list[float]], bool] = lambda step, values: False

    def report(self, step: int, *values: float) -> None:
        """The objectives so far, in the plan's order, after `step`; raises `Stopped` where that ends the trial."""
        if self.ask(step, [float(value) for value in values]):
            raise Stopped

    def payload(self) -> dict[str, Any]:
        architecture = None if self.architecture is None else self.architecture.to_json()
        return {
            "number": self.number,
            "seed": self.seed,
            "parameters": dict(self.parameters),
            "architecture": architecture,
            "fidelity": dict(self.fidelity),
            "parent": self.parent,
        }

    @classmethod
    def of(cls, payload: Mapping[str, Any], device: str, ask: Callable[[int, list[float]], bool]) -> "Job":
        text = payload["architecture"]
        architecture = None if text is None else Architecture.from_json(text)
        return cls(**{**payload, "architecture": architecture}, device=device, ask=ask)


class Evaluate(Protocol):
    def __call__(self, job: Job, /) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Outcome:
    """How one trial ended. `reports` maps steps to objectives; `error` is one line where it failed."""

    state: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    reports: Mapping[int, Sequence[float]] = field(default_factory=dict)
    seconds: float = 0.0
    device: str = ""
    error: str = ""
    copy_of: int | None = None

    def described(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Outcome":
        reports = {int(step): values for step, values in described["reports"].items()}
        return cls(**{**described, "reports": reports})


def attempt(evaluate: Evaluate, job: Job) -> Outcome:
    """Run one evaluation here; whatever it raises fails this trial alone, except what is meant for the user."""
    import time

    started = time.perf_counter()

    def ended(state: str, metrics: Mapping[str, float] | None = None, error: str = "") -> Outcome:
        return Outcome(state, metrics or {}, {}, time.perf_counter() - started, job.device, error)

    try:
        metrics = {str(name): float(value) for name, value in evaluate(job).items()}
    except Stopped:
        return ended(PRUNED)
    except Infeasible as infeasible:
        return ended(PRUNED, infeasible.metrics)
    except Refused:
        raise
    except Exception as error:  # the one place: a trial's code is the user's, and may fail in any way
        told = disk.sentence(error) if isinstance(error, OSError) else None
        return ended(FAILED, error=(told or f"{type(error).__name__}: {error}").splitlines()[0][:500])
    wrong = next((name for name, value in metrics.items() if not math.isfinite(value)), None)
    if wrong is not None:
        return ended(FAILED, {}, f"{wrong} is {metrics[wrong]}, which is no number to compare")
    return ended(COMPLETE, metrics)
