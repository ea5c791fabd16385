"""Whether a reduced training orders networks as the full one: the numbers."""

import numpy as np
import pytest

from winnow.core.errors import Refused
from winnow.tools.consistency import compared
from winnow.trials.reduce import Reduction

SPENT = {"work": 1.0, "seconds": 2.0}


def test_a_setting_is_read_from_its_name():
    found = Reduction.of("c4r4s1e20")
    assert found == Reduction(channels=4, resolution=4, halvings=1, epochs=20)
    assert found.steps() == {"channels": 4, "resolution": 4, "samples": 0.5}
    assert Reduction.of("c0r0s0e2'") == Reduction(0, 0, 0, 2)
    for wrong in ("c4r4", "c9r0s0e1", "c0r0s0e0", "full"):
        with pytest.raises(Refused, match=f"'{wrong}' is no reduced setting: write it like c4r4s1e20"):
            Reduction.of(wrong)


def test_less_noise_orders_better_and_settings_of_equal_work_are_compared():
    draws = np.random.default_rng(0)
    truth = draws.normal(size=60)
    scores = {  # the last agrees wholly
        "c0r0s0e8": truth,
        "c0r0s0e8'": truth + draws.normal(scale=0.1, size=60),
        "c0r0s0e2": truth + draws.normal(scale=0.5, size=60),
        "c0r0s1e4": draws.normal(size=60),
        "c4r4s0e8": truth,
    }
    spent = {name: SPENT | {"work": work} for name, work in zip(scores, (8.0, 8.0, 2.0, 1.9, 0.1), strict=True)}
    found = compared(scores, spent, 62, resamples=200)
    again, better, worse, small = found.rows
    assert (found.networks, found.failed) == (60, 2)
    assert again["spearman"] > better["spearman"] > worse["spearman"]
    assert all(row[f"{m}_low"] <= row[m] <= row[f"{m}_high"] for row in found.rows for m in ("spearman", "kendall"))
    assert (better["work"], better["seconds"]) == (0.25, 1.0)
    assert small["spearman"] == pytest.approx(1)
    assert [pair["told"] for pair in found.pairs] == ["c0r0s0e2 is better"], "the full ones are no pair"
