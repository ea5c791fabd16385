"""measure.latency: a median with an honest interval, and a model left alone."""

import random
import statistics
import time

import pytest
import torch
from torch import nn

from winnow.measure.latency import fingerprint, latency_ms, median_interval


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


@pytest.mark.gpu
def test_on_a_gpu_the_call_is_waited_for():
    deep = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(40)])
    small, large = (latency_ms(deep, (2048,), batch=b, device="cuda", repeats=20) for b in (1, 8192))
    assert large.median > 3 * small.median
    assert small.device.startswith(torch.cuda.get_device_name())
