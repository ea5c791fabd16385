"""search/additive: what adds up over decisions, and what does not."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from tests.contracts.space_cases import conditional, elastic
from tests.search.toys import cells
from winnow.core.choosers import uniform
from winnow.core.decision import Number
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.elastic import Conv
from winnow.measure.cost import bitops
from winnow.proxies.sizes import sizes_of
from winnow.search import additive
from winnow.search.additive import Sums, added, architecture, encoded, grouped, parts_of
from winnow.search.exact import optimum


def drawn(space: Space, n: int, seed: int = 0) -> list:
    rng = random.Random(seed)
    return [space.decide(uniform(rng)) for _ in range(n)]


def sums(space: Space, check: int = 10) -> tuple[Sums, object]:
    known = sizes_of(space, (1, 8, 8))
    parts = parts_of(space)
    first, each = added(space, parts, lambda a: [known(a)["params"], known(a)["macs"]], drawn(space, check, seed=9))
    return Sums(parts, each, first), known


@pytest.mark.parametrize("name", ["nas_bench_201", "ofa"])
def test_sizes_of_published_spaces_add_up_to_the_unit(name):
    space = cells(name)
    found, known = sums(space, 3)
    for arch in drawn(space, 5):
        assert found.total(arch).tolist() == [known(arch)["params"], known(arch)["macs"]]


def test_ratio_and_kernel_of_a_block_are_one_part_that_depths_open():
    space = cells("ofa")
    parts = {part.name: part for part in parts_of(space)}
    assert len(parts) == 5 * 3
    assert parts["unit1/depth"].after == ()
    second = parts["unit1/block2/ratio unit1/block2/kernel"]
    assert second.answers == ((2, 3), (2, 5), (3, 3), (3, 5))
    assert second.after == (("unit1/depth", 1),)
    assert parts["unit1/block1/ratio unit1/block1/kernel"].after == (("unit1/depth", 0), ("unit1/depth", 1))


def test_a_block_and_a_width_that_all_of_its_candidates_ask_are_one_part():
    def block(i: int) -> Choice:
        middle = Number.open(f"b{i}/channels", (1, 2, 3))
        candidates = {k: nn.Sequential(Conv(2, middle, k), nn.ReLU(), Conv(middle, 2)) for k in (1, 3)}
        return Choice(f"b{i}", candidates)

    space = Space(nn.Sequential(nn.Conv2d(1, 2, 1), block(0), block(1)))
    found, known = sums(space, 3)
    assert [part.decisions for part in found.parts] == [("b0", "b0/channels"), ("b1", "b1/channels")]
    assert len(found.parts[0].answers) == 2 * 3
    for arch in drawn(space, 5):
        assert found.total(arch).tolist() == [known(arch)["params"], known(arch)["macs"]]


def test_a_width_that_candidates_share_a_layer_for_stays_alone():
    shared = Conv(1, Number.open("width", (1, 2)))
    space = Space(nn.Sequential(Choice("c", {"plain": shared, "active": nn.Sequential(shared, nn.ReLU())})))
    assert [part.decisions for part in parts_of(space)] == [("c",), ("width",)]


def test_operations_on_bits_add_up_over_blocks_of_open_bits_and_widths():
    space = cells("resnet")
    known, parts = sizes_of(space, (1, 8, 8)), parts_of(space)
    first, each = added(space, parts, lambda a: [known(a)["bitops"]], drawn(space, 5))
    assert [len(part.answers) for part in parts] == [4] * 8
    for arch in drawn(space, 3, seed=1):
        assert Sums(parts, each, first).total(arch).tolist() == [bitops(space.derive(arch), (1, 8, 8))]


def test_what_a_subset_opens_is_asked_where_an_option_is_among_it():
    space = Space(
        nn.Sequential(
            Choice("n", {i: Choice(f"e{i}", {o: nn.Linear(i + 2, 2) for o in "ab"}) for i in range(3)}, pick=2)
        )
    )
    edge = next(part for part in parts_of(space) if part.name == "e2")
    assert edge.after == (("n", 1), ("n", 2))  # of (0, 1), (0, 2), (1, 2)


def test_architectures_are_encoded_by_their_answers_and_come_back():
    space = cells("ofa")
    parts = parts_of(space)
    archs = drawn(space, 20)
    x = encoded(parts, archs)
    assert set(np.unique(x)) == {0.0, 1.0}
    assert (x.sum(1) == [sum(part.place(arch) is not None for part in parts) for arch in archs]).all()
    for arch in archs:
        picks = {part.name: part.place(arch) for part in parts if part.place(arch) is not None}
        assert architecture(space, parts, picks) == arch


def test_an_optimum_over_parts_is_an_architecture_within_the_limits():
    space = cells("ofa")
    found, known = sums(space, 3)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=sum(len(part.answers) for part in found.parts))
    limit = np.array([known(a)["macs"] for a in drawn(space, 30)]).mean()
    left = [1e12, limit - found.first[1]]
    best = architecture(space, found.parts, optimum(grouped(found.parts, weights, found.each), left).picks)
    assert known(best)["macs"] <= limit
    others = [a for a in drawn(space, 100, seed=3) if known(a)["macs"] <= limit]
    assert (encoded(found.parts, [best]) @ weights)[0] > (encoded(found.parts, others) @ weights).max()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: conditional(3, 1), "sizes do not add up over the decisions of this space .*: select with evolution"),
        (lambda: elastic(3, 1), "is opened in several ways, so nothing adds up over it"),
    ],
)
def test_what_does_not_add_up_is_refused(make, sentence):
    with torch.random.fork_rng(), pytest.raises(Refused, match=sentence):
        sums(make(), 40)


def test_a_layer_of_too_many_answers_is_refused(monkeypatch):
    monkeypatch.setattr(additive, "MOST", 3)
    with pytest.raises(Refused, match="a layer holds 2 decisions together, with more than 3 answers"):
        parts_of(cells("ofa"))


def test_where_nothing_is_asked_for_answers_add_nothing_of_it():
    space = cells("ofa")
    parts = parts_of(space)
    first, each = added(space, parts, lambda arch: [], drawn(space, 2))
    assert first.shape == (0,)
    assert [table.shape for table in each] == [(len(part.answers), 0) for part in parts]
