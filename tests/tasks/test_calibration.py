import numpy as np
import pytest
import torch

from winnow.tasks.calibration import reliability


def test_calibration_on_paper():
    confidence = torch.tensor([0.95, 0.85, 0.85, 0.65])
    right = torch.tensor([True, True, False, False])
    error, rows = reliability(confidence, right, bins=10)
    # bins 0.6-0.7: |0.65 - 0|; 0.8-0.9: |0.85 - 0.5|; 0.9-1: |0.95 - 1|, weighed 1, 2, 1 of 4
    assert error == pytest.approx(100 * (0.65 + 2 * 0.35 + 0.05) / 4)
    assert [row["count"] for row in rows] == [1, 2, 1]
    assert [row["confidence_low"] for row in rows] == pytest.approx([0.6, 0.8, 0.9])
    assert [row["confidence_high"] for row in rows] == pytest.approx([0.7, 0.9, 1.0])
    assert [row["accuracy"] for row in rows] == [0.0, 0.5, 1.0]
    assert [row["confidence"] for row in rows] == pytest.approx([0.65, 0.85, 0.95])


def test_certainty_and_the_edges_of_bins():
    confidence = torch.tensor([0.0, 0.25, 0.25 + 1e-9, 0.5, 0.75, 1.0], dtype=torch.float64)
    _, rows = reliability(confidence, torch.ones(6, dtype=torch.bool), bins=4)
    assert [row["count"] for row in rows] == [2, 2, 1, 1]  # a bin ends with its upper edge, and 0 is in the first
    sure, rows = reliability(torch.ones(3), torch.ones(3, dtype=torch.bool))
    assert sure == 0.0
    assert rows == [
        {
            "confidence_low": pytest.approx(14 / 15),
            "confidence_high": 1.0,
            "count": 3,
            "confidence": 1.0,
            "accuracy": 1.0,
        }
    ]
    wrong, _ = reliability(torch.ones(3), torch.zeros(3, dtype=torch.bool))
    assert wrong == 100.0


def test_calibration_counts_every_image_once_and_matches_numpy():
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(5000, generator=generator)
    right = torch.rand(5000, generator=generator) < confidence**2  # overconfident
    error, rows = reliability(confidence, right)
    assert sum(row["count"] for row in rows) == 5000
    assert [row["confidence_high"] for row in rows] == pytest.approx([i / 15 for i in range(1, 16)], abs=1e-12)
    values, hits = confidence.double().numpy(), right.numpy()
    which = np.clip(np.ceil(values * 15).astype(int) - 1, 0, 14)
    expected = sum((which == i).mean() * abs(values[which == i].mean() - hits[which == i].mean()) for i in range(15))
    assert error == pytest.approx(100 * expected)
    assert 14 < error < 20  # the mean of c - c squared is 1/6
