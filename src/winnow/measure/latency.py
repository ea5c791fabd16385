"""How long a network takes on the machine at hand."""

import copy
import math
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one call: the median of `n`, and an interval that holds the true median with 95 %."""

    median: float
    low: float
    high: float
    n: int
    device: str  # what it was measured on, as `fingerprint` tells it: latencies of different devices do not compare


def latency_ms(
    model: nn.Module,
    shape: tuple[int, ...],
    *,
    batch: int = 1,
    device: str | torch.device = "cpu",
    warmup: int = 10,
    repeats: int = 50,
    seed: int = 0,
) -> Latency:
    """Time `repeats` calls of `model` on normal noise of (batch, *shape), after `warmup` calls that are not counted.

    In evaluation and inference mode, on a copy: the model stays as and where it was. Each call is timed alone and
    waited for, so the time is what a caller sees, launches included. ValueError for fewer than 6 repeats, the least
    that bear an interval.
    """
    device = torch.device(device)
    first, last = median_interval(repeats)
    model = copy.deepcopy(model).to(device).eval()
    x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed)).to(device)
    synchronize = torch.get_device_module(device).synchronize
    times = []
    with torch.inference_mode():
        for call in range(warmup + repeats):
            synchronize()
            start = time.perf_counter_ns()
            model(x)
            synchronize()
            if call >= warmup:
                times.append((time.perf_counter_ns() - start) / 1e6)
    times.sort()
    return Latency(statistics.median(times), times[first], times[last], repeats, fingerprint(device))


def median_interval(n: int) -> tuple[int, int]:
    """Positions, from 0, of the order statistics of `n` values that enclose the population's median with 95 %.

    Distribution-free: the number of values below the median is binomial (n, 1/2). ValueError for n < 6, where even the
    extremes enclose it less often.
    """
    if n < 6:
        raise ValueError(f"a 95 % interval of a median takes 6 values or more, not {n}")
    below, tail = 0, 1 / 2**n  # tail: the probability that at most `below` values lie under the median
    while (wider := tail + math.comb(n, below + 1) / 2**n) <= 0.025:
        below, tail = below + 1, wider
    return below, n - 1 - below


def fingerprint(device: str | torch.device) -> str:
    """The device's model and what else decides its speed: "AMD EPYC, AVX512, 2 threads", "NVIDIA H200, CUDA 12.8"."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    if device.type != "cpu":
        return f"{platform.machine()} {device.type}"
    threads = torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{_processor()}, {capability}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
