"""Space fpn: its size, its edges as published, necks that are one network, what one step of a search trains."""

import copy
import random
from collections import Counter
from itertools import product
from math import isfinite

import pytest
import torch

from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct, uniform
from winnow.core.errors import Refused
from winnow.holes.partial import partial_channels
from winnow.measure.cost import macs, params
from winnow.nn.pyramid import PATHS
from winnow.proxies import PROXIES, score
from winnow.proxies.scorer import check_names
from winnow.proxies.sizes import sizes_of
from winnow.search.bench import Bench
from winnow.search.evolve import evolution
from winnow.search.methods.fair import Turns, fair
from winnow.search.methods.spos import spos
from winnow.search.paths import uniform_paths
from winnow.search.recipe import Recipe
from winnow.spaces import build
from winnow.spaces.fpn import canonical, down_and_up, top_down
from winnow.spaces.graphs import graphs
from winnow.train.seeds import seeded

SIZE = {"classes": 3, "image_channels": 1, "image_height": 64, "image_width": 64}
SMALL = {"width": 4, "nodes": 2, "deformable": False, "options": {"width": 2}, "depth": 1}
RELEASED = (  # by node: P1 | P2 | P3 | P4 | P5, sources in order
    ("top_down",),
    ("top_down", "top_down"),
    ("fusing_splitting", "none", "skip_connect"),
    ("bottom_up", "skip_connect", "none", "top_down"),
    ("bottom_up", "none", "fusing_splitting", "scale_equalising", "bottom_up"),
)


def small(**options):
    with seeded(0):
        return build("fpn", {**SMALL, **options}, **SIZE)


def neck(*paths):
    """Edges in the order (1, 0), (2, 0), (2, 1), ..."""
    names = [f"neck/{i}<-{j}" for i in range(1, 6) for j in range(i)][: len(paths)]
    return Architecture.of(dict(zip(names, paths, strict=True)))


def test_those_made_by_hand_are_necks_on_the_largest_backbone():
    space = small(nodes=3)
    assert top_down(space) == neck("top_down", *["none"] * 5)
    assert down_and_up(space) == neck("top_down", "none", "bottom_up", "none", "none", "none")
    resnet = {"width": 0.0625, "channels": [50, 100], "bits": ["w32a32"]}
    open_too = small(backbone="resnet", options=resnet, strides=[4, 8, 16])
    made = down_and_up(open_too)
    open_too.check(made)
    open_inside = [d for d in open_too.decisions.values() if not d.name.startswith("neck/")]
    assert [made[d.name] for d in open_inside] == [d.values[-1] for d in open_inside]
    assert max(len(d.values) for d in open_inside) == 2


def test_it_has_as_many_necks_as_published():
    with torch.device("meta"):
        space = build("fpn", {"width": 16}, **SIZE)
    assert space.count() == 6**15 == 470_184_984_576
    assert list(space.decisions)[:4] == ["neck/1<-0", "neck/2<-0", "neck/2<-1", "neck/3<-0"]
    assert all(d.options == PATHS for d in space.decisions.values())
    place = {name: i for i, name in enumerate(space.decisions)}
    assert all(place[f"neck/{i}<-{j}"] == i * (i - 1) // 2 + j for i in range(1, 6) for j in range(i))


def test_the_released_neck_derives_with_the_counted_parameters():
    """On one of winnow's backbones: 4 laterals of (c + 1) 112 instead of ResNet's."""
    arch = Architecture.of({f"neck/{i}<-{j}": path for i, row in enumerate(RELEASED, 1) for j, path in enumerate(row)})
    with torch.device("meta"):
        space = build("fpn", {"width": 112, "shared": True}, **SIZE)
        child = space.derive(arch)
    laterals = sum((channels + 1) * 112 for channels in (32, 64, 128, 128))
    assert params(child.neck) == 5_033_874 - 430_528 + laterals
    assert Counter(arch.values()) == {
        "top_down": 4,
        "bottom_up": 3,
        "none": 3,
        "fusing_splitting": 2,
        "skip_connect": 2,
        "scale_equalising": 1,
    }


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("none", 0),
        ("skip_connect", 0),
        ("top_down", 340 * 9 * 4 * 4),
        ("bottom_up", 340 * 9 * 4 * 4),
        ("fusing_splitting", (64 + 16) * 9 * 8 * 4),
        # its own level everywhere, the finer one for levels 3 to 5, the coarser one (before it grows) for 2 to 4
        ("scale_equalising", (340 + 84 + 84) * 9 * 4 * 4),
    ],
)
def test_paths_cost_what_their_convolutions_do(path, count):
    space = small()
    bare = macs(space.derive(neck("skip_connect", "none", "none")), (1, 64, 64))
    assert macs(space.derive(neck("skip_connect", "none", path)), (1, 64, 64)) - bare == count


