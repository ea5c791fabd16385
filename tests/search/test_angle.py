"""search.angle: the angle between what a child's weights were and are, against vectors that are spelled out."""

import copy
import itertools
import math
import random

import pytest
import torch
from torch import nn

from tests.search.toys import cells, images
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.graph import Graph
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.angle import Angles
from winnow.spaces import build
from winnow.spaces.graphs import ways
from winnow.spaces.nas_bench_201 import EDGES, from_string
from winnow.train.seeds import seeded

CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
PATHS = ((3,), (1, 5), (0, 2, 5), (0, 4))  # edges, by their places in EDGES: 0→3, 0→2→3, 0→1→2→3, 0→1→3


def moved(space: Space, seed: int = 1, scale: float = 0.3) -> Space:
    """A copy whose weights have gone somewhere else."""
    other = copy.deepcopy(space)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in other.parameters():
            p += scale * torch.randn(p.shape, generator=draws)
    return other


def batch():
    return images(1)[0]


def angles(now: Space, before: Space) -> Angles:
    return Angles(now, before, batch)


def vector(space: Space, arch) -> torch.Tensor:
    """Spelled out: shared weights, then for each cell each path's operations in order (NAS-Bench-201, 4 channels)."""
    shared = [p for n, p in space.model.named_parameters() if p.dim() > 1 and ".edges." not in n]
    parts = [p.flatten() for p in shared]
    for cell in (m for m in space.model.modules() if hasattr(m, "edges")):
        width = next(p for p in cell.parameters()).shape[0]
        for path in PATHS:
            names = [f"{EDGES[e][1]}<-{EDGES[e][0]}" for e in path]
            if any(arch[name] == "none" for name in names):
                continue
            for edge, name in zip(path, names, strict=True):
                op = arch[name]
                if op == "avg_pool_3x3":
                    parts.append(torch.full((width * 9,), 1 / 9))
                elif op != "skip_connect":
                    parts += [p.flatten() for p in cell.edges[edge].candidates[op].parameters() if p.dim() > 1]
    return torch.cat(parts).double()


def test_a_cell_of_nas_bench_201_is_the_vector_spelled_out():
    before = cells("nas_bench_201", cells=2)
    now = moved(before)
    measure, draws = angles(now, before), random.Random(0)
    for _ in range(40):
        arch = before.decide(uniform(draws))
        a, b = vector(before, arch).detach(), vector(now, arch).detach()
        assert measure(arch) == pytest.approx(math.acos(float(a @ b / a.norm() / b.norm())), abs=1e-6)
        assert measure.sums(arch)[3] == len(a)


def test_what_did_not_move_has_no_angle_what_is_orthogonal_a_right_one_and_scale_is_nothing():
    with seeded(0):
        before = Space(nn.Sequential(Choice("a", {"x": nn.Linear(2, 2, bias=False), "y": nn.Linear(2, 2, bias=False)})))
    now = copy.deepcopy(before)
    arch = {"a": "x"}
    assert angles(now, before)(before.decide(lambda d: "x")) == pytest.approx(0, abs=1e-7)
    layer, first = now.model[0].candidates["x"], before.model[0].candidates["x"]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
        first.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    one = before.decide(lambda d: arch["a"])
    assert angles(now, before)(one) == pytest.approx(math.pi / 2)
    with torch.no_grad():
        layer.weight.copy_(-first.weight)
    assert angles(now, before)(one) == pytest.approx(math.pi)
    moved_ = moved(before)
    was = angles(moved_, before)(one)
    with torch.no_grad():
        for p in moved_.parameters():
            p *= 7
    assert angles(moved_, before)(one) == pytest.approx(was)


def test_an_identity_takes_away_what_it_replaces_and_none_whole_ways():
    before = cells("nas_bench_201")
    measure = angles(moved(before), before)
    whole, conv = from_string(CONV), 4 * 4 * 9 * (1 + 2**2 + 4**2)  # three cells of 4, 8 and 16 channels
    length = measure.sums(whole)[3]
    assert set(ways(whole).values()) == {1, 2}
    for name, times in ways(whole).items():
        skipped = whole.choices
        arch = before.decide(lambda d, name=name, s=dict(skipped): "skip_connect" if d.name == name else s[d.name])
        assert length - measure.sums(arch)[3] == times * conv
        gone = before.decide(lambda d, name=name, s=dict(skipped): "none" if d.name == name else s[d.name])
        left = [p for p in PATHS if name not in [f"{EDGES[e][1]}<-{EDGES[e][0]}" for e in p]]
        assert length - measure.sums(gone)[3] == conv * (sum(map(len, PATHS)) - sum(map(len, left)))


def test_wiring_counts_and_not_operations_alone():
    before = cells("nas_bench_201")
    measure = angles(moved(before), before)
    ops = ["nor_conv_3x3"] * 3 + ["skip_connect"] * 3
    found = set()
    for turn in itertools.islice(itertools.permutations(ops), 0, 720, 80):
        answers = dict(zip([f"{n}<-{s}" for s, n in EDGES], turn, strict=True))
        found.add(round(measure(before.decide(lambda d, a=answers: a[d.name])), 9))
    assert len(found) > 3


