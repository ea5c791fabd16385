"""Signs that a mixture collapses: what it would choose, how flat its loss is, and what discretising costs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from winnow.core.decision import Decision
from winnow.core.holes import Asking
from winnow.core.space import Space
from winnow.search.curvature import BACK, EVERY, GROWTH, KEPT, centre, hessian, largest_eigenvalue, sharpening
from winnow.search.gradients import Objective
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.watch import Watch

RARE = 0.05  # an alarm is raised at what fewer than so many random choices reach
NOT_TWICE = ("derivative for", "marked with @once_differentiable")  # what autograd says where there is no Hessian


def parameter_free(space: Space) -> set[str | int]:
    """The options that somewhere in the space stand for a module without parameters: skip, pooling, none, noise."""
    return {
        option
        for hole in space.holes
        if isinstance(hole, Asking) and not hole.decision.several
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


class CollapseWatch(Watch):
    """Adds the signs to the metrics of every epoch, and may end the search at an alarm.

    `on_alarm` is "warn", "stop" at the first, or "rollback" at that of the eigenvalue alone, which is DARTS-ES.

    `batch` are held-out images. `since` is the epoch of the first of the alarms that last, `alarm` their sentence. The
    eigenvalue is measured every second epoch and told again in the one between; a search that ends for its growth ends
    with the logits of the epoch at the centre of the earlier window and the weights of its last. `unmeasured` says why
    there is no eigenvalue, where the network cannot be differentiated twice.
    """

    def __init__(
        self,
        inner: Watch,
        space: Space,
        objective: Objective,
        batch: Batch,
        *,
        on_alarm: Literal["warn", "stop", "rollback"] = "warn",
    ):
        self.inner, self.space, self.objective, self.batch, self.on_alarm = inner, space, objective, batch, on_alarm
        self.free = parameter_free(space)
        self.eigenvalues: list[float] = []
        self.logits: Mapping[str, Tensor] = {}
        self.past: list[dict[str, Tensor]] = []  # the logits of the last measurements
        self.alarm, self.since, self.unmeasured = "", 0, ""

    def follow(self, logits: Mapping[str, Tensor]) -> None:
        self.logits = logits
        self.inner.follow(logits)

    def state(self) -> dict[str, Any]:
        told = {"alarm": self.alarm, "since": self.since, "unmeasured": self.unmeasured}
        return {"inner": self.inner.state(), **told, "eigenvalues": self.eigenvalues, "past": self.past}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.inner.restore(state["inner"])
        self.alarm, self.since, self.unmeasured = state["alarm"], state["since"], state["unmeasured"]
        self.eigenvalues, self.past = state["eigenvalues"], state["past"]

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
            if not self.space.decisions[name].several and abs(float(vector.sum()) - 1) < 1e-3  # gates are no mixture
        }
        open_ones = [d for d in self.space.decisions.values() if not d.several]
        if not mixtures or len(mixtures) < max(len(weights or {}), len(open_ones)):  # SGAS has decided some
            return self.inner.epoch(epoch, metrics, weights)
        signs = self.signs(epoch, mixtures)
        growth = sharpening(self.eigenvalues)
        sharp = growth is not None and growth > GROWTH
        alarm = "; ".join(filter(None, (self.too_few(mixtures), self.too_sharp(growth) if sharp else "")))
        self.since = epoch if alarm and not self.alarm else self.since
        self.alarm = alarm
        ended = self.inner.epoch(epoch, {**metrics, **signs}, weights)
        if self.on_alarm == "warn":
            return ended
        if sharp:
            self.go_back()
        return ended or sharp or (self.on_alarm == "stop" and bool(alarm))

    @torch.no_grad()
    def go_back(self) -> None:
        for name, vector in self.past[0].items():
            self.logits[name].copy_(vector)
        self.alarm += f", so that the logits are those of epoch {centre(len(self.eigenvalues))} again"

    def signs(self, epoch: int, weights: Mapping[str, Tensor]) -> dict[str, float]:
        decisions = self.space.decisions
        chosen = {name: heaviest(decisions[name], vector) for name, vector in weights.items()}
        training = self.space.training
        with torch.no_grad(), batch_statistics(self.space):
            mixed, discrete = (float(self.objective(self.batch, setting)) for setting in (weights, chosen))
        if epoch % EVERY == 0 and not self.unmeasured:
            self.measure({name: vector.clamp_min(1e-12).log() for name, vector in weights.items()})
        self.space.train(training)
        return {
            "parameter_free": sum(option in self.free for option in chosen.values()) / len(chosen),
            "entropy": entropy(weights),
            **({"eigenvalue": self.eigenvalues[-1]} if self.eigenvalues else {}),
            "discretisation_gap": discrete - mixed,
        }

    def measure(self, logits: Mapping[str, Tensor]) -> None:
        """The eigenvalue at `logits`, which are those of the search up to a number an option that softmax ignores."""
        try:
            with hessian(self.space, self.objective, self.batch, logits) as product:
                found = largest_eigenvalue(product, sum(len(vector) for vector in logits.values()))
        except RuntimeError as error:
            if not any(sign in str(error) for sign in NOT_TWICE):
                raise
            self.unmeasured = f"the network cannot be differentiated twice ({str(error).splitlines()[0]})"
            return
        self.eigenvalues.append(found)
        self.past = [*self.past, {name: vector.detach().clone() for name, vector in self.logits.items()}][-KEPT:]

    def too_few(self, weights: Mapping[str, Tensor]) -> str:
        """That so many of the heaviest operations have no parameters, or nothing."""
        decisions = [self.space.decisions[name] for name in weights]
        free = sum(heaviest(d, weights[d.name]) in self.free for d in decisions)
        odds = [sum(value in self.free for value in d.values) / len(d.values) for d in decisions]
        if free and (rare := chance(free, odds)) < RARE:
            return (
                f"{free} of the {len(decisions)} heaviest operations have no parameters, "
                f"as {100 * rare:.2g} % of random choices do"
            )
        return ""

    def too_sharp(self, growth: float | None) -> str:
        return f"the largest eigenvalue of the validation loss grew by {growth:.2g} times in {EVERY * BACK} epochs"
