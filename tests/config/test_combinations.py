"""docs/combinations.md holds what benchmarks/combinations.py prints."""

from pathlib import Path

import pytest

from benchmarks import combinations
from winnow.spaces import SPACES

PAGE = (Path(__file__).parents[2] / "docs/combinations.md").read_text(encoding="utf-8")


def test_the_page_has_the_table_of_selections():
    assert "\n".join(combinations.selections()) in PAGE


@pytest.mark.parametrize(
    ("searched", "space"),
    [("cream", "auto"), ("sandwich", "auto"), ("abs", "auto"), ("darts", "cream"), ("spos", "interactions")],
)
def test_some_that_run_do(searched, space):
    assert combinations.tried(searched, space) == "runs"


def test_a_network_as_it_stands_takes_no_mixture():
    assert "takes one of (4, 8, 12, 16) and no mixture of them" in combinations.tried("darts", "auto")


def test_channels_that_nobody_can_sort_are_said_before_anything_is_trained():
    assert "search.ofa.sort: false" in combinations.tried("ofa", "vit")


def test_a_network_that_holds_a_layer_in_two_places_is_morphed():
    assert 0 <= combinations.morphed("factorised") <= combinations.MOVES


@pytest.mark.slow
def test_the_page_has_the_table_of_spaces():
    assert "\n".join(combinations.spaces()) in PAGE
    assert all(f"`{name}`" in PAGE for name in SPACES)
