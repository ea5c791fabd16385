"""search.selections.prune: FreeNAS as a selection: what it is told, and what it tells."""

from collections.abc import Callable

import pytest
from torch import nn

from tests.search.benches import Counting
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.bench import Bench
from winnow.search.freenas import freenas
from winnow.search.selection import selection_of
from winnow.search.selections.prune import by_pruning
from winnow.train.seeds import generator

SHAPE = (2, 4, 4)


def space() -> Space:
    """A choice of one among three and a subset of two among four; 2 + 2 options have to go."""

    def convolutions(count: int) -> dict[int, nn.Module]:
        return {i: nn.Conv2d(2, 2, 1 + 2 * (i % 2), padding=i % 2) for i in range(count)}

    made = Space(nn.Sequential(Choice("one", convolutions(3)), Choice("two", convolutions(4), pick=2)))
    made.example = SHAPE
    return made


def plain(seed: int, random_alpha: bool, load: Callable | None = None):
    return freenas(space(), SHAPE, generator(seed, "prune"), random_alpha=random_alpha, load=load)


def test_it_shows_a_step_for_each_option_that_goes():
    watch = Counting()
    by_pruning(Bench(space(), 3, shown=watch.shown))
    assert watch.told == [("select (prune)", 4), 1, 1, 1, 1]


@pytest.mark.parametrize(("options", "random_alpha"), [({}, False), ({"random_alpha": True}, True)])
def test_its_evidence_is_that_of_freenas_by_its_own_seed(options, random_alpha):
    arch, rows = by_pruning(Bench(space(), 3), **options)
    expected, removed = plain(3, random_alpha)
    assert arch == expected
    assert [(row["event"], row["decision"], row["option"], row["score"], row["kept"]) for row in rows] == [
        (each.event, each.decision, str(each.option), each.score, each.kept) for each in removed
    ]
    assert [each.score for each in removed] != [each.score for each in plain(3, not random_alpha)[1]]
    assert [each.score for each in removed] != [each.score for each in plain(4, random_alpha)[1]]


def test_limits_are_kept():
    free = by_pruning(Bench(space(), 3))[0]["one"]

    def load(arch):
        return 2.0 if arch["one"] == free else 0.5

    assert by_pruning(Bench(space(), 3, load=load))[0]["one"] != free


def test_limits_on_whole_networks_are_refused_before_anything_is_pruned():
    with pytest.raises(Refused, match=r"'prune' adds up what single answers cost.*\(max_ram_kib 9\)"):
        by_pruning(Bench(space(), 3, whole="max_ram_kib 9"))


def test_what_it_asks_for():
    record = selection_of(by_pruning)
    assert (record.needs, record.keeps_limits, record.sums) == ("initialised", True, True)
