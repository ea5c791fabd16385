"""measure.latency: a median with an honest interval, and a model left alone."""

import contextlib
import random
import statistics
import time
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import nn

from winnow.measure import exported, latency
from winnow.measure.latency import (
    ROUNDS,
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
