"""measure.latency: a median with an honest interval, and a model left alone."""

import contextlib
import random
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from torch import nn

from winnow.measure import exported, latency
from winnow.measure.latency import (
    ROUNDS,
    Latency,
    busy,
    fingerprint,
    latency_ms,
    latency_over_time,
    latency_within,
    median_interval,
)


class Sleeper(nn.Module):
    """Takes at least `ms`; remembers how it was called."""

    def __init__(self, ms: float):
        super().__init__()
        self.ms, self.calls = ms, []

    def __deepcopy__(self, memo: dict) -> "Sleeper":
        copied = Sleeper(self.ms)
        copied.calls = self.calls
        return copied

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append((tuple(x.shape), self.training, torch.is_inference_mode_enabled()))
        time.sleep(self.ms / 1000)
        return x


def test_it_measures_what_a_caller_waits():
    found = latency_ms(Sleeper(2.0), (1, 2, 2), warmup=0, repeats=8)
    assert 2.0 <= found.low <= found.median <= found.high
    assert found.median < 200.0
    assert found.n == 8
    assert found.device == fingerprint("cpu")


def test_warm_up_is_not_counted_and_calls_are_inference_in_evaluation_mode():
    model = Sleeper(0.0)
    latency_ms(model, (3, 5, 4), batch=2, warmup=3, repeats=6)
    assert model.calls == [((2, 3, 5, 4), False, True)] * 9
    assert model.training


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    latency_ms(model, (3, 8, 8), warmup=1, repeats=6)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_interval_is_the_textbook_one():
    assert [median_interval(n) for n in (6, 10, 15, 50)] == [(0, 5), (1, 8), (3, 11), (17, 32)]
    for n in range(6, 300):
        first, last = median_interval(n)
        assert stats.binom.cdf(first, n, 0.5) <= 0.025 < stats.binom.cdf(first + 1, n, 0.5)
        assert last == n - 1 - first


def test_the_interval_covers_the_median_of_skewed_times():
    rng = random.Random(0)
    first, last = median_interval(21)
    true = statistics.NormalDist().inv_cdf(0.5)
    covered = 0
    for _ in range(1000):
        times = sorted(rng.gauss(0, 1) ** 3 for _ in range(21))
        covered += times[first] <= true <= times[last]
    assert 940 <= covered <= 995


def test_too_few_repeats_are_told():
    with pytest.raises(ValueError, match="6 values or more, not 5"):
        latency_ms(Sleeper(0.0), (1,), repeats=5)


