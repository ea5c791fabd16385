"""predictors/device: milliseconds of a device that is not at hand, and what may be said of them."""

import random

import numpy as np
import pytest
import torch

from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.core.errors import Refused
from winnow.predictors.device import Device, Reading, calibrated, covering, measured, telling
from winnow.predictors.encode import one_hot
from winnow.spaces.mobile import mobile


@pytest.fixture(scope="module")
def encode():
    with torch.device("meta"):
        space = mobile(0.25)
    return space.decisions, one_hot(space.decisions, lambda arch: {}), distinct(space, random.Random(0), 600)


def truth(x: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    """A sum of block times, and what a device adds to it by itself."""
    draws = np.random.default_rng(seed)
    return 5 + x @ np.random.default_rng(9).uniform(0.1, 1, x.shape[1]) + draws.normal(0, noise, len(x))


def test_a_calibrated_model_covers_what_it_promises_of_networks_it_never_saw(encode):
    decisions, one, archs = encode
    ms = truth(one(archs), 0.2)
    device = calibrated("raspi4", decisions, archs[:100], ms[:100], archs[100:140], ms[100:140])
    off = np.abs([device.ms(arch) - t for arch, t in zip(archs[140:], ms[140:], strict=True)])
    assert 0.9 < (off <= device.error).mean() <= 1
    assert device.held == 40
    assert 0.2 < device.error < 1.0
    exact = calibrated(
        "raspi4", decisions, archs[:100], truth(one(archs[:100]), 0), archs[100:119], truth(one(archs[100:119]), 0)
    )
    assert exact.error < 0.05


def test_the_error_is_the_place_among_the_misses_that_covers_95_in_100(encode):
    assert covering(np.arange(1, 20)) == 19
    assert covering(-np.arange(1, 40)) == 38
    decisions, one, archs = encode
    ms = truth(one(archs), 0.2)
    found = calibrated("x", decisions, archs[:100], ms[:100], archs[100:119], ms[100:119])
    misses = [found.ms(arch) - t for arch, t in zip(archs[100:119], ms[100:119], strict=True)]
    assert found.error == pytest.approx(max(map(abs, misses)))


def test_a_model_that_is_no_better_than_one_number_is_no_model(encode):
    decisions, one, archs = encode
    ms = truth(one(archs), 0)
    ms[100:119] = 2 * ms[:100].mean() - ms[100:119]  # whatever is slow there is fast here
    with pytest.raises(Refused, match=r"bears nothing: it is off by up to .* ms said of every network by"):
        calibrated("x", decisions, archs[:100], ms[:100], archs[100:119], ms[100:119])


def test_an_option_that_no_fitted_network_has_costs_nothing_that_is_known(encode):
    decisions, one, archs = encode
    ms, (name, d) = truth(one(archs), 0), next(iter(decisions.items()))
    without = [i for i in range(400) if archs[i].get(name) != d.options[0]]
    held = slice(400, 430)
    with pytest.raises(
        Refused, match=f"'{d.options[0]}' of decision '{name}' is in none of the {len(without)} networks"
    ):
        calibrated("x", decisions, [archs[i] for i in without], ms[without], archs[held], ms[held])


def test_a_claim_that_the_error_does_not_bear_is_not_made():
    device = Device("phone", lambda arch: Reading(10.0, 9.0, 11.0))
    arch = Architecture.of({"a": "x"})
    assert [device.within(arch, limit) for limit in (11.0, 10.9, 10.0, 9.0, 8.9)] == [
        "yes",
        "cannot tell",
        "cannot tell",
        "cannot tell",
        "no",
    ]


def test_a_table_knows_what_was_measured_and_refuses_the_rest():
    one, other = Architecture.of({"a": "x"}), Architecture.of({"a": "y"})
    device = measured("phone", {one.digest: Reading(3.5, 3.4, 3.6)})
    assert [device.within(one, limit) for limit in (3.6, 3.5, 3.3)] == ["yes", "cannot tell", "no"]
    with pytest.raises(Refused, match=f"network {other.digest} is not among the 1 measured on phone"):
        device.read(other)


def test_telling_networks_calibrate_better_than_as_many_random_ones(encode):
    decisions, one, archs = encode
    x = one(archs)
    ms, held = truth(x, 0.3), slice(400, 600)
    chosen = telling(one, archs[:400], 75)
    assert len(set(chosen)) == 75
    assert np.linalg.matrix_rank(x[chosen[:61]]) == np.linalg.matrix_rank(x) == 61

    def miss(places) -> float:
        device = calibrated("x", decisions, [archs[i] for i in places], ms[list(places)], archs[held], ms[held])
        return float(np.mean([abs(device.ms(arch) - t) for arch, t in zip(archs[held], ms[held], strict=True)]))

    alike = [miss(random.Random(seed).sample(range(400), 75)) for seed in range(5)]
    assert miss(chosen) < np.mean(alike)


def test_a_calibration_without_networks_to_tell_its_error_is_refused(encode):
    decisions, _, archs = encode
    ms = [1.0] * 60
    with pytest.raises(
        Refused, match="18 networks held out of the calibration of phone bear no error at 95%: measure 19"
    ):
        calibrated("phone", decisions, archs[:40], ms[:40], archs[40:58], ms[:18])
    with pytest.raises(Refused, match="is fitted to and held out"):
        calibrated("phone", decisions, archs[:40], ms[:40], archs[39:59], ms[:20])
