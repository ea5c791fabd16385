"""DARTS: sizes published with the paper, its code, and Zela et al. 2020 for the restricted sets."""

import functools

import pytest
import torch

from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.measure.cost import params
from winnow.spaces.darts import OPS, darts

# the released cells: per node, two (operation, source); nodes 2 to 5
SHORT = {"s3": "sep_conv_3x3", "sk": "skip_connect", "d3": "dil_conv_3x3", "mp": "max_pool_3x3", "ap": "avg_pool_3x3"}
V1 = {
    "normal": "s3-1 s3-0, sk-0 s3-1, sk-0 s3-1, s3-0 sk-2",
    "reduce": "mp-0 mp-1, sk-2 mp-0, mp-0 sk-2, sk-2 ap-0",
}
V2 = {
    "normal": "s3-0 s3-1, s3-0 s3-1, s3-1 sk-0, sk-0 d3-2",
    "reduce": "mp-0 mp-1, sk-2 mp-1, mp-0 sk-2, sk-2 mp-1",
}
ALL_SEP = {kind: "s3-0 s3-1, s3-0 s3-1, s3-0 s3-1, s3-0 s3-1" for kind in ("normal", "reduce")}


def published(cells: dict[str, str]) -> Architecture:
    choices: dict[str, object] = {}
    for kind, nodes in cells.items():
        for node, pairs in enumerate(nodes.split(", "), start=2):
            edges = {int(source): SHORT[op] for op, source in (pair.split("-") for pair in pairs.split())}
            choices[f"{kind}/{node}"] = sorted(edges)
            choices.update({f"{kind}/{node}/{source}": op for source, op in edges.items()})
    return Architecture.of(choices)


@functools.cache
def ghost(**options) -> Space:
    with torch.device("meta"):  # sizes need no memory
        return darts(**options)


@pytest.mark.parametrize(
    ("options", "count"), [({}, 1_930_618), ({"none": False}, 1_930_618), ({"layers": 20}, 4_548_730)]
)
def test_the_supernet_has_the_published_size(options, count):
    assert params(ghost(**options)) == count


@pytest.mark.parametrize(
    ("cells", "classes", "count"),
    [(V1, 10, 3_169_414), (V2, 10, 3_349_342), (ALL_SEP, 10, 4_701_718), (ALL_SEP, 100, 4_753_648)],
    ids=["V1", "V2", "all sep, CIFAR-10", "all sep, CIFAR-100"],
)
def test_a_retrained_network_has_the_published_size(cells, classes, count):
    child = ghost(channels=36, layers=20, classes=classes, final=True, auxiliary=True).derive(published(cells))
    auxiliary = params(child.auxiliary)
    assert params(child) - auxiliary == count
    assert auxiliary == 476_426 + 769 * (classes - 10)


def test_the_space_has_the_published_number_of_cells():
    per_cell = 1_037_664_180  # of 2, 3, 4 and 5 incoming edges keep two, each with one of seven operations
    assert ghost().count() == per_cell**2
    assert len(OPS) == 8


def test_reductions_are_at_a_third_and_two_thirds():
    for space, expected in [(ghost(), [2, 5]), (ghost(layers=20), [6, 13])]:
        cells = space.model.cells
        assert [i for i, cell in enumerate(cells) if cell.nodes[0].decision.group == "reduce"] == expected


S1 = {
    "normal": "sk/d3, sk/d5, sk/d5, sk/s3, sk/d3, mp/sk, sk/s3, sk/s3, sk/d3, sk/s3, mp/sk, sk/d3, d3/d5, d3/d5",
    "reduce": "mp/ap, mp/d3, mp/ap, mp/ap, sk/d5, mp/ap, mp/s3, sk/d3, sk/d5, mp/ap, mp/ap, sk/d5, sk/d5, sk/d5",
}


@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_s1_has_its_published_candidates_on_every_edge(kind):
    space, names = ghost(candidates="s1"), {**SHORT, "d5": "dil_conv_5x5"}
    edges = [f"{kind}/{node}/{source}" for node in (2, 3, 4, 5) for source in range(node)]
    found = [space.decisions[edge].options for edge in edges]
    assert found == [tuple(names[short] for short in pair.split("/")) for pair in S1[kind].split(", ")]


@pytest.mark.parametrize(
    ("candidates", "options", "values"),
    [
        ("s2", ("skip_connect", "sep_conv_3x3"), ("skip_connect", "sep_conv_3x3")),
        ("s3", ("none", "skip_connect", "sep_conv_3x3"), ("skip_connect", "sep_conv_3x3")),
        ("s4", ("noise", "sep_conv_3x3"), ("noise", "sep_conv_3x3")),
        ("darts", OPS, OPS[1:]),
    ],
)
def test_the_restricted_sets_have_their_published_candidates(candidates, options, values):
    edges = [d for d in ghost(candidates=candidates).decisions.values() if d.pick == 1]
    assert len(edges) == 28
    assert {(d.options, d.values) for d in edges} == {(options, values)}