def test_the_fingerprint_names_processor_and_threads():
    assert fingerprint("cpu").endswith(f"{torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1))
    assert len(fingerprint("cpu").split(", ")[0]) > 2


def reading(rng, drift, share):
    """Of a network of 1 ms: rounds differ by `drift`, and of the calls `share` wait for somebody else."""
    rounds = []
    for _ in range(ROUNDS):
        level = abs(rng.gauss(0, drift))
        rounds.append([1 + level + abs(rng.gauss(0, 0.05)) + 4 * (rng.random() < share) for _ in range(6)])
    return latency._reading(rounds, "a device", None)


def test_two_readings_at_different_hours_agree_within_their_intervals():
    rng, apart, outside = random.Random(0), 0, 0
    for _ in range(500):
        quiet, busy_hour = reading(rng, 0.02, 0.0), reading(rng, 0.1, 0.6)
        again = reading(rng, 0.02, 0.0)
        apart += quiet.high < busy_hour.low or busy_hour.high < quiet.low
        outside += not quiet.low <= again.median <= quiet.high
    assert apart <= 5, "a quiet hour, and one in which most calls wait for others"
    assert outside <= 5, "two quiet hours"


def test_what_differs_between_rounds_is_in_the_interval():
    """Slow in one round of nine: an interval within the moment would not know."""
    calls = []

    class Slow(nn.Module):
        def forward(self, x):
            calls.append(x)
            time.sleep(0.04 if (len(calls) - 1) // 3 == 4 else 0.001)  # two of a round are counted
            return x

    ((found,),) = latency_over_time([Slow()], (1, 2, 2), [1], repeats=2 * ROUNDS, seconds=1.0)
    assert found.n == 2 * ROUNDS
    assert found.median < 40 <= found.high


def test_rounds_are_spread_over_the_time_and_taken_in_turns():
    threads, began = [], time.monotonic()

    class Seen(nn.Module):
        def forward(self, x):
            threads.append(torch.get_num_threads())
            return x

    before = torch.get_num_threads()
    ((two, one),) = latency_over_time([Seen()], (1, 2, 2), [2, 1], repeats=ROUNDS, seconds=0.4)
    assert time.monotonic() - began >= 0.4 * (ROUNDS - 1) / ROUNDS
    assert threads == [2, 2, 1, 1] * ROUNDS  # the first of each wakes the threads
    assert torch.get_num_threads() == before
    assert (two.device.rpartition(", ")[2], one.device.rpartition(", ")[2]) == ("2 threads", "1 thread")


def test_a_slow_network_takes_little_longer_than_the_time_given():
    ((found,),) = latency_over_time([Sleeper(30.0)], (1, 2, 2), [1], repeats=900, seconds=0.1)
    assert ROUNDS <= found.n < 3 * ROUNDS


def test_the_load_of_others_is_told_where_it_took_our_cores(monkeypatch):
    assert busy(None, 2, 2) == busy(0.3, 2, 2) == busy(2.0, 2, 8) == ""
    assert busy(5.2, 2, 2) == "load 5.2 of others on 2 cores: a quiet machine will be faster"
    monkeypatch.setattr(latency, "others_running", lambda: 1.5)
    ((found,),) = latency_over_time([Sleeper(0.0)], (1, 2, 2), [1], repeats=9, seconds=0.0)
    assert found.load == 1.5


@pytest.mark.gpu
def test_on_a_gpu_the_call_is_waited_for():
    deep = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(40)])
    small, large = (latency_ms(deep, (2048,), batch=b, device="cuda", repeats=20) for b in (1, 8192))
    assert large.median > 3 * small.median
    assert small.device.startswith(torch.cuda.get_device_name())


class Clock:
    """What latency is read with, by a clock that only sleeping moves."""

    def __init__(self, monkeypatch):
        self.now, self.rounds = 0.0, []
        self.perf_counter_ns = self.monotonic = lambda: self.now
        for module in (latency, exported):
            monkeypatch.setattr(module, "time", self)
            monkeypatch.setattr(module, "one_round", self.one_round)

    def sleep(self, seconds):
        self.now += seconds

    def one_round(self, call, most, seconds):
        self.rounds.append((round(self.now, 9), most, round(seconds, 9)))
        return [1.0]


ON_TIME = [(float(n), 3, 1.0) for n in range(ROUNDS)]  # 20 calls in nine rounds: three each


def test_each_round_begins_on_time_and_gets_its_share_of_calls_and_seconds(monkeypatch):
    clock = Clock(monkeypatch)
    latency_within(Sleeper(0.0), (1, 2, 2), 9.0, repeats=20, seconds=9.0)
    assert clock.rounds == ON_TIME
    clock = Clock(monkeypatch)
    network = exported.Exported(Path("x"), "none", lambda: contextlib.nullcontext(lambda: 0.5))
    assert [each.rounds for each in exported.readings([network], 20, 9.0, lambda _: None)] == [[[1.0]] * ROUNDS]
    assert clock.rounds == ON_TIME


