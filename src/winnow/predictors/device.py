"""Latency on a device that is not at hand: read from what was measured there, or by a model fitted to that.

A reading comes with its error, and says nothing that the error does not bear.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Option
from winnow.core.errors import Refused
from winnow.measure.rank import kendall_tau
from winnow.predictors.classic import ridge
from winnow.predictors.encode import Decisions, Encode, one_hot
from winnow.predictors.protocol import Numbers

CONFIDENCE = 0.95
LEAST_HELD = math.ceil(CONFIDENCE / (1 - CONFIDENCE))  # networks held out: fewer bear no 95 %
SPREAD = 1e-3  # of the prior in `telling`, in squares of an option's count


@dataclass(frozen=True)
class Reading:
    """Milliseconds of one call, and between which they are with 95 %."""

    ms: float
    low: float
    high: float


@dataclass(frozen=True)
class Device:
    """`read(arch)` says how long a call takes on device `name`.

    `adds_up`: whether the milliseconds are a sum over the answers of `arch`, told of any architecture at once; else
    each network is looked up, or measured, as a whole. `remark()` is what to say of the readings so far.
    """

    name: str
    read: Callable[[Architecture], Reading]
    adds_up: bool = False
    remark: Callable[[], str] = lambda: ""

    def within(self, arch: Architecture, limit: float) -> Literal["yes", "no", "cannot tell"]:
        """Whether `arch` takes at most `limit` milliseconds."""
        told = self.read(arch)
        if told.high <= limit:
            return "yes"
        return "no" if told.low > limit else "cannot tell"


def measured(name: str, table: Mapping[str, Reading]) -> Device:
    """From readings by the digest of an architecture. Asked for another, it is Refused."""

    def look(arch: Architecture) -> Reading:
        if arch.digest not in table:
            raise Refused(
                f"network {arch.digest} is not among the {len(table)} measured on {name}: measure it there too, or "
                "calibrate a model on those"
            )
        return table[arch.digest]

    return Device(name, look)


@dataclass(frozen=True)
class Calibrated:
    """What each option of each decision adds, beside `base`, in milliseconds on device `name`; and how far it is off.

    `error`: 95 % of networks are within; told by `held` networks, on whose milliseconds `r2` and Kendall's `tau` are.
    `without` is the error of saying one number of all networks.
    """

    name: str
    base: float
    costs: Mapping[str, Mapping[Option, float]]
    error: float
    held: int
    r2: float
    tau: float
    without: float

    def ms(self, arch: Architecture) -> float:
        taken = (
            (name, option)
            for name, value in arch.choices
            for option in (value if isinstance(value, tuple) else (value,))
        )
        return self.base + sum(self.costs[name][option] for name, option in taken)

    def device(self) -> Device:
        def read(arch: Architecture) -> Reading:
            told = self.ms(arch)
            return Reading(told, told - self.error, told + self.error)

        return Device(self.name, read, adds_up=True)


def calibrated(
    name: str,
    decisions: Decisions,
    archs: Sequence[Architecture],
    ms: Sequence[float],
    held: Sequence[Architecture],
    held_ms: Sequence[float],
) -> Calibrated:
    """Fitted to `archs`, `telling` ones or any (ridge regression); its error on `held`, drawn as it will be asked.

    The error is the smallest that covers 95 % of further such networks (split conformal: the (n + 1) 0.95-th of n
    misses). Refused for fewer than 19 held out, which bear no such error; where one was fitted to as well; where an
    option is in no network that is fitted to; and where the error is no smaller than that of one number for all.
    """
    if len(held) < LEAST_HELD:
        raise Refused(
            f"{len(held)} networks held out of the calibration of {name} bear no error at {CONFIDENCE:.0%}: measure "
            f"{LEAST_HELD} or more beside those that it is fitted to"
        )
    if both := {arch.digest for arch in archs} & {arch.digest for arch in held}:
        raise Refused(f"network {min(both)} is fitted to and held out: the error of {name} would be too small")
    if unseen := _unseen(decisions, archs):
        raise Refused(
            f"{unseen[1]!r} of decision {unseen[0]!r} is in none of the {len(archs)} networks that {name} is fitted "
            "to, so nothing is known of what it costs: measure more"
        )
    encode = one_hot(decisions, lambda arch: {})
    y, true = np.asarray(ms, dtype=float), np.asarray(held_ms, dtype=float)
    predict = ridge(encode(archs), y, 0)
    told = predict(encode(held)).mean
    error, without = covering(told - true), covering(y.mean() - true)
    if error >= without:
        raise Refused(
            f"the calibration of {name} bears nothing: it is off by up to {error:.3g} ms on networks held out, and "
            f"{y.mean():.3g} ms said of every network by {without:.3g}: measure more networks, or on a quieter device"
        )
    zero = float(predict(np.zeros((1, len(encode(held)[0])))).mean[0])
    each = iter(predict(np.eye(len(encode(held)[0]))).mean - zero)
    costs = {d.name: {option: float(next(each)) for option in d.options} for d in decisions.values()}
    r2 = 1 - float(((told - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())
    return Calibrated(name, zero, costs, error, len(held), r2, kendall_tau(told, true), without)


def covering(misses: Numbers) -> float:
    """How far off 95 % of further predictions are at most, by the misses of n: at least 19."""
    return float(np.sort(np.abs(misses))[math.ceil((len(misses) + 1) * CONFIDENCE - 1e-9) - 1])


def _unseen(decisions: Decisions, archs: Sequence[Architecture]) -> tuple[str, Option] | None:
    """A decision and an option of it that no architecture takes."""
    for d in decisions.values():
        if lacking := set(d.options) - taken(d, archs):
            return d.name, min(lacking, key=d.options.index)
    return None


def taken(d: Decision, archs: Sequence[Architecture]) -> set[Option]:
    """The options of `d` that some of `archs` take."""
    values = [arch[d.name] for arch in archs if d.name in arch]
    return {option for value in values for option in (value if isinstance(value, tuple) else (value,))}


def telling(encode: Encode, pool: Sequence[Architecture], count: int) -> list[int]:
    """The places of `count` networks of `pool` that tell most about every option, the most telling first.

    One after another, each is where a linear model is least sure after those before it: greedy D-optimal design.
    """
    x: Numbers = np.column_stack([np.ones(len(pool)), encode(pool)])
    unsure = np.eye(x.shape[1]) / SPREAD
    found: list[int] = []
    for _ in range(min(count, len(pool))):
        variance = np.einsum("ij,jk,ik->i", x, unsure, x)
        variance[found] = -1
        best = int(variance.argmax())
        found.append(best)
        along = unsure @ x[best]
        unsure -= np.outer(along, along) / (1 + x[best] @ along)
    return found
