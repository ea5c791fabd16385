import itertools
import random

import pytest
import torch

from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.spaces import build
from winnow.spaces.graphs import graphs
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


def test_other_spaces_have_no_graph():
    with pytest.raises(Refused, match="no known cells"):
        graphs({"width": 3})