class Ticks:
    """A clock of nanoseconds that calls of a network move: the n-th takes `ms[n]`, and what is after that 1 ms."""

    def __init__(self, monkeypatch, ms=()):
        self.ms, self.calls, self.now = list(ms), 0, 10**9
        monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter_ns=lambda: self.now))

    def network(self):
        ticks = self

        class Ticking(nn.Module):
            def forward(self, x):
                ticks.now += round((ticks.ms[ticks.calls] if ticks.calls < len(ticks.ms) else 1.0) * 1e6)
                ticks.calls += 1
                return x

        return Ticking()


def test_milliseconds_their_median_and_its_interval_by_a_clock_that_calls_move(monkeypatch):
    times = [7.0, 3.0, 9.5, 1.0, 8.0, 2.0, 6.0, 5.0, 4.0, 10.0]
    ticks = Ticks(monkeypatch, [99.0, 99.0, *times])
    found = latency_ms(ticks.network(), (1, 2, 2), warmup=2, repeats=10)
    assert (found.median, found.low, found.high, found.n) == (5.5, 2.0, 9.5, 10)  # second lowest and highest of ten
    assert found.load is None


def test_ten_calls_wake_it_and_fifty_are_counted_where_nobody_says_else(monkeypatch):
    ticks = Ticks(monkeypatch, [99.0] * 10)
    found = latency_ms(ticks.network(), (1, 2, 2))
    assert (ticks.calls, found.n, found.high) == (60, 50, 1.0)


