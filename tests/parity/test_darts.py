"""DARTS: sizes published with the paper, its code, and Zela et al. 2020 for the restricted sets."""

import functools

import pytest
import torch

from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.measure.cost import macs, params
from winnow.spaces.darts import OPS, darts

# the released cells: per node, two (operation, source); nodes 2 to 5
SHORT = {
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
    "sk": "skip_connect",
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
}
V1 = {
    "normal": "s3-1 s3-0, sk-0 s3-1, sk-0 s3-1, s3-0 sk-2",
    "reduce": "mp-0 mp-1, sk-2 mp-0, mp-0 sk-2, sk-2 ap-0",
}
V2 = {
    "normal": "s3-0 s3-1, s3-0 s3-1, s3-1 sk-0, sk-0 d3-2",
    "reduce": "mp-0 mp-1, sk-2 mp-1, mp-0 sk-2, sk-2 mp-1",
}
PC_CIFAR = {  # Xu et al. 2020, searched on CIFAR-10 and on ImageNet
    "normal": "s3-1 sk-0, s3-0 d3-1, s5-0 s3-1, ap-0 d3-1",
    "reduce": "s5-1 mp-0, s5-1 s5-2, s3-0 s3-3, s3-1 s3-2",
}
PC_IMAGENET = {
    "normal": "sk-1 s3-0, s3-0 sk-1, s3-1 s3-3, s3-1 d5-4",
    "reduce": "s3-0 sk-1, d5-2 mp-1, s3-2 s3-1, s5-0 s3-3",
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


@pytest.mark.parametrize(
    ("cells", "count", "millions", "printed"),  # papers print 4.7, 5.3 and 5.3 M of weights; of operations `printed`
    [(V2, 4_718_752, 529.9, 574), (PC_CIFAR, 5_270_560, 571.1, 586), (PC_IMAGENET, 5_342_464, 581.6, 597)],
    ids=["V2", "PC-DARTS, CIFAR-10", "PC-DARTS, ImageNet"],
)
def test_a_network_for_imagenet_has_the_published_size(cells, count, millions, printed):
    space = ghost(channels=48, layers=14, classes=1000, stem="imagenet", final=True, auxiliary=True)
    child = space.derive(published(cells))
    assert params(child) - params(child.auxiliary) == count
    assert macs(child, (3, 224, 224)) / 1e6 == pytest.approx(millions, abs=0.05)
    assert (
        0.9 < millions / printed < 1
    )  # of convolutions and linear layers; others counted no 574 either (their issue 46)


def test_the_stem_for_imagenet_halves_three_times_and_its_first_cell_reduces_one_input():
    space = ghost(channels=4, layers=3, stem="imagenet")
    x = torch.zeros(2, 3, 64, 48, device="meta")
    before = space.model.stem(x)
    last = space.model.deeper(before)
    assert before.shape == (2, 4, 16, 12)
    assert last.shape == (2, 4, 8, 6)
    assert space.model.cells[0].preprocess0(before).shape == space.model.cells[0].preprocess1(last).shape


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stem": "large"}, "stem takes one of cifar, imagenet, not 'large'"),
        ({"stem": "imagenet", "channels": 1}, "channels takes 2 or more where the stem is imagenet"),
    ],
)
def test_a_stem_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        ghost(**options)


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
