"""NAS-Bench-101: hashes, parameters, channels and counts that the authors' code and table have."""

import itertools
import random

import pytest
import torch

from winnow.core.choosers import uniform
from winnow.measure.cost import params
from winnow.spaces.nas_bench_101 import nas_bench_101
from winnow.spaces.nb101_cells import (
    OPS,
    Cell,
    architecture,
    canonical,
    cell,
    cell_of,
    channels,
    fingerprint,
    identity,
    represent,
)

CONV3, CONV1, POOL = OPS
SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]  # two minutes of a processor


def wired(size, *edges, ops=None):
    matrix = [[int((i, j) in edges) for j in range(size)] for i in range(size)]
    return cell(matrix, ["input", *(ops or [CONV3] * (size - 2)), "output"])


# the first row of the published table, its hash and its parameters
FIRST = wired(
    *(7, (0, 1), (0, 4), (0, 5), (1, 2), (2, 3), (2, 6), (3, 5), (4, 5), (5, 6)),
    ops=["conv3x3-bn-relu", "maxpool3x3", "conv3x3-bn-relu", "conv3x3-bn-relu", "conv1x1-bn-relu"],
)
# the Inception-like cell of the authors' README, and as their table has it
INCEPTION = wired(
    *(7, (0, 1), (0, 2), (0, 3), (0, 5), (1, 6), (2, 6), (3, 4), (4, 6), (5, 6)), ops=[CONV1, CONV3, CONV3, CONV3, POOL]
)
TABLED = wired(
    *(7, (0, 1), (0, 2), (0, 3), (0, 4), (1, 6), (2, 6), (3, 6), (4, 5), (5, 6)), ops=[CONV3, CONV1, POOL, CONV3, CONV3]
)
LARGEST = wired(7, (0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6))
SMALLEST = wired(6, (0, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 5), (3, 5), (4, 5), ops=[POOL] * 4)


@pytest.fixture(scope="module")
def space():
    with torch.device("meta"):
        return nas_bench_101()


@pytest.mark.parametrize(
    ("of", "count"), [(FIRST, 8_555_530), (INCEPTION, 2_694_282), (LARGEST, 49_979_274), (SMALLEST, 227_274)]
)
def test_children_have_the_published_parameters(space, of, count):
    """The last two are the ends of the table; the smallest also by hand: a quarter of nine projections."""
    child = space.derive(architecture(of))
    assert params(child) == count
    assert (
        227_274
        == 3 * 128 * 9
        + 256
        + 5130
        + (3 * (128**2 + 256) + 128 * 256 + 512 + 2 * (256**2 + 512) + 256 * 512 + 1024 + 2 * (512**2 + 1024)) // 4
    )


def test_the_published_hash_and_the_published_order_of_nodes():
    assert fingerprint(FIRST) == "00005c142e6f48ac74fdcf73e3439874"
    assert canonical(FIRST) == FIRST
    assert fingerprint(INCEPTION) == fingerprint(TABLED)
    assert canonical(INCEPTION) == canonical(TABLED) == TABLED


def every(nodes):
    """Each cell of so many nodes in every order of them."""
    pairs = [(s, n) for n in range(nodes) for s in range(n)]
    for size in range(nodes - 1, 10):
        for edges in itertools.combinations(pairs, size):
            if len({s for s, _ in edges}) == len({n for _, n in edges}) == nodes - 1:
                yield from (Cell(edges, ops) for ops in itertools.product(OPS, repeat=nodes - 2))


