"""Latency on a device that is not at hand: read from what was measured there, or by a model fitted to that.

A model comes with its error, and says nothing that the error does not bear.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.predictors.classic import ridge
from winnow.predictors.protocol import Fit, Numbers

Encode = Callable[[Sequence[Architecture]], np.ndarray]
CONFIDENCE = 0.95
LEAST_HELD = math.ceil(CONFIDENCE / (1 - CONFIDENCE))  # networks held out: fewer bear no 95 %
SPREAD = 1e-3  # of the prior in `telling`, in squares of an option's count


@dataclass(frozen=True)
class Device:
    """`latency_ms(arch)` on device `name`, one call, and how far that is off at most: 95 % of networks are within.

    `error` is in milliseconds, 0 of what was measured itself; `held` is how many networks it was told by.
    """

    name: str
    latency_ms: Callable[[Architecture], float]
    error: float = 0.0
    held: int = 0

    def within(self, arch: Architecture, limit: float) -> Literal["yes", "no", "cannot tell"]:
        """Whether `arch` takes at most `limit` milliseconds."""
        told = self.latency_ms(arch)
        if told + self.error <= limit:
            return "yes"
        return "no" if told - self.error > limit else "cannot tell"


def measured(name: str, table: Mapping[str, float]) -> Device:
    """From medians in milliseconds by the digest of an architecture. Asked for another, it is Refused."""

    def look(arch: Architecture) -> float:
        if arch.digest not in table:
            raise Refused(
                f"network {arch.digest} is not among the {len(table)} measured on {name}: measure it there too, or "
                "calibrate a model on those"
            )
        return table[arch.digest]

    return Device(name, look)


def calibrated(
    name: str,
    encode: Encode,
    archs: Sequence[Architecture],
    ms: Sequence[float],
    held: Sequence[Architecture],
    held_ms: Sequence[float],
    fit: Fit = ridge,
) -> Device:
    """A model fitted to `archs`, `telling` ones or any, and its error on `held`, which are drawn as it will be asked.

    The error is the smallest that covers 95 % of further such networks (split conformal: the (n + 1) 0.95-th of n
    misses). Refused for fewer than 19 held out, which bear no such error, and where one was fitted to as well.
    """
    if len(held) < LEAST_HELD:
        raise Refused(
            f"{len(held)} networks held out of the calibration of {name} bear no error at {CONFIDENCE:.0%}: measure "
            f"{LEAST_HELD} or more beside those that it is fitted to"
        )
    if both := {arch.digest for arch in archs} & {arch.digest for arch in held}:
        raise Refused(f"network {min(both)} is fitted to and held out: the error of {name} would be too small")
    predict = fit(encode(archs), np.asarray(ms, dtype=float), 0)
    misses = np.sort(np.abs(predict(encode(held)).mean - np.asarray(held_ms, dtype=float)))
    error = float(misses[math.ceil((len(held) + 1) * CONFIDENCE - 1e-9) - 1])
    return Device(name, lambda arch: float(predict(encode([arch])).mean[0]), error, len(held))


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