def test_what_necks_cost_is_known_without_building_them(monkeypatch):
    space, draws = small(nodes=3), random.Random(0)
    archs = [space.decide(uniform(draws)) for _ in range(8)]
    wanted = [(params(child), macs(child, (1, 64, 64))) for child in map(space.derive, archs)]
    known = sizes_of(space, (1, 64, 64))
    monkeypatch.setattr(type(space), "derive", None)
    assert [(known(arch)["params"], known(arch)["macs"]) for arch in archs] == wanted


def test_what_leaves_a_node_that_nothing_reaches_is_none():
    arch = neck("none", "top_down", "bottom_up", "skip_connect", "top_down", "none")
    assert canonical(3, arch) == neck("none", "top_down", "none", "skip_connect", "none", "none")
    assert canonical(3, neck("none", "none", "top_down", "none", "top_down", "bottom_up")) is None
    live = neck("top_down", "none", "none", "none", "none", "none")
    assert canonical(3, live) == live


def test_networks_that_are_one_are_counted_once():
    every = [canonical(2, neck(*paths)) for paths in product(PATHS, repeat=3)]
    assert every.count(None) == 6  # 1<-0 and 2<-0 none, whatever leaves node 1
    assert len(set(every) - {None}) == 5 * 6 * 6 + 5


def test_before_training_such_networks_compute_the_same():
    """Biases begin at zero, so that a path makes nothing of nothing."""
    space, x = small(nodes=3).eval(), torch.randn(1, 1, 64, 64)
    draws = random.Random(1)
    for _ in range(100):
        arch = space.decide(uniform(draws))
        if space.canonical(arch) not in (arch, None):
            torch.testing.assert_close(space(x, arch), space(x, space.canonical(arch)))
            return
    raise AssertionError("no neck with a dead node was drawn")


def test_evolution_draws_and_judges_no_network_twice_and_none_that_is_nothing():
    with torch.device("meta"):
        space, judged = small(nodes=1), []
    evolution(space, lambda arch: judged.append(arch) or 0.0, rng=random.Random(0), population=6, generations=3)
    assert sorted(arch["neck/1<-0"] for arch in judged) == sorted(set(PATHS) - {"none"})
    assert len(distinct(space, random.Random(0), 10)) == 5
    path = uniform_paths(space, random.Random(0))
    assert {path()["neck/1<-0"] for _ in range(60)} == set(PATHS) - {"none"}


class Loss(torch.nn.Module):
    def forward(self, outputs, answers):
        return outputs[..., 7:].square().mean()


def bench(space, batches=1):
    draws = torch.Generator().manual_seed(0)
    rows = [(torch.randn(2, 1, 64, 64, generator=draws), torch.zeros(2)) for _ in range(batches)]
    loss = Loss()
    return Bench(space, 0, objective=lambda batch, setting: loss(space(batch[0], setting), batch[1]), train=rows)