def one_of_each(nodes):
    """Of all cells that differ in the order of their nodes the one whose edges, then operations, come first.

    A wiring is passed over as soon as an order of its nodes gives a smaller one; the orders that give it again are its
    symmetries, and under these its operations must come first.
    """
    pairs = [(s, n) for n in range(nodes) for s in range(n)]
    bit = {pair: 1 << i for i, pair in enumerate(pairs)}
    orders = [(0, *inner, nodes - 1) for inner in itertools.permutations(range(1, nodes - 1))]

    def first_with(edges):
        """The orders that give the same wiring, or none if one gives a smaller."""
        number, same = sum(bit[each] for each in edges), []
        for place in orders:
            if all(place[s] < place[n] for s, n in edges):
                moved = sum(bit[place[s], place[n]] for s, n in edges)
                if moved < number:
                    return []
                same += [place] if moved == number else []
        return same

    for size in range(nodes - 1, 10):
        for edges in itertools.combinations(pairs, size):
            if len({s for s, _ in edges}) == len({n for _, n in edges}) == nodes - 1:
                symmetries = first_with(edges)
                for ops in itertools.product(OPS, repeat=nodes - 2) if symmetries else ():
                    if all(ops <= tuple(ops[i - 1] for i in place[1:-1]) for place in symmetries):
                        yield Cell(edges, ops)


@pytest.mark.parametrize(
    ("nodes", "count"),
    [
        (2, 1),
        (3, 6),
        (4, 84),
        (5, 2441),
        *(pytest.param(*each, marks=SLOW) for each in [(6, 62_010), (7, 359_082)]),
    ],
)
def test_there_are_as_many_cells_as_published(nodes, count):
    """The authors' generate_graphs.py counts 1, 7, 91, 2,532, 64,542 and 423,624 up to 2 to 7 nodes."""
    found = {fingerprint(of) for of in one_of_each(nodes)}
    assert len(found) == count == sum(1 for _ in one_of_each(nodes))


@pytest.mark.parametrize("nodes", [2, 3, 4, 5, pytest.param(6, marks=SLOW)])
def test_one_of_each_is_every_cell_once(nodes):
    """Against the plain way, which hashes each cell in every order of its nodes: hours for seven of them."""
    assert {fingerprint(of) for of in one_of_each(nodes)} == {fingerprint(of) for of in every(nodes)}


def test_equal_cells_have_one_hash_and_one_order_and_others_have_not():
    found = {}
    for of in every(4):
        found.setdefault(fingerprint(of), set()).add(canonical(of))
    assert all(len(orders) == 1 for orders in found.values())
    assert len(set.union(*found.values())) == len(found) == 84


@pytest.mark.parametrize(
    ("of", "c_in", "c_out", "expected"),
    [  # of the authors' model_builder_test.py
        (wired(4, (0, 1), (1, 2), (2, 3)), 8, 16, (8, 16, 16, 16)),
        (wired(2, (0, 1)), 5, 1, (5, 1)),
        (wired(5, (0, 1), (0, 2), (1, 3), (2, 3), (3, 4)), 16, 8, (16, 8, 8, 8, 8)),
        (wired(4, (0, 1), (0, 2), (1, 3), (2, 3)), 8, 15, (8, 8, 7, 15)),
        (wired(5, (0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)), 8, 8, (8, 3, 3, 2, 8)),
        (wired(5, (0, 1), (1, 2), (1, 3), (2, 4), (3, 4)), 8, 9, (8, 5, 5, 4, 9)),
        (wired(5, (0, 1), (0, 3), (1, 2), (1, 4), (2, 3), (3, 4)), 8, 15, (8, 8, 7, 7, 15)),
    ],
)
def test_channels_are_split_as_published(of, c_in, c_out, expected):
    assert channels(of, c_in, c_out) == expected


def test_whatever_is_answered_is_a_cell_and_each_cell_is_an_answer(space):
    for i in range(300):
        arch = space.decide(uniform(random.Random(i)))
        of, one = cell_of(arch), represent(arch)
        assert len(of.edges) <= 9
        space.check(one)
        assert identity(one) == identity(arch) == fingerprint(of)
        assert represent(one) == one
    for of in itertools.islice(every(5), 0, None, 7):  # nine and eight edges among them
        space.check(architecture(of))
        assert cell_of(architecture(of)) == of


def test_nodes_that_no_way_passes_are_left_out():
    of = wired(7, (0, 1), (0, 2), (1, 6), (0, 3), (4, 6), (3, 5), ops=[CONV1, CONV3, CONV3, POOL, POOL])
    assert of == Cell(((0, 1), (1, 2)), (CONV1,))


