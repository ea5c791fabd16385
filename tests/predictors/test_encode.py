import functools
import random

import numpy as np
import pytest
import torch

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.predictors.encode import ENCODINGS
from winnow.predictors.gcn import Gcn
from winnow.spaces import SPACES, build
from winnow.spaces.graphs import graphs
from winnow.spaces.nas_bench_201 import OPS, from_string
from winnow.spaces.nb101_cells import Cell, architecture
from winnow.tools.checking import SMALL as OPTIONS

CELL = from_string("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")


@pytest.fixture(scope="module")
def spaces():
    with torch.device("meta"):
        return {name: build(name, {}) for name in ("nas_bench_101", "nas_bench_201", "darts", "mobile")}


def encoded(space, name, *archs):
    return ENCODINGS[name](space.decisions, graphs)(archs)


def test_one_hot_marks_each_answer(spaces):
    (row,) = encoded(spaces["nas_bench_201"], "one_hot", CELL)
    assert row.reshape(6, 5).argmax(1).tolist() == [
        OPS.index(CELL[f"{n}<-{s}"]) for s, n in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    ]
    assert row.sum() == 6


def test_of_darts_the_kept_inputs_are_marked_and_what_is_out_of_reach_is_zero(spaces):
    arch = spaces["darts"].decide(uniform(random.Random(0)))
    (row,) = encoded(spaces["darts"], "one_hot", arch)
    assert row.sum() == 2 * (4 * 2 + 8)
    assert len(row) == 2 * (14 * 8 + 2 + 3 + 4 + 5)


def test_adjacency_of_a_fixed_wiring_is_one_hot_in_another_order(spaces):
    archs = [spaces["nas_bench_201"].decide(uniform(random.Random(i))) for i in range(5)]
    a, b = (encoded(spaces["nas_bench_201"], name, *archs) for name in ("adjacency", "one_hot"))
    assert np.array_equal(a @ a.T, b @ b.T)


def test_paths_by_hand(spaces):
    """Input to output: skip alone, and 3x3, 1x1, pool; 4 + 16 + 64 are possible."""
    (row,) = encoded(spaces["nas_bench_201"], "path", CELL)
    assert len(row) == 84
    skip, c1, c3, pool = range(4)  # without none
    assert np.flatnonzero(row).tolist() == [skip, 4 + 16 + 16 * c3 + 4 * c1 + pool]


def test_paths_do_not_see_dead_edges(spaces):
    dead = [from_string(f"|{op}~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|") for op in OPS]
    rows = encoded(spaces["nas_bench_201"], "path", *dead)
    assert (rows == rows[0]).all()


def test_paths_of_darts_tell_its_inputs_apart_and_a_long_chain_has_too_many(spaces):
    rows = encoded(spaces["darts"], "path", *(spaces["darts"].decide(uniform(random.Random(i))) for i in range(3)))
    assert rows.shape[1] == 2 * 2 * (7 + 7**2 + 7**3 + 7**4)
    arch = spaces["mobile"].decide(lambda d: d.values[0])
    with pytest.raises(Refused, match="path encoding would take"):
        encoded(spaces["mobile"], "path", arch)


@pytest.mark.parametrize(("name", "nodes", "kinds"), [("nas_bench_201", 8, 1), ("darts", 22, 2), ("mobile", 22, 1)])
def test_graphs_hold_who_feeds_whom_and_what_each_is(spaces, name, nodes, kinds):
    space = spaces[name]
    arch = space.decide(uniform(random.Random(0)))
    (graph,) = encoded(space, "graph", arch)
    feeds, features = graph[:, :nodes], graph[:, nodes:]
    assert graph.shape[0] == nodes
    assert not np.tril(feeds).any()
    assert features[:, :-kinds].sum(1).tolist() == [1] * nodes
    assert features[:, -kinds:].sum(1).tolist() == [1] * nodes
    assert feeds.sum() == sum(len(cell.on_nodes()[1]) for cell in graphs(arch).values())


SMALL = architecture(Cell(((0, 1), (1, 2), (0, 3), (2, 3)), ("conv1x1", "maxpool3x3")))
WRITTEN = {
    **SMALL,
    "cell/nodes": 5,
    "cell/3/input": 1,
    "cell/3/op": "conv3x3",
    "cell/4/input": 0,
    "cell/5/edges": ("2>4",),
}
WRITTEN = Architecture.of(
    {name: value for name, value in WRITTEN.items() if name != "cell/4/edges"}
)  # node 3 leads nowhere


def test_cells_of_nas_bench_101_by_hand(spaces):
    """Of four nodes: input, 1x1, pool, output, and the input leads to the output, too."""
    space = spaces["nas_bench_101"]
    space.check(WRITTEN)
    for name in ("adjacency", "path", "graph"):
        assert np.array_equal(*encoded(space, name, SMALL, WRITTEN)), "what leads nowhere does not show"
    (row,) = encoded(space, "path", SMALL)
    assert len(row) == 1 + 3 + 9 + 27 + 81 + 243  # the published length
    assert np.flatnonzero(row).tolist() == [0, 1 + 3 + 3 * 1 + 2]
    (row,) = encoded(space, "adjacency", SMALL)
    assert len(row) == 21 + 5 * 3
    above = list(zip(*np.triu_indices(7, 1), strict=True))
    assert {above[i] for i in np.flatnonzero(row[:21])} == {(0, 1), (1, 2), (0, 6), (2, 6)}
    assert np.flatnonzero(row[21:]).tolist() == [1, 3 + 2]
    (graph,) = encoded(space, "graph", SMALL)
    assert graph.shape == (7, 7 + 2 + 3 + 1)
    assert {(int(i), int(j)) for i, j in np.argwhere(graph[:, :7])} == {(0, 1), (1, 2), (0, 3), (2, 3)}
    assert graph[:4, 7:].sum(1).tolist() == [2] * 4
    assert not graph[4:].any()