def test_a_pool_makes_the_angle_smaller_where_norms_are_equal():
    before = cells("nas_bench_201")
    now = moved(before)
    with torch.no_grad():
        for old, new in zip(before.parameters(), now.parameters(), strict=True):
            if old.dim() > 1:
                new *= old.norm() / new.norm()
    measure, whole = angles(now, before), dict(from_string(CONV).choices)
    skip = before.decide(lambda d: "skip_connect" if d.name == "3<-0" else whole[d.name])
    pool = before.decide(lambda d: "avg_pool_3x3" if d.name == "3<-0" else whole[d.name])
    assert measure(pool) < measure(skip)


def test_a_darts_cell_has_sixteen_ways_to_its_last_node():
    whole = Graph(tuple((s, n, "sep_conv_3x3") for n in (2, 3, 4, 5) for s in range(n)), (0, 1), (5,))
    assert len(whole.edges) == 14
    assert len(list(whole.paths())) == 16
    space = cells("darts", channels=2)
    arch = space.decide(lambda d: d.values[-1])  # each node keeps the two nodes just before it
    assert {name: over for name, over in ways(arch).items() if name.startswith("normal")} == {
        "normal/2/0": 3,
        "normal/2/1": 3,
        "normal/3/1": 2,
        "normal/3/2": 4,
        "normal/4/2": 2,
        "normal/4/3": 3,
        "normal/5/3": 3,
        "normal/5/4": 5,
    }
    measure, draws = angles(moved(space), space), random.Random(0)
    assert all(0 < measure(space.decide(uniform(draws))) < math.pi for _ in range(5))


def test_of_an_elastic_layer_the_part_that_is_used_counts():
    before = cells("ofa")
    now = moved(before)
    measure, draws = angles(now, before), random.Random(0)
    for _ in range(5):
        arch = before.decide(uniform(draws))
        pair = [torch.cat([p.flatten() for p in s.derive(arch).parameters() if p.dim() > 1]) for s in (before, now)]
        a, b = (v.detach().double() for v in pair)
        assert measure(arch) == pytest.approx(math.acos(float(a @ b / a.norm() / b.norm())), abs=1e-6)


def test_an_identity_of_a_chain_turns_nothing_also_where_it_owns_a_convolution():
    with seeded(0):
        before = build("macro", {"width": 0.125}, classes=3, image_channels=1)
    measure = angles(moved(before), before)
    none = measure.sums(before.decide(lambda d: "identity"))
    shared = [*before.model[0].parameters(), *before.model[-1].parameters()]
    assert none[3] == sum(p.numel() for p in shared if p.dim() > 1)


def test_a_space_without_weights_has_no_angles():
    space = Space(nn.Sequential(Choice("a", {"relu": nn.ReLU(), "tanh": nn.Tanh()})))
    with pytest.raises(Refused, match="a child of this space has none"):
        angles(space, copy.deepcopy(space))(space.decide(lambda d: "relu"))


@pytest.mark.parametrize(("kernel", "area"), [(3, 9), ((2, 1), 2)])
@pytest.mark.parametrize("kind", [nn.AvgPool2d, nn.MaxPool2d])
def test_a_pool_of_a_candidate_is_entries_of_one_over_its_area_a_channel(kind, kernel, area):
    with seeded(0):
        hole = Choice("a", {"pool": kind(kernel, stride=1), "conv": nn.Conv2d(5, 5, kernel)})
        before = Space(nn.Sequential(nn.Conv2d(1, 5, 1), nn.MaxPool2d(2), hole))
    measure = angles(now := moved(before), before)
    a, b = (s.model[0].weight.detach().double().flatten() for s in (before, now))
    pool = torch.full((5 * area,), 1 / area, dtype=torch.float64)
    a, b = torch.cat([a, pool]), torch.cat([b, pool])
    found = measure.sums(before.decide(lambda d: "pool"))
    assert found.tolist() == pytest.approx([float(a @ b), float(a @ a), float(b @ b), len(a)])
    assert measure.sums(before.decide(lambda d: "conv"))[3] == 5 + 25 * area, "a pool of all children is no part"


@pytest.mark.parametrize("name", ["skip_connect", "identity", "skip"])
def test_skips_turn_nothing_and_others_with_the_same_weights_do(name):
    with seeded(0):
        options = {each: nn.Linear(2, 2, bias=False) for each in (name, "other")}
        before = Space(nn.Sequential(nn.Linear(2, 2, bias=False), Choice("a", options)))
    measure = angles(moved(before), before)
    lengths = [measure.sums(before.decide(lambda d, o=o: o))[3] for o in (name, "other")]
    assert lengths == [4, 8]


@pytest.mark.parametrize("which", ["before", "now"])
def test_weights_that_are_nothing_have_no_angle(which):
    with seeded(0):
        before = Space(nn.Sequential(Choice("a", {"x": nn.Linear(2, 2), "y": nn.Linear(2, 2)})))
    spaces = {"before": before, "now": moved(before)}
    nn.init.zeros_(spaces[which].model[0].candidates["x"].weight)
    measure = angles(spaces["now"], before)
    with pytest.raises(Refused, match="a child of this space has none"):
        measure(before.decide(lambda d: "x"))
    assert 0 < measure(before.decide(lambda d: "y")) < math.pi


def test_looking_for_channels_leaves_modes_and_hooks_as_they_were():
    before = cells("nas_bench_201")
    now = moved(before).train()
    statistics = {name: value.clone() for name, value in now.state_dict().items()}
    now.board.plain = False
    angles(now, before)
    assert now.model.training
    assert now.board.plain is False
    assert not any(module._forward_hooks for module in now.modules())
    assert all(torch.equal(value, now.state_dict()[name]) for name, value in statistics.items())