@pytest.mark.parametrize(
    ("matrix", "ops", "message"),
    [
        ([[0] * 8] * 8, ["conv3x3"] * 8, "has 2 to 7 nodes, not 8"),
        ([[0, 1], [0]], ["input", "output"], "2 nodes takes 2 operations and 2 rows of 2"),
        ([[0, 1], [0, 0]], ["input"], "2 nodes takes 2 operations"),
        ([[0, 1], [1, 0]], ["input", "output"], "lead to later nodes"),
        ([[0, 2], [0, 0]], ["input", "output"], "of 0 and 1"),
        ([[0, 0], [0, 0]], ["input", "output"], "no way leads from the input"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv5x5", "output"], "operations conv3x3, .* not 'conv5x5'"),
        ([[int(i < j) for j in range(7)] for i in range(7)], ["conv3x3"] * 7, "has up to 9 edges, not 21"),
    ],
)
def test_what_is_no_cell_is_a_sentence(matrix, ops, message):
    with pytest.raises(ValueError, match=message):
        cell(matrix, ops)


def test_a_network_computes_what_its_cell_says():
    """By hand: node 1 feeds node 2 and the output, the input is projected to both and to the output."""
    torch.manual_seed(0)
    child = nas_bench_101(channels=5, cells=1, classes=3).derive(
        architecture(wired(4, (0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3), ops=[POOL, CONV1]))
    )
    module, x = child.eval()[1], torch.randn(2, 5, 6, 6)
    one = torch.nn.functional.max_pool2d(module.projections["1"](x), 3, 1, 1)
    two = module.ops[1](one[:, :2] + module.projections["2"](x))
    assert (one.shape[1], two.shape[1]) == (3, 2)
    assert torch.equal(module(x), torch.cat([one, two], 1) + module.projections["3"](x))


def test_a_narrow_cell_trains_the_first_channels_of_the_supernet_and_owns_a_child_of_its_own():
    space = nas_bench_101(channels=4, cells=1, classes=3)
    arch = architecture(wired(4, (0, 1), (0, 2), (1, 3), (2, 3), ops=[CONV1, CONV3]))
    parts = space.model[1].parts
    conv, norm, _ = parts.ops[0]["conv1x1"]
    space(torch.randn(2, 3, 6, 6), arch).sum().backward()
    assert norm.num_batches_tracked == 1
    assert (norm.running_var[:2] != 1).all()
    assert (norm.running_var[2:] == 1).all()
    assert conv.weight.grad[:2, :2].abs().sum() > 0
    assert conv.weight.grad[2:].abs().sum() == conv.weight.grad[:, 2:].abs().sum() == 0
    with torch.no_grad():
        child = space.derive(arch)
    own = child[1].ops[0][1]
    assert torch.equal(own.running_var, norm.running_var[:2])
    assert all(p.requires_grad and p.is_leaf for p in child.parameters())
    own.running_var.zero_()
    assert (norm.running_var != 0).all()


def test_options_are_checked():
    for options, message in [
        ({"nodes": (1, 7)}, "from 2 to 7"),
        ({"nodes": ()}, "nodes takes"),
        ({"cells": 0}, "cells"),
    ]:
        with pytest.raises(ValueError, match=message):
            nas_bench_101(**options)
    assert nas_bench_101(channels=2, cells=1, nodes=(7,)).count() == 720 * 243 * 1351


def test_evolution_knows_a_cell_by_one_answer_if_it_may_be_given(space):
    arch = next(
        a for a in (space.decide(uniform(random.Random(i))) for i in range(99)) if cell_of(a).nodes < a["cell/nodes"]
    )
    one, view = space.canonical(arch), space.within({"cell/nodes": [arch["cell/nodes"]]})
    assert one == represent(arch) != arch
    assert view.canonical(arch) == arch
    assert space.canonical(one) == one
