"""predictors/stagewise: FOX-NAS's linear models, by its released coefficients and by truths that are known."""

import random

import numpy as np
import pytest
import torch

from tests import fox_nas
from winnow.core.choosers import uniform
from winnow.predictors.stagewise import (
    ACCURACY,
    LATENCY,
    Stagewise,
    accuracy_terms,
    fit,
    held_out,
    latency_terms,
    stages_of,
    strongest,
)
from winnow.spaces.ofa import ofa


@pytest.mark.parametrize(
    ("self_", "percent", "ms"),
    [
        ((2, 2, 3), 68.249, 27.986),
        ((3, 3, 3), 71.421, 51.868),
        ((4, 3, 5), 73.017, 86.494),
        ((2, 6, 3), 72.456, 73.664),
        ((4, 6, 7), 76.248, 174.100),
    ],
)
def test_the_released_models_say_what_was_computed_from_them(self_, percent, ms):
    stages = fox_nas.alike(*self_)
    assert fox_nas.ACCURACY(stages)[0] == pytest.approx(percent, abs=6e-4)
    assert fox_nas.LATENCY(stages)[0] == pytest.approx(ms, abs=6e-4)


def test_a_dearer_first_block_takes_longer_by_the_released_model_and_so_does_depth_at_the_least():
    assert (fox_nas.LATENCY.coefficients[3:5] > 0).all()
    times = [fox_nas.LATENCY(fox_nas.alike(depth, 2, 3))[0] for depth in (2, 3, 4)]
    assert times == sorted(times)


def drawn(n: int, seed: int = 0) -> np.ndarray:
    with torch.device("meta"):
        space = ofa(ratios=(2, 3, 4, 6))
    rng = random.Random(seed)
    return stages_of([space.decide(uniform(rng)) for _ in range(n)])


@pytest.fixture(scope="module")
def stages() -> np.ndarray:
    return drawn(300)


def test_networks_are_read_as_their_stages():
    with torch.device("meta"):
        space = ofa(depths=(1, 2, 3))
    answers = {"depth": 3, "ratio": 3, "kernel": 5}
    arch = dict(space.decide(lambda d: answers[d.name.rpartition("/")[2]]))
    arch |= {"unit2/block1/ratio": 6, "unit2/block2/ratio": 4, "unit2/block3/kernel": 7}
    assert stages_of([arch])[0, :, :2].tolist() == [[3, 3], [3, 3.5], [5, 6], [3, 6], [5, 5]]
    alone = space.decide(lambda d: 1 if d.name.endswith("depth") else d.values[0])
    assert stages_of([alone])[0, :, 0].tolist() == [1, 0, 0, 3, 3]
    with pytest.raises(ValueError, match="stages are those of space ofa"):
        stages_of([{"a": 1}])


def test_designs_have_the_published_width_and_full_rank(stages):
    assert fit(latency_terms, stages, np.arange(300.0)).rank == 36
    assert fit(accuracy_terms, stages, np.arange(300.0)).rank == 41
    assert latency_terms(stages).shape == (300, len(LATENCY), 5)
    assert accuracy_terms(stages).shape == (300, len(ACCURACY), 5)
    total = accuracy_terms(stages)[:, ACCURACY.index("ratios")]
    assert np.allclose(total, (stages[:, 0] - 1) * stages[:, 1])


@pytest.mark.parametrize("model", [fox_nas.ACCURACY, fox_nas.LATENCY], ids=["accuracy", "latency"])
def test_a_linear_truth_is_found_again_within_its_standard_errors(model: Stagewise, stages):
    noise = np.random.default_rng(0).normal(0, 0.3, len(stages))
    found = fit(model.terms, stages, model(stages) + noise)
    off = np.abs(found.model.coefficients - model.coefficients) / found.errors
    assert (off < 2).mean() > 0.85
    assert off.max() < 4.5
    assert found.rmse == pytest.approx(0.3 * np.sqrt(1 - found.rank / found.n), rel=0.1)
    assert found.adjusted < found.r2
    clean = fit(model.terms, stages, model(stages))
    assert np.allclose(clean.model.coefficients, model.coefficients, atol=1e-8)
    assert clean.r2 == pytest.approx(1)


def test_few_networks_suffice_and_more_help_less_and_less(stages):
    new = drawn(300, seed=1)
    noise = np.random.default_rng(0).normal(0, 0.3, (2, 300))
    truth = fox_nas.ACCURACY(new) + noise[0]

    def explained(n: int) -> float:
        model = fit(accuracy_terms, stages[:n], fox_nas.ACCURACY(stages[:n]) + noise[1, :n]).model
        return 1 - ((model(new) - truth) ** 2).mean() / truth.var()

    few, some, many = (explained(n) for n in (60, 150, 300))
    assert few < some < many
    assert many - some < (some - few) / 2
    values = fox_nas.ACCURACY(stages) + noise[1]
    apart = held_out(accuracy_terms, stages, values, np.random.default_rng(0))
    inside = fit(accuracy_terms, stages, values)
    assert 0 < 1 - ((apart - values) ** 2).sum() / ((values - values.mean()) ** 2).sum() < inside.r2


def test_standardised_coefficients_say_which_stage_and_term_pays(stages):
    coefficients = np.zeros((8, 5))
    coefficients[0, 3], coefficients[4, 1] = 2.0, -0.1
    truth = Stagewise(accuracy_terms, 50.0, coefficients)
    first, second, *rest = strongest(fit(accuracy_terms, stages, truth(stages)), ACCURACY, "abcde")
    assert first[:2] == ("d", "depth")
    assert second[:2] == ("b", "first_kernel")
    size = 2.0 * stages[:, 0, 3].std() / truth(stages).std()
    assert first[2] == pytest.approx(size)
    assert max(abs(value) for *_, value in rest) < 1e-9


def test_what_cannot_be_told_apart_has_no_standard_error_and_too_few_networks_are_refused(stages):
    fixed = stages.copy()
    fixed[:, 2] = 3  # kernels of one size: their terms are depth's
    found = fit(latency_terms, fixed, fox_nas.LATENCY(fixed))
    assert found.rank < 36
    assert np.isnan(found.errors).all()
    assert np.allclose(found.model(fixed), fox_nas.LATENCY(fixed))
    with pytest.raises(ValueError, match="36 coefficients take more networks than that, and 36 were measured"):
        fit(latency_terms, stages[:36], np.arange(36.0))
