"""Rows dealt to clients: the KS statistic by hand, the published skews, and what cannot be dealt."""

import numpy as np
import pytest

from winnow.core.errors import Refused
from winnow.data.partition import apart, by_skew, held_out, ks, members, skew, windows

TEN = np.repeat(np.arange(10), 450)


def counts(owner, labels=TEN, classes=10):
    return np.stack([np.bincount(labels[rows], minlength=classes) for rows in members(owner)])


@pytest.mark.parametrize(
    ("p", "q", "found"),
    [
        ((0.5, 0.5, 0, 0), (0, 0, 0.5, 0.5), 1.0),
        ((0.5, 0.5, 0, 0), (0, 0.5, 0.5, 0), 0.5),
        ((0.5, 0.5, 0, 0), (0.5, 0.5, 0, 0), 0.0),
        ((0.5, 0, 0.5, 0), (0, 0.5, 0, 0.5), 0.5),  # disjoint, and the order of the classes hides it
    ],
)
def test_ks_is_the_largest_gap_of_cumulated_shares(p, q, found):
    assert ks(np.array([p, q]))[0, 1] == found


def test_windows_have_the_published_skews():
    """Computed from the definition for five clients and ten classes; 4 wide is the 0.65 of Split-2."""
    found = [round(skew(windows(5, 10, width)), 3) for width in range(2, 11)]
    assert found == [1.0, 0.733, 0.65, 0.5, 0.433, 0.314, 0.25, 0.111, 0.0]


@pytest.mark.parametrize("wanted", [0.0, 0.3, 0.65, 0.9, 1.0])
def test_every_row_is_dealt_once_and_the_skew_is_as_wanted(wanted):
    owner = by_skew(TEN, 10, 5, wanted, np.random.default_rng(0))
    assert counts(owner).sum(0).tolist() == [450] * 10
    assert counts(owner).sum(1).tolist() == [900] * 5
    assert abs(skew(counts(owner)) - wanted) <= 0.02
    assert np.array_equal(owner, by_skew(TEN, 10, 5, wanted, np.random.default_rng(0)))


def test_of_split_2_each_client_has_four_classes():
    assert (counts(by_skew(TEN, 10, 5, 0.65, np.random.default_rng(0))) > 0).sum(1).tolist() == [4] * 5


def test_uneven_classes_reach_it_too():
    labels = np.repeat(np.arange(7), [30, 200, 90, 120, 60, 300, 45])
    owner = by_skew(labels, 7, 4, 0.4, np.random.default_rng(1))
    assert abs(skew(counts(owner, labels, 7)) - 0.4) <= 0.02
    assert len(owner) == len(labels)


def test_clients_share_a_class_where_there_are_more_of_them():
    assert apart(4, 2).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert skew(apart(4, 2)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("rows", "clients", "wanted", "said"),
    [
        (200, 4, 0.9, "skew 0.9 is out of reach: 4 clients of these 2 classes have 0.00 to 0.67"),
        (4, 7, 0.5, "client . of 7 would have no row of 4, as each class .*: take fewer clients"),
        (6, 2, 0.5, "skew 0.5 is not reached: with 6 rows the nearest of 2 clients is 0.333"),
    ],
)
def test_what_cannot_be_dealt_is_one_sentence(rows, clients, wanted, said):
    with pytest.raises(Refused, match=said):
        by_skew(np.arange(rows) % 2, 2, clients, wanted, np.random.default_rng(0))


def test_each_client_holds_rows_of_its_own_out():
    parts = held_out([np.arange(10), np.arange(10, 12)], 0.2, np.random.default_rng(0))
    assert [(len(train), len(held)) for train, held in parts] == [(8, 2), (1, 1)]
    for rows, (train, held) in zip((range(10), range(10, 12)), parts, strict=True):
        assert sorted([*train, *held]) == list(rows)


def test_one_client_and_a_client_of_one_row_are_refused():
    with pytest.raises(Refused, match="there is one client: federated training takes two or more"):
        held_out([np.arange(5)], 0.1, np.random.default_rng(0))
    with pytest.raises(Refused, match=r"client 1 of 2 has 1 row\(s\), and takes one to train on and one to be judged"):
        held_out([np.arange(5), np.arange(1)], 0.1, np.random.default_rng(0))
