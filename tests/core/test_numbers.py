"""core.decision: subsets of any size, and numbers that follow from decisions."""

import itertools

import pytest

from winnow.core.decision import Decision, Number, Subsets


@pytest.mark.parametrize(("n", "least", "most"), [(5, 1, 3), (4, 2, 2), (3, 1, 3), (1, 1, 1)])
def test_subsets_are_found_by_their_place_and_places_by_the_subset(n, least, most):
    subsets = Subsets(tuple("abcde"[:n]), least, most)
    sizes = range(least, most + 1)
    expected = list(itertools.chain.from_iterable(itertools.combinations("abcde"[:n], size) for size in sizes))
    assert list(subsets) == expected == [subsets[i] for i in range(len(subsets))]
    assert [subsets.index(value) for value in expected] == list(range(len(expected)))
    assert subsets[-1] == expected[-1]
    assert subsets[1:3] == tuple(expected[1:3])
    assert all(value in subsets for value in expected)
    for foreign in (("b", "a"), ("a", "a"), ("z",), (), "a", ["a"], None):
        assert foreign not in subsets
    with pytest.raises(IndexError):
        subsets[len(subsets)]
    with pytest.raises(ValueError, match="none of the subsets"):
        subsets.index(("b", "a"))


def test_millions_of_subsets_are_counted_and_drawn_without_a_list():
    d = Decision("cell", tuple(range(27)), pick=27, least=1)
    assert len(d.values) == 2**27 - 1
    assert d.values.index(d.values[123_456_789]) == 123_456_789


@pytest.mark.parametrize(("pick", "least"), [(2, 3), (2, -1), (0, None), (0, 1), (4, 1), (4, 0)])
def test_sizes_that_cannot_be_picked_are_refused(pick, least):
    with pytest.raises(ValueError, match="'x'"):
        Decision("x", ("a", "b", "c"), pick, least=least)


def test_a_narrower_decision_keeps_its_order_and_its_kind():
    d = Decision("x", ("a", "b", "c", "none"), mixture_only=("none",))
    assert d.within(["c", "a"]) == Decision("x", ("a", "c"))
    assert d.within(["none", "b"]).mixture_only == ("none",)
    assert Decision("x", tuple("abcd"), 3, least=1).within("ad") == Decision("x", ("a", "d"), 2, least=1)
    with pytest.raises(ValueError, match="cannot pick 2"):
        Decision("x", tuple("abc"), 2).within("a")
    with pytest.raises(ValueError, match="no option 'z'"):
        d.within("az")


def test_a_number_follows_from_its_decision_and_so_do_its_maps():
    ratio = Number.open("b/ratio", (3, 4, 6))
    middle = ratio.map(lambda r: 8 * r).map(lambda c: c + 1)
    assert (middle.values, middle.largest, middle.decisions) == ((25, 33, 49), 49, ratio.decisions)
    assert middle.of({"b/ratio": 4, "another": "x"}) == 33
    assert Number.fixed(7).values == (7,)
    with pytest.raises(ValueError, match="whole numbers"):
        Number.open("k", ("small", "large")).largest  # noqa: B018