def test_a_graph_network_is_blind_to_what_fills_a_graph_up(spaces):
    torch.manual_seed(0)
    (graph,) = encoded(spaces["nas_bench_101"], "graph", SMALL)
    network = Gcn(6)
    whole = torch.tensor(graph, dtype=torch.float32)[None]
    alone = torch.cat([whole[:, :4, :4], whole[:, :4, 7:]], 2)
    assert torch.allclose(network(whole), network(alone), atol=1e-6)


ONE_NUMBER = {"ofa", "vit", "multibranch"}  # of these a step is several numbers, or several operations
TOO_MANY = {"mobile", "detector", "ensemble"}
NO_GRAPH = {"interactions"}


@functools.cache
def small(of, opened=False):
    with torch.device("meta"):
        return build(of, {**OPTIONS.get(of, {}), **(OPENED.get(of, {}) if opened else {})})


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("of", SPACES)
def test_every_space_is_encoded_or_it_is_said_why_not(of, name):
    space = small(of)
    archs = [space.decide(lambda d, i=i: d.values[i]) for i in (0, -1, 0)]
    refused = of in NO_GRAPH or (name == "path" and of in ONE_NUMBER | TOO_MANY)
    if name != "one_hot" and refused:
        with pytest.raises(Refused, match=r"; take encoding one_hot|: take one_hot"):
            encoded(space, name, *archs)
        return
    first, last, again = encoded(space, name, *archs)
    assert np.isfinite(first).all()
    assert (first == again).all()
    assert (first != last).any()
    assert encoded(space, name, archs[1]).shape[1:] == first.shape, "whichever architectures are encoded together"


OF_BLOCKS = {
    "ofa": ({"unit1/block1/kernel": 5}, {"unit3/block2/ratio": 6}),
    "vit": ({"embedding": 64}, {"block1/heads": 3}, {"block2/ratio": 400}),
    "resnet": ({"stage1/block1/bits": "w4a4"}, {"stage4/block2/channels": 100}),
    "mobile": ({"block/3": "xception"}, {"block/19/channels": 100}),
    "multibranch": ({"stage1/cell1": ("lb5_t1",)}, {"stage5/cell1": ("lb3_t1", "lb3_t3")}),
    "macro": ({"block/7": "mb6_k5"},),
    "cream": ({"stage3/block1": "k7_e4"},),
    "ensemble": ({"layer2/shared": "mb3_k3"}, {"layer8/member2": "mb6_k5"}),
}
OPENED = {name: {"channels": [20, 100]} for name in ("resnet", "mobile")}


@pytest.mark.parametrize("name", ["graph", "described", "adjacency"])
@pytest.mark.parametrize("of", OF_BLOCKS)
def test_one_number_of_one_block_shows(of, name):
    space = small(of, opened=True)
    base = space.decide(lambda d: d.values[-1] if d.name.endswith("depth") else d.values[int(d.several)])
    others = [space.decide(lambda d, c=c: c.get(d.name, base.get(d.name, d.values[0]))) for c in OF_BLOCKS[of]]
    rows = encoded(space, name, base, *others, *others)
    for i in range(1, len(others) + 1):
        assert not np.array_equal(rows[0], rows[i])
        assert np.array_equal(rows[i], rows[i + len(others)])


@pytest.mark.parametrize("name", ["graph", "described", "adjacency"])
@pytest.mark.parametrize(
    ("of", "one", "other"),
    [
        ("ofa", {"unit2/block1/kernel": 7}, {"unit2/block2/kernel": 7}),
        ("vit", {"block1/heads": 4}, {"block2/heads": 4}),
        ("mobile", {"block/4": "xception"}, {"block/5": "xception"}),
        ("macro", {"block/2": "mb3_k3"}, {"block/4": "mb3_k3"}),
        ("resnet", {"stage2/block1/bits": "w4a4"}, {"stage3/block1/bits": "w4a4"}),
    ],
)
def test_which_block_it_is_of_matters(of, name, one, other):
    space = small(of)

    def with_(answers):
        return space.decide(lambda d: answers.get(d.name, d.values[-1 if d.name.endswith("depth") else 0]))

    assert not np.array_equal(*encoded(space, name, with_(one), with_(other)))


def test_what_an_open_depth_leaves_out_is_not_there():
    """Two blocks of one unit fewer: two nodes fewer, and nothing of theirs."""
    with torch.device("meta"):
        space = build("ofa", {})

    def deep(depth):
        return space.decide(lambda d: depth if d.name == "unit2/depth" else d.values[0])

    (short,), (long,) = graphs(deep(2)).values(), graphs(deep(4)).values()
    assert (len(short.ops), len(long.ops)) == (10, 12)
    assert short.words == tuple(long.words[i] for i in range(12) if i not in (4, 5))
    rows = encoded(space, "graph", deep(2), deep(4))
    assert [int(row[:, rows.shape[1] :].any(1).sum()) for row in rows] == [12, 14]
