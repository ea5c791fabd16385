"""Selection finalists: what evolution ranks first is trained alone, and that decides."""

import random

import pytest
import torch
from torch import nn

from tests.search.toys import CLASSES, cells, images
from tests.splits import image_split
from winnow.config.methods import selection
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.search.bench import Bench
from winnow.search.costs import Costs
from winnow.search.selections.evolution import by_evolution
from winnow.search.selections.finalists import by_finalists, different
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import generator
from winnow.train.watch import Watch

SIZES = {"population": 6, "generations": 1, "parents": 3}
LABELS = images(12)[1]
PIXELS = torch.randint(256, (12, 1, 8, 8), generator=generator(0)).to(torch.uint8)


class Right(nn.Module):
    """Answers the first `right` of the rows as they are labelled, the others with another class."""

    def __init__(self, right: int):
        super().__init__()
        self.right = right

    def forward(self, x):
        given = torch.where(torch.arange(len(x)) < self.right, LABELS, (LABELS + 1) % CLASSES)
        return nn.functional.one_hot(given, CLASSES).float()


def bench(right=lambda arch: 0, **given) -> tuple[Bench, list[tuple[Architecture, int]]]:
    """A bench whose networks, trained alone, answer as many rows as `right` says; and a list of those that were."""
    asked = []

    def trained(arch, epochs, watch: Watch, label):
        asked.append((arch, epochs))
        return Right(right(arch))

    split = image_split(PIXELS, LABELS, [str(i) for i in range(CLASSES)])
    splits = {"weights": split}
    space = cells("nas_bench_201")
    return Bench(space, 3, splits=splits, judged=split, batch=12, calibration_images=8, trained=trained, **given), asked


def test_those_that_evolution_ranks_first_are_trained_and_the_best_of_them_is_chosen():
    _, rows = by_evolution(bench()[0], **SIZES)
    order = [row["option"] for row in rows]
    asked_for = order[2]
    given, asked = bench(lambda arch: 9 if arch.digest == asked_for else 4)
    best, evidence = by_finalists(given, count=4, epochs=7, **SIZES)
    assert [(arch.digest, epochs) for arch, epochs in asked] == [(digest, 7) for digest in order[:4]]
    assert best.digest == asked_for
    assert [row["option"] for row in evidence if row["kept"]] == [asked_for]
    assert [round(row["accuracy"], 2) for row in evidence[-4:]] == [33.33, 33.33, 75.0, 33.33]
    assert evidence[:-4] == [{**row, "kept": False} for row in rows]


def test_of_equals_the_one_that_inherits_most_is_chosen():
    first, _ = by_evolution(bench()[0], **SIZES)
    assert by_finalists(bench()[0], count=3, **SIZES)[0] == first


def test_architectures_that_are_one_network_are_one_finalist():
    """Nothing reaches node 1, so that what leaves it makes no difference; what leaves node 2 does."""
    reached = {"1<-0": "none", "2<-0": "nor_conv_3x3", "3<-0": "skip_connect", "3<-2": "avg_pool_3x3"}
    first, again, also, other = (
        Architecture.of({**reached, "2<-1": unheard[0], "3<-1": unheard[1], **heard})
        for unheard, heard in (
            (("nor_conv_3x3", "skip_connect"), {}),
            (("none", "avg_pool_3x3"), {}),
            (("skip_connect", "nor_conv_1x1"), {}),
            (("nor_conv_3x3", "skip_connect"), {"3<-2": "skip_connect"}),
        )
    )
    assert different(bench()[0], [first, again, also, other], 2) == [first, other]
    assert different(bench()[0], [first, again, also, other], 1) == [first]
    assert different(bench()[0], [other, again], 4) == [other, again]


def test_limits_hold():
    draws = random.Random(0)
    allowed = {}

    def within(arch):
        return allowed.setdefault(arch.digest, draws.random() < 0.5)

    given, asked = bench(allowed=within)
    by_finalists(given, count=3, **SIZES)
    assert len(asked) == 3
    assert all(allowed[arch.digest] for arch, _ in asked)
    assert not all(allowed.values())


def test_stopped_between_two_it_trains_none_again():
    state, finished = {}, []

    def right(arch):
        return int(arch.digest, 16) % 12

    def stops(arch):
        if len(finished) == 2:
            given.keeper.due()
            raise KeyboardInterrupt
        finished.append(arch)
        return right(arch)

    whole, evidence = by_finalists(bench(right)[0], count=4, **SIZES)
    given, _ = bench(stops, keeper=Keeper(state.update))
    with pytest.raises(KeyboardInterrupt):
        by_finalists(given, count=4, **SIZES)
    begun, left = bench(right, keeper=Keeper(found=state))
    assert by_finalists(begun, count=4, **SIZES) == (whole, evidence)
    assert [arch.digest for arch, _ in left] == [row["option"] for row in evidence[-2:]]


def test_it_takes_the_options_of_evolution_and_a_plan_counts_both():
    record, evolution = (selection(name) for name in ("finalists", "evolution"))
    assert {**evolution.options(), **record.options()} == record.options()
    assert {"count", "epochs"} == record.options().keys() - evolution.options().keys()
    costs = Costs(cells(), 10, 20, 2, 1.0, lambda: 1.0, lambda: 1.0, rows=5)
    given = {"count": 2, "epochs": 3, "population": 7, "generations": 1, "parents": 3, "mutation": 0.1}
    assert record.expected(costs, given) == 7 * 2 * (10 + 20) + 2 * 3 * 5 * 3


def test_a_bench_that_trains_nothing_alone_says_so():
    given, _ = bench()
    with pytest.raises(Refused, match="trains no networks alone"):
        by_finalists(
            Bench(given.space, 3, splits=given.splits, judged=given.judged, batch=12, calibration_images=8), **SIZES
        )