class Given(nn.Module):
    """Keeps what it was given, even of a copy."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def __deepcopy__(self, memo):
        copied = Given()
        copied.inputs = self.inputs
        return copied

    def forward(self, x):
        self.inputs.append(x.clone())
        return x


def test_inputs_are_noise_of_a_seed_and_one_at_a_time_unless_a_batch_is_asked():
    def noise(batch, seed):
        return torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(seed))

    network = Given()
    latency_ms(network, (3, 4, 4), warmup=0, repeats=6)
    assert all(torch.equal(x, noise(1, 0)) for x in network.inputs)
    network = Given()
    latency_ms(network, (3, 4, 4), warmup=0, repeats=6, batch=2, seed=5)
    assert all(torch.equal(x, noise(2, 5)) for x in network.inputs)
    for seeds, seed in (({}, 0), ({"seed": 7}, 7)):
        network = Given()
        latency_over_time([network], (3, 4, 4), [1], repeats=9, seconds=0.0, **seeds)
        latency_within(network, (3, 4, 4), 1e9, repeats=9, seconds=0.0, **seeds)
        assert len(network.inputs) == 4 * ROUNDS  # of each round one call wakes it
        assert all(torch.equal(x, noise(1, seed)) for x in network.inputs)


@pytest.mark.parametrize(
    ("medians", "calls"),
    [
        ([1.0] * 9, 9),
        ([5.0, 1, 1, 1, 1, 1, 1, 1, 1], 9),  # one beyond the limit is left out
        ([5.0, 5, 1, 1, 1, 1, 1, 1, 1], 2),
        ([1.0, 5, 1, 1, 1, 5, 1, 1, 1], 6),
        ([4.0] * 9, 9),  # at the limit is within it
    ],
)
def test_what_is_too_slow_costs_two_rounds(monkeypatch, medians, calls):
    rounds = iter(medians)
    monkeypatch.setattr(latency, "one_round", lambda call, most, seconds: [next(rounds)])
    found = latency_within(Sleeper(0.0), (1, 2, 2), 4.0, repeats=9, seconds=0.0)
    assert found.n == calls
    assert (found.high <= 4.0) == (calls == 9)
    assert found.device == fingerprint("cpu")


def test_calls_and_seconds_of_a_round_are_shared_among_networks_and_threads(monkeypatch):
    clock = Clock(monkeypatch)
    found = latency_over_time([Sleeper(0.0), Sleeper(0.0)], (1, 2, 2), [1, 2], repeats=20, seconds=9.0)
    assert clock.rounds == [(float(n), 3, 0.25) for n in range(ROUNDS) for _ in range(4)]
    assert [[(each.median, each.n) for each in row] for row in found] == [[(1.0, ROUNDS)] * 2] * 2


def test_nobody_says_else_means_fifty_calls_in_five_seconds_or_in_one(monkeypatch):
    clock = Clock(monkeypatch)
    latency_over_time([Sleeper(0.0)], (1, 2, 2), [1])
    assert clock.rounds == [(round(n * 5 / ROUNDS, 9), 6, round(5 / ROUNDS, 9)) for n in range(ROUNDS)]
    clock = Clock(monkeypatch)
    latency_within(Sleeper(0.0), (1, 2, 2), 2.0)
    assert clock.rounds == [(round(n / ROUNDS, 9), 6, round(1 / ROUNDS, 9)) for n in range(ROUNDS)]


def test_a_reading_that_is_late_waits_for_nothing(monkeypatch):
    """A round that takes longer than its share is followed by the next at once, and what is left keeps its time."""
    clock = Clock(monkeypatch)
    began = []

    def slow(call, most, seconds):
        began.append(clock.now)
        clock.now += 2.5 if len(began) == 1 else 0.0
        return [1.0]

    monkeypatch.setattr(latency, "one_round", slow)
    latency_within(Sleeper(0.0), (1, 2, 2), 9.0, seconds=9.0)
    assert began == pytest.approx([0.0, 2.5, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])


@pytest.mark.parametrize(
    ("loads", "mean"), [([None] * 9, None), ([0.0] * 8 + [4.5], 0.5), ([None] * 6 + [1.0, 2.0, 6.0], 3.0)]
)
def test_the_load_is_the_mean_of_the_rounds_that_know_it(monkeypatch, loads, mean):
    told = iter(loads)
    monkeypatch.setattr(latency, "others_running", lambda: next(told))
    ((found,),) = latency_over_time([Sleeper(0.0)], (1, 2, 2), [1], repeats=9, seconds=0.0)
    assert found.load == mean


@pytest.mark.parametrize(
    ("load", "threads", "cores", "remark"),
    [
        (0.5, 1, 1, ""),  # half a thread is nobody
        (0.6, 1, 1, "load 0.6 of others on 1 core: a quiet machine will be faster"),
        (0.0, 2, 2, ""),
        (1.0, 4, 4, "load 1.0 of others on 4 cores: a quiet machine will be faster"),
        (3.0, 1, 4, ""),
        (4.0, 1, 4, "load 4.0 of others on 4 cores: a quiet machine will be faster"),
        (None, 8, 1, ""),
    ],
)
def test_others_are_remarked_on_where_threads_and_load_are_more_than_the_cores(load, threads, cores, remark):
    assert busy(load, threads, cores) == remark


@pytest.mark.parametrize(("threads", "said"), [(1, "1 thread"), (2, "2 threads"), (3, "3 threads")])
def test_a_fingerprint_counts_threads(threads, said):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        model, capability, last = fingerprint("cpu").rsplit(", ", 2)
    finally:
        torch.set_num_threads(before)
    assert (capability, last) == (torch.backends.cpu.get_cpu_capability(), said)
    assert model == latency.processor()


def test_a_fingerprint_of_another_device_names_machine_and_device(monkeypatch):
    monkeypatch.setattr(latency.platform, "machine", lambda: "a board")
    assert fingerprint("mps") == "a board mps"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Big {device}")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert fingerprint("cuda:1") == "Big cuda:1, CUDA 12.8"


def test_one_value_or_five_bear_no_interval():
    for n in (1, 5):
        with pytest.raises(ValueError, match=f"^a 95 % interval of a median takes 6 values or more, not {n}$"):
            median_interval(n)


def test_a_latency_cannot_be_changed():
    found = Latency(1.0, 0.5, 2.0, 9, "a device")
    assert found.load is None
    assert found in {found}
    with pytest.raises(AttributeError):
        found.median = 0.0
