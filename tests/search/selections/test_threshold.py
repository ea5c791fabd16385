"""search.selections.threshold: what is left out, and what is only too light."""

import pytest
import torch
from torch import nn

from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.bench import Bench
from winnow.search.relax import Logits
from winnow.search.selections.threshold import by_threshold, threshold


def space(*decisions: str, options: tuple[str, ...] = ("skip", "none", "b", "c")) -> Space:
    return Space(nn.Sequential(*(Choice(name, {o: nn.Identity() for o in options}) for name in decisions)))


def test_what_weighs_no_more_than_the_even_share_is_left_out():
    even, above = torch.full((4,), 0.25), torch.tensor([0.24, 0.25, 0.25, 0.26])
    found = threshold(space("x", "y", "z"), {"x": even, "y": above, "z": even - 0.1})
    assert dict(found) == {"x": "none", "y": "c", "z": "none"}


@pytest.mark.parametrize(("least", "kept"), [(0.4, "b"), (0.5, "none"), (0.6, "none"), (0.0, "b")])
def test_the_least_itself_is_too_little(least, kept):
    weights = {"x": torch.tensor([0.2, 0.1, 0.5, 0.2])}
    assert dict(threshold(space("x"), weights, least)) == {"x": kept}


def test_a_least_of_nothing_leaves_out_what_is_shut():
    assert dict(threshold(space("x"), {"x": torch.zeros(4)}, 0.0)) == {"x": "none"}


def test_where_nothing_cannot_be_taken_the_heaviest_stays():
    made = space("x", options=("a", "b", "c"))
    assert dict(threshold(made, {"x": torch.tensor([0.1, 0.3, 0.2])}, 0.9)) == {"x": "b"}


def test_a_subset_keeps_the_heaviest_inside_whether_these_are_open_or_not():
    """Of three candidates, each a choice that may be nothing, two stay; one of these is shut."""

    def inner(name: str) -> Choice:
        return Choice(name, {"none": nn.Identity(), "on": nn.Identity()})

    made = Space(Choice("node", {i: inner(f"in{i}") for i in range(3)}, pick=2))
    gates = {"in0": torch.tensor([0.0, 0.3]), "in1": torch.tensor([0.0, 0.2]), "in2": torch.tensor([0.0, 0.9])}
    found = threshold(made, gates, 0.5)
    assert found["node"] == (0, 1)  # what is shut weighs 1 for nothing
    assert {found["in0"], found["in1"]} == {"none"}
    alone = threshold(made, {name: gate + 0.5 for name, gate in gates.items()}, 0.5)
    assert dict(alone) == {"node": (0, 2), "in0": "on", "in2": "on"}


@pytest.mark.parametrize(
    ("closed", "least", "kept"),
    [(None, None, "b"), (0.5, None, "none"), (0.5, 0.3, "b"), (0.5, 0.0, "b"), (None, 0.5, "none"), (0.1, 0.5, "none")],
)
def test_unless_it_is_given_the_least_is_where_the_search_closes(closed, least, kept):
    made = space("x")
    logits = Logits(made, torch.Generator().manual_seed(0), scale=0.0)
    weights = {"x": torch.tensor([0.2, 0.1, 0.4, 0.3])}
    bench = Bench(made, 0, logits=logits, relax=lambda logits: weights, closed=closed)
    arch, rows = by_threshold(bench, **({} if least is None else {"least": least}))
    assert (dict(arch), rows) == ({"x": kept}, [])
