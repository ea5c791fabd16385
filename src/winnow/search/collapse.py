"""Signs that a mixture collapses: what it would choose, how flat its loss is, and what discretising costs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from winnow.core.decision import Decision
from winnow.core.space import Space
from winnow.search.gradients import Objective, frozen
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.watch import Watch

RARE = 0.05  # an alarm is raised at what fewer than so many random choices reach
WINDOW, BACK, SETTLED, GROWTH = 5, 4, 10, 1.3  # of the eigenvalue: Zela et al. 2020, public code


def parameter_free(space: Space) -> set[str | int]:
    """The options that somewhere in the space stand for a module without parameters: skip, pooling, none, noise."""
    return {
        option
        for hole in space.holes
        if hole.decision.pick == 1
        for option in hole.decision.options
        if all(next(module.parameters(), None) is None for module in hole.kept(option))
    }


def heaviest(d: Decision, weights: Tensor) -> str | int:
    """The selectable option of the largest weight."""
    allowed = [i for i, option in enumerate(d.options) if option not in d.mixture_only]
    return d.options[max(allowed, key=weights.tolist().__getitem__)]


def entropy(weights: Mapping[str, Tensor]) -> float:
    """The mean entropy of the decisions, as a share of the largest possible: 1 where all options weigh the same."""
    shares = [float(-torch.special.xlogy(w, w).sum() / math.log(len(w))) for w in weights.values() if len(w) > 1]
    return sum(shares) / len(shares)


def chance(count: int, probabilities: Sequence[float]) -> float:
    """How likely `count` or more of independent events of these probabilities happen."""
    exactly = [1.0]
    for p in probabilities:
        exactly = [
            (exactly[k] * (1 - p) if k < len(exactly) else 0.0) + (exactly[k - 1] * p if k else 0.0)
            for k in range(len(exactly) + 1)
        ]
    return sum(exactly[count:])


class Curvature:
    """The dominant eigenvalue of the Hessian of the loss over the logits, by power iteration that goes on each time.

    Products with the Hessian are differences of two gradients, `step` to both sides of the logits.
    """

    def __init__(self, space: Space, objective: Objective, batch: Batch, step: float = 1e-2):
        self.space, self.objective, self.batch, self.step = space, objective, batch, step
        self.direction: Tensor | None = None

    def gradient(self, logits: Mapping[str, Tensor], at: Tensor) -> Tensor:
        sizes = [len(vector) for vector in logits.values()]
        flat = at.clone().requires_grad_()
        setting = {name: part.softmax(0) for name, part in zip(logits, flat.split(sizes), strict=True)}
        with frozen(self.space), batch_statistics(self.space):
            return torch.autograd.grad(self.objective(self.batch, setting), flat)[0]

    def eigenvalue(self, logits: Mapping[str, Tensor], iterations: int) -> float:
        """Of the present Hessian; the first call takes twice as many iterations."""
        at = torch.cat([vector.detach() for vector in logits.values()])
        if self.direction is None or self.direction.shape != at.shape:
            start = torch.randn(len(at), generator=torch.Generator().manual_seed(0))
            self.direction, iterations = start.to(at), 2 * iterations
        value = 0.0
        for _ in range(iterations):
            v = self.direction / self.direction.norm().clamp_min(1e-12)
            ahead, behind = (self.gradient(logits, at + sign * self.step * v) for sign in (1, -1))
            self.direction = (ahead - behind) / (2 * self.step)
            value = float(v @ self.direction)
        return value


def sharpening(eigenvalues: Sequence[float]) -> float | None:
    """By how much the running mean of the eigenvalue has grown in the last `BACK` measurements; None too early.

    Above `GROWTH`, DARTS-ES stops (Zela et al. 2020, arXiv:1909.09656).
    """
    now = len(eigenvalues)
    if now - WINDOW - BACK < SETTLED - WINDOW // 2:
        return None
    late, early = (sum(eigenvalues[end - WINDOW : end]) / WINDOW for end in (now, now - BACK))
    return late / early if early > 0 else None


class CollapseWatch(Watch):
    """Adds the signs to the metrics of every epoch; with `stop`, ends the search at the first alarm.

    `batch` are held-out images. `since` is the epoch of the first of the alarms that last, `alarm` their sentence.
    """

    def __init__(self, inner: Watch, space: Space, objective: Objective, batch: Batch, *, stop: bool = False):
        self.inner, self.space, self.objective, self.batch, self.stop = inner, space, objective, batch, stop
        self.free = parameter_free(space)
        self.curvature = Curvature(space, objective, batch)
        self.eigenvalues: list[float] = []
        self.alarm, self.since = "", 0

    def state(self) -> dict[str, Any]:
        alarm = {"alarm": self.alarm, "since": self.since}
        measured = {"eigenvalues": self.eigenvalues, "direction": self.curvature.direction}
        return {"inner": self.inner.state(), **alarm, **measured}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.inner.restore(state["inner"])
        self.alarm, self.since = state["alarm"], state["since"]
        self.eigenvalues, self.curvature.direction = state["eigenvalues"], state["direction"]

    def start(self, label: str, steps: int) -> None:
        self.inner.start(label, steps)

    def step(self, steps: int = 1) -> None:
        self.inner.step(steps)

    def epoch(
        self, epoch: int, metrics: Mapping[str, float], weights: Mapping[str, Tensor] | None = None
    ) -> bool | None:
        mixtures = {
            name: vector
            for name, vector in (weights or {}).items()
            if self.space.decisions[name].pick == 1 and abs(float(vector.sum()) - 1) < 1e-3  # gates are no mixture
        }
        open_ones = [d for d in self.space.decisions.values() if d.pick == 1]
        if not mixtures or len(mixtures) < max(len(weights or {}), len(open_ones)):  # SGAS has decided some
            return self.inner.epoch(epoch, metrics, weights)
        signs = self.signs(mixtures)
        alarm = self.alarmed(mixtures)
        self.since = epoch if alarm and not self.alarm else self.since
        self.alarm = alarm
        ended = self.inner.epoch(epoch, {**metrics, **signs}, weights)
        return ended or (self.stop and bool(alarm))

    def signs(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        decisions = self.space.decisions
        chosen = {name: heaviest(decisions[name], vector) for name, vector in weights.items()}
        logits = {name: vector.clamp_min(1e-12).log() for name, vector in weights.items()}
        training = self.space.training
        with torch.no_grad(), batch_statistics(self.space):
            mixed, discrete = (float(self.objective(self.batch, setting)) for setting in (weights, chosen))
        self.eigenvalues.append(self.curvature.eigenvalue(logits, 2))
        self.space.train(training)
        return {
            "parameter_free": sum(option in self.free for option in chosen.values()) / len(chosen),
            "entropy": entropy(weights),
            "eigenvalue": self.eigenvalues[-1],
            "discretisation_gap": discrete - mixed,
        }

    def alarmed(self, weights: Mapping[str, Tensor]) -> str:
        """What is wrong, or nothing."""
        decisions = [self.space.decisions[name] for name in weights]
        free = sum(heaviest(d, weights[d.name]) in self.free for d in decisions)
        odds = [sum(value in self.free for value in d.values) / len(d.values) for d in decisions]
        if free and (rare := chance(free, odds)) < RARE:
            return (
                f"{free} of the {len(decisions)} heaviest operations have no parameters, "
                f"as {100 * rare:.2g} % of random choices do"
            )
        growth = sharpening(self.eigenvalues)
        if growth is not None and growth > GROWTH:
            return f"the dominant eigenvalue of the validation loss grew by {growth:.2g} times in {BACK} epochs"
        return ""
