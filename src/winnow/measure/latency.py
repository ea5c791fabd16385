"""How long a network takes on the machine at hand."""

import contextlib
import copy
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from winnow.core.example import Example, noise
from winnow.measure.rounds import ROUNDS, of_medians, one_round, others_running, processor, summary


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one call: a median, and an interval around it (see who measured)."""

    median: float
    low: float
    high: float
    n: int  # calls
    device: str  # what it was measured on, as `fingerprint` tells it: latencies of different devices do not compare
    load: float | None = None  # threads of others that wanted a core meanwhile, on average; None where nobody knows


def latency_ms(
    model: nn.Module,
    example: Example,
    *,
    batch: int = 1,
    device: str | torch.device = "cpu",
    warmup: int = 10,
    repeats: int = 50,
    seed: int = 0,
) -> Latency:
    """Time `repeats` calls of `model` on inputs like `example` (normal noise of a shape), after `warmup` more.

    In evaluation and inference mode, on a copy: the model stays as and where it was. Each call is timed alone and
    waited for, so the time is what a caller sees, launches included. The interval holds the median of this moment with
    95 %, and nothing of what differs between moments: to compare, use `latency_over_time`. ValueError for fewer than 6
    repeats, the least that bear an interval.
    """
    first, last = median_interval(repeats)
    with _ready(model, example, batch, device, seed) as call:
        for _ in range(warmup):
            call()
        times = sorted(call() for _ in range(repeats))
    return Latency(statistics.median(times), times[first], times[last], repeats, fingerprint(device))


def latency_over_time(
    models: Sequence[nn.Module],
    example: Example,
    threads: Sequence[int],
    *,
    device: str | torch.device = "cpu",
    repeats: int = 50,
    seconds: float = 5.0,
    seed: int = 0,
) -> list[list[Latency]]:
    """A reading of one input of each of `models` at each number of `threads`: (models, threads).

    In `ROUNDS` rounds spread over `seconds`, all taken in turns, so that a load of others falls on all alike.
    Each has the median of its rounds' medians. Its interval goes from the fastest call, which a busy machine has as
    well as a quiet one, to the slowest round, or the slowest tenth of all calls where that is slower: it contains what
    differs between rounds, so the intervals of two readings at different hours overlap, unless others keep the cores
    throughout one of them, which `load` tells. At most `repeats` calls each, and no more than fit into `seconds`, but
    one a round.
    """
    pairs = [(n, count) for count in threads for n in range(len(models))]
    times: dict[tuple[int, int], list[list[float]]] = {pair: [] for pair in pairs}
    names, loads = {}, []
    before, began = torch.get_num_threads(), time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            calls = [stack.enter_context(_ready(model, example, 1, device, seed)) for model in models]
            for number in range(ROUNDS):
                time.sleep(max(0.0, began + number * seconds / ROUNDS - time.monotonic()))
                loads.append(others_running())
                for n, count in pairs:
                    torch.set_num_threads(count)
                    calls[n]()  # wakes threads and caches; not counted
                    most = math.ceil(repeats / ROUNDS)
                    times[n, count].append(one_round(calls[n], most, seconds / ROUNDS / len(pairs)))
            # what each ran with, as long as it is set
            names = {count: _named(count, device) for count in threads}
    finally:
        torch.set_num_threads(before)
    known = [load for load in loads if load is not None]
    load = statistics.fmean(known) if known else None
    return [[_reading(times[n, count], names[count], load) for count in threads] for n in range(len(models))]


def latency_within(
    model: nn.Module,
    example: Example,
    limit: float,
    *,
    device: str | torch.device = "cpu",
    repeats: int = 50,
    seconds: float = 1.0,
    seed: int = 0,
) -> Latency:
    """A reading in rounds spread over `seconds`, at the threads that are set, to hold against `limit` milliseconds.

    Its interval goes from the second fastest to the second slowest of the rounds' medians. It ends with the second
    round beyond the limit, since the interval can then not be within any more: what is too slow costs two rounds.
    """
    rounds: list[list[float]] = []
    began = time.monotonic()
    with _ready(model, example, 1, device, seed) as call:
        for number in range(ROUNDS):
            time.sleep(max(0.0, began + number * seconds / ROUNDS - time.monotonic()))
            call()
            rounds.append(one_round(call, math.ceil(repeats / ROUNDS), seconds / ROUNDS))
            if sum(statistics.median(each) > limit for each in rounds) == 2:
                break
    return Latency(*of_medians(rounds), sum(map(len, rounds)), fingerprint(device))


def busy(load: float | None, threads: int, cores: int) -> str:
    """A remark where others wanted cores that `threads` of ours needed; empty where they did not."""
    if load is None or load + threads <= cores + 0.5:
        return ""
    return f"load {load:.1f} of others on {cores} core{'s' if cores > 1 else ''}: a quiet machine will be faster"


def _reading(rounds: list[list[float]], device: str, load: float | None) -> Latency:
    return Latency(*summary(rounds), sum(map(len, rounds)), device, load)


def _named(threads: int, device: str | torch.device) -> str:
    torch.set_num_threads(threads)
    return fingerprint(device)


@contextlib.contextmanager
def _ready(
    model: nn.Module, example: Example, batch: int, device: str | torch.device, seed: int
) -> Iterator[Callable[[], float]]:
    """A call of a copy of `model`, which takes its time in milliseconds."""
    device = torch.device(device)
    model = copy.deepcopy(model).to(device).eval()
    x = noise(example, torch.Generator().manual_seed(seed), batch, device)
    synchronize = torch.get_device_module(device).synchronize

    def call() -> float:
        synchronize()
        start = time.perf_counter_ns()
        model(x)
        synchronize()
        return (time.perf_counter_ns() - start) / 1e6

    with torch.inference_mode():
        yield call


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
    return f"{processor()}, {capability}, {threads} thread{'s' if threads > 1 else ''}"
