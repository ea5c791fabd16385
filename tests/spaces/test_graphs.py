import copy
import functools
import itertools
import random

import pytest
import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.predictors.tg_nas import tensors
from winnow.spaces import build
from winnow.spaces.chains import in_a_row
from winnow.spaces.graphs import graphs, graphs_of
from winnow.spaces.nas_bench_201 import from_string
from winnow.spaces.nb201_classes import effective


def random_of(name: str):
    with torch.device("meta"):
        return build(name, {}).decide(uniform(random.Random(0)))


def test_a_cell_of_nas_bench_201_and_its_live_edges():
    arch = from_string("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")
    (cell,) = graphs(arch).values()
    assert cell.edges[3] == (0, 3, "nor_conv_1x1")
    assert cell.live() == ((0, 3, "nor_conv_1x1"),)


def test_liveness_is_the_one_of_the_published_classes():
    rng = random.Random(1)
    with torch.device("meta"):
        space = build("nas_bench_201", {})
    for _ in range(200):
        arch = space.decide(uniform(rng))
        kept = from_string(effective(arch))
        assert {f"{n}<-{s}" for s, n, _ in graphs(arch)["cell"].live()} == {k for k, v in kept.items() if v != "none"}


def test_darts_has_two_cells_of_eight_edges():
    arch = random_of("darts")
    found = graphs(arch)
    assert sorted(found) == ["normal", "reduce"]
    for kind, cell in found.items():
        assert len(cell.edges) == 8
        assert all(arch[f"{kind}/{node}/{source}"] == op for source, node, op in cell.edges)
        names, _ = cell.on_nodes()
        assert len(names) == 11


def test_mobile_is_a_chain():
    (chain,) = graphs(random_of("mobile")).values()
    assert len(list(chain.paths())) == 1
    assert len(chain.edges) == 20


def test_cream_is_a_chain_stage_by_stage():
    arch = random_of("cream")
    (chain,) = graphs(arch).values()
    names = [
        f"stage{s}/block{b}" for s, b in itertools.product(range(1, 9), range(1, 9)) if f"stage{s}/block{b}" in arch
    ]
    assert [op for _, _, op in chain.edges] == [arch[name] for name in names]
    assert len(names) == len(arch)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({"width": 3}, "of a network of your own it is known which numbers are open, and not what feeds what"),
        ({"layer1/0/kernel": 3, "layer1/depth": 2}, "and not what feeds what; take encoding one_hot"),
        ({"branches": ("inner",), "fusion": "sum"}, "branches over the fields of a table"),
        ({"colour": "red"}, r"no known cells: .*one of yours says what feeds what with space\.graphs"),
        ({}, r"\(none\)… has no known cells"),
    ],
)
def test_other_spaces_have_no_graph_and_it_is_said_why(arch, message):
    with pytest.raises(Refused, match=message):
        graphs(arch)


def test_a_space_of_your_own_says_what_feeds_what_and_what_its_options_are():
    names = [f"part/{i}" for i in (2, 0, 1)]
    space = Space(nn.Sequential(*(Choice(name, {"a": nn.ReLU(), "b": nn.Tanh(), "c": nn.GELU()}) for name in names)))
    arch = Architecture.of({"part/0": "a", "part/1": "b", "part/2": "c"})
    with pytest.raises(Refused, match="no known cells"):
        graphs_of(space)(arch)
    space.graphs = functools.partial(in_a_row, names)
    assert graphs_of(space)(arch)["chain"].ops == ("c", "a", "b")
    space.descriptions = {"a": "ReLU", "b": "convolution 9 by 9"}
    for each in (space, copy.deepcopy(space), space.within({"part/0": ["a"]})):
        assert graphs_of(each)(arch)["chain"].words == ("", "ReLU", "convolution 9 by 9")
    with pytest.raises(Refused, match="no description of operation 'c'"):
        tensors([graphs_of(space)(arch)])
    space.descriptions = {**space.descriptions, "c": "identity"}
    assert tensors([graphs_of(space)(arch)]).shape[1] == 3 + 2 + 1


def test_blocks_of_your_own_that_are_named_like_those_of_winnow_are_a_chain():
    (chain,) = graphs({"block/0": "mine", "block/10": "conv3x3", "block/9": "yours"}).values()
    assert chain.ops == ("mine", "yours", "conv3x3")
    assert chain.words[:2] == ("", "")


def test_cells_with_branches_side_by_side():
    """Two operations and the input in the first cell, nothing but the input in the second, one in the third."""
    cells = {"stage1/cell1": ("lb3_t1", "lb5_t1"), "stage2/cell1": ("lb3_t3",), "stage2/cell2": ()}
    cells["stage5/cell1"] = ("lb5_t1",)
    (chain,) = graphs(cells).values()
    assert chain.edges == (
        *((0, 1, op) for op in ("lb3_t1", "lb5_t1", "identity")),
        (1, 2, "lb3_t3"),
        (2, 3, "identity"),
        (3, 4, "lb5_t1"),
    )
    names, feeds = chain.on_nodes()
    assert {(1, 4), (2, 4), (3, 4), (4, 5)} < set(feeds)
    assert len(names) == 8


def test_members_of_an_ensemble_go_their_own_ways():
    split = {"split": 2, "layer1/shared": "skip", "layer2/shared": "mb3_k3", "layer3/member1": "mb6_k5"}
    (chain,) = graphs({**split, "layer3/member2": "identity"}).values()
    names, feeds = chain.on_nodes()
    assert names == ("input", "skip", "mb3_k3", "mb6_k5", "identity", "output")
    assert feeds == ((0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 5))


def test_tables_without_a_space_are_drawn():
    mnas = {f"block{i}/{name}": 1 for i in range(7) for name in ("expansion", "layers", "excite")}
    (chain,) = graphs({**mnas, **{f"block{i}/kernel": 3 for i in range(7)}, "block2/layers": 3}).values()
    assert len(chain.ops) == 9
    (chain,) = graphs({f"layer/{i:02}": "skip" if i else "k5_e6" for i in range(22)}).values()
    assert chain.words[0].startswith("bottleneck of expansion 6, depthwise convolution 5 by 5")
    pit = {"width": 16, "mlp_ratio": "2.5", **{f"depth/{i:02}": i + 1 for i in range(3)}}
    (chain,) = graphs({**pit, **{f"num_heads/{i:02}": 2 + i for i in range(3)}}).values()
    assert list(chain.ops[:2]) == ["heads 2, ratio 2.5", "heads 3, ratio 2.5"]
    assert chain.words[5] == "attention of 4 heads, MLP of ratio 2.5, 64 channels at 1/32 of the image"
