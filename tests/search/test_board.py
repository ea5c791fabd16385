"""search.board: what is asked and what is kept; by which rule a path is taken is in methods/test_cream.py."""

import pytest
import torch

from winnow.core.architecture import Architecture
from winnow.search.board import Board, Entry


def path(name: str) -> Architecture:
    return Architecture.of({"a": name})


def entry(name: str, score: float, macs: float) -> Entry:
    return Entry(path(name), score, macs, torch.tensor([score]), torch.tensor([macs]))


def board(size: int, *entries: Entry) -> Board:
    made = Board(size, 2.0)
    for each in entries:
        made.add(each)
    return made


def names(of: Board) -> list:
    return [each.architecture["a"] for each in of.entries]


def test_a_board_counts_its_entries_and_takes_whatever_comes_until_it_is_full():
    made, asked = Board(2, 2.0), []
    for count, name in enumerate("xy"):
        assert len(made) == count
        assert made.admits(path(name), -99.0, asked.append)
        made.add(entry(name, -99.0, 1.0))
    assert len(made) == 2
    assert not made.admits(path("z"), -99.0, asked.append)
    assert asked == []


@pytest.mark.parametrize(
    ("score", "macs", "taken", "asked"),
    [(5.0, 1, False, 0), (5.1, 6, True, 1), (5.1, 7, False, 1), (7.0, 8, False, 1), (7.1, 8, True, 0)],
)
def test_what_a_path_costs_is_asked_only_where_it_decides(score, macs, taken, asked):
    told = []
    full = board(2, entry("x", 9.0, 3.0), entry("y", 5.0, 7.0))
    assert full.admits(path("z"), score, lambda arch: told.append(arch) or float(macs)) is taken
    assert told == [path("z")] * asked


def test_the_best_comes_first_and_of_equals_the_cheaper_after_scores_have_changed_too():
    made = board(3, entry("x", 1.0, 1.0), entry("y", 3.0, 9.0), entry("z", 3.0, 8.0))
    assert names(made) == ["z", "y", "x"]
    made.entries[2].score = 4.0
    made.sort()
    assert names(made) == ["x", "z", "y"]
    made.add(entry("n", 3.5, 0.0))
    assert names(made) == ["x", "n", "z"]


def test_a_board_comes_back_with_its_paths_and_what_they_answered():
    made, other = board(3, entry("x", 1.0, 2.0), entry("y", 3.0, 9.0)), Board(3, 2.0)
    told = made.state()
    assert told[0]["architecture"] == {"a": "y"}
    other.restore(told)
    assert names(other) == ["y", "x"]
    assert not other.admits(path("x"), 99.0, lambda arch: 0.0), "it is there already"
    assert [(each.x.item(), each.answers.item()) for each in other.entries] == [(3.0, 9.0), (1.0, 2.0)]