def changed(before, space):
    """By decision: the options of which some weight is another."""
    found = {}
    for name, value in space.state_dict().items():
        if ".candidates." in name and not torch.equal(value, before[name]):
            edge, _, rest = name.partition(".candidates.")
            found.setdefault(edge, set()).add(rest.split(".")[0])
    return found


def test_one_step_of_spos_leaves_what_was_not_drawn_as_it_was():
    space = small(nodes=3)
    before = copy.deepcopy(space.state_dict())
    spos(bench(space), Recipe(epochs=1, lr=0.1))
    moved = changed(before, space)
    assert all(len(options) == 1 for options in moved.values())
    assert 0 < len(moved) <= 6


def test_one_step_of_fair_trains_all_paths_of_each_edge_once():
    space = small(nodes=3)
    turns = Turns(space, random.Random(0))
    taken = Counter((name, path) for _ in range(turns.paths) for name, path in turns.path().items())
    assert set(taken.values()) == {1}
    assert len(taken) == 6 * 6
    before = copy.deepcopy(space.state_dict())
    fair(bench(space), Recipe(epochs=1, lr=0.1), judge=False)
    assert all(options == set(PATHS[2:]) for options in changed(before, space).values())


def test_three_maps_get_a_fourth():
    space = small(strides=[8, 16, 32], width=16)
    child = space.derive(neck("top_down", "none", "none")).eval()
    assert child(torch.randn(1, 1, 64, 64)).shape == (1, 64 + 16 + 4 + 1, 11)


def test_a_backbone_of_another_space_is_searched_beside_the_neck():
    space = build("fpn", {**SMALL, "backbone": "mobile", "options": {"width": 0.1}, "strides": [2, 4, 8, 16]}, **SIZE)
    names = {name.partition("/")[0] for name in space.decisions}
    assert names == {"block", "neck"}
    draws = random.Random(0)
    arch = next(a for a in iter(lambda: space.decide(uniform(draws)), None) if space.canonical(a))
    assert space.derive(arch).eval()(torch.randn(1, 1, 64, 64)).shape == (1, 4 * 340, 11)
    assert set(graphs(arch)) == {"chain", "neck"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": [8, 16]}, r"strides takes three or four, .*, not \[8, 16\]"),
        ({"strides": [4, 8, 16, 64]}, "no map at stride 64"),
        ({"nodes": 0}, "nodes takes a whole number of 1 or more, not 0"),
        ({"backbone": "darts"}, "backbone takes one of cream, .*, not 'darts'"),
    ],
)
def test_a_wrong_option_is_one_sentence(options, message):
    with pytest.raises(Refused, match=message):
        small(**options)


def test_deformable_kernels_are_not_narrowed():
    with pytest.raises(Refused, match="know no Deformable: search this space with another strategy than pc_darts"):
        partial_channels(small(deformable=True), 2)
    partial_channels(small(), 2)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_scores_detectors_or_says_why_not(name):
    model = small().derive(neck("top_down", "skip_connect", "bottom_up"))
    draws = torch.Generator().manual_seed(0)
    batch = torch.randn(4, 1, 64, 64, generator=draws), torch.tensor([4.0, 4.0, 20.0, 20.0, 1.0]).expand(4, 1, 5)
    if name in {"expressivity", "progressivity", "trainability", "eproxy"}:
        with pytest.raises(Refused, match="takes a list of several: take another"):
            score(name, model, batch, draws)
    elif PROXIES[name].needs == "labels":
        for run in (lambda: score(name, model, batch, draws), lambda: check_names([name], batch)):
            with pytest.raises(Refused, match="needs a label a row, and an answer here has shape"):
                run()
    else:
        assert isfinite(score(name, model, batch, draws))


def test_the_graph_of_a_neck_ends_in_every_node():
    graph = graphs(neck("top_down", "none", "bottom_up"))["neck"]
    assert (graph.inputs, graph.outputs) == ((0,), (1, 2))
    assert graph.live() == ((0, 1, "top_down"), (1, 2, "bottom_up"))
