"""Readings in rounds, and what else takes a machine's time; the standard library alone, for hosts without PyTorch."""

import itertools
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 9  # of a reading; odd, so that its median is a round


def one_round(call: Callable[[], float], most: int, seconds: float) -> list[float]:
    """Times of 1 to `most` calls, no new one after so many seconds."""
    end, times = time.monotonic() + seconds, [call()]
    while len(times) < most and time.monotonic() < end:
        times.append(call())
    return times


def summary(rounds: list[list[float]]) -> tuple[float, float, float]:
    """The median of the rounds' medians, the fastest call, and the slowest round, or tenth of all calls if slower."""
    medians = sorted(map(statistics.median, rounds))
    every = sorted(itertools.chain(*rounds))
    return statistics.median(medians), every[0], max(medians[-1], every[-1 - len(every) // 10])


def of_medians(rounds: list[list[float]]) -> tuple[float, float, float]:
    """The median of the rounds' medians between the second fastest and the second slowest: with nine, 96 % hold it.

    Of fewer rounds, which were cut short, the fastest call is the lower end.
    """
    medians = sorted(map(statistics.median, rounds))
    low = medians[1] if len(rounds) == ROUNDS else min(map(min, rounds))
    return statistics.median(medians), low, medians[-2] if len(medians) > 1 else medians[0]


def others_running() -> float | None:
    """Threads on this machine that run or want to now, but for the one that asks; None where that is not to be had."""
    try:
        running = Path("/proc/loadavg").read_text(encoding="utf-8").split()[3].partition("/")[0]
        return max(0.0, float(running) - 1)
    except (OSError, IndexError, ValueError):  # not Linux
        return None


def processor() -> str:
    """The model of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
