"""Descriptions as numbers: what is said fills its column, sizes by hand, and what is not understood is a sentence."""

import math

import pytest

from winnow.core.errors import Refused
from winnow.predictors.words import COLUMNS, vector
from winnow.spaces.descriptions import OPERATIONS


def said(description: str) -> dict[str, float]:
    return {name: number for name, number in zip(COLUMNS, vector(description), strict=True) if number}


def test_a_description_fills_the_columns_of_its_words():
    assert said("identity") == {"identity": 1}
    assert said("average pooling 3 by 3") == {"pooling": 1, "average": 1, "kernel": 1}
    found = said("attention of 4 heads, MLP of ratio 3.5, 216 channels")
    assert set(found) == {"attention", "heads", "mlp", "ratio", "channels", "size"}
    assert (found["heads"], found["ratio"]) == (1, 3.5 / 4)


@pytest.mark.parametrize(
    ("description", "weights"),
    [
        ("convolution 3 by 3, batch normalisation, ReLU", 16 * 16 * 9),
        ("depthwise convolution 5 by 5, 2 times", 2 * (16 * 25 + 16 * 16)),
        ("bottleneck of expansion 6, depthwise convolution 5 by 5, 64 channels", 64 * 384 + 384 * 25 + 384 * 64),
        ("depthwise convolution 3 by 3 on half of the channels, 64 channels", 32 * 9 + 32 * 32),
        ("attention of 3 heads, MLP of ratio 4, 192 channels", 4 * 192 * 192 + 2 * 4 * 192 * 192),
        ("convolution 3 by 3, 2 times, inner width 50 percent", 2 * 8 * 8 * 9),
    ],
)
def test_the_size_of_what_is_described_by_hand(description, weights):
    assert said(description)["size"] == pytest.approx(math.log1p(weights) / 10)


def test_a_number_that_nobody_listed_lies_between_those_beside_it():
    three, five, nine = (said(f"convolution {k} by {k}")["kernel"] for k in (3, 5, 9))
    assert three < five < nine
    assert said("weights of 1 bits, activations of 2 bits")["weight_bits"] > 0


@pytest.mark.parametrize(
    ("description", "word"),
    [("convolution 3 by 3, GELU", "GELU"), ("convolution", None), ("swish", "swish"), ("ReLU, ReLU", "ReLU")],
)
def test_a_word_that_is_not_understood_is_named_with_those_that_are(description, word):
    if word is None:
        assert said(description)
        return
    with pytest.raises(Refused, match=rf"{description!r} says '{word}', which is not understood.*'attention'"):
        vector(description)


def test_all_of_winnow_is_understood():
    assert all(any(vector(each)) for each in OPERATIONS.values())
