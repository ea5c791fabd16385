import numpy as np
import pytest

from winnow.predictors.protocol import Prediction
from winnow.predictors.scale import inverse, normal_scores, on_normal_scores


def test_quantiles_by_hand():
    assert normal_scores(np.array([10.0, 90.0, 50.0])) == pytest.approx([-0.9674, 0.9674, 0.0], abs=1e-4)
    assert normal_scores(np.array([1.0, 1.0])).tolist() == [0.0, 0.0]


def test_the_way_back_goes_through_every_value_and_keeps_order_beyond_them():
    y = np.array([10.0, 90.0, 50.0, 91.0, 91.0])
    z = normal_scores(y)
    back = inverse(z, y)
    assert back(z) == pytest.approx(y)
    assert (np.diff(back(np.linspace(-9, 9, 50))) > 0).all()


def test_equal_values_come_back():
    back = inverse(normal_scores(np.full(4, 5.0)), np.full(4, 5.0))
    assert (back(np.array([-1.0, 0.0, 2.0])) == 5).all()


def test_a_model_sees_quantiles_and_answers_in_units():
    seen = []

    def fit(x, y, seed):
        seen.append(y)
        return lambda new: Prediction(new[:, 0], np.full(len(new), 0.1))

    y = np.array([0.0, 10.0, 20.0, 30.0])
    found = on_normal_scores(fit)(np.zeros((4, 1)), y, 0)(normal_scores(y)[:, None])
    assert seen[0] == pytest.approx(normal_scores(y))
    assert found.mean == pytest.approx(y)
    assert (found.sd > 0).all()
