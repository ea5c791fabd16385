"""Strategies that narrow the space while they train it: abs. Resuming at every step is in test_resume.py."""

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.search.methods.test_children import Followed, chain, points
from tests.search.planted import bench_of
from tests.search.toys import Loader, cells, images
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.proxies.sizes import sizes_of
from winnow.search.chain import chain as chained
from winnow.search.layers import Layer, held, layers_of
from winnow.search.methods.abs import angle_based, child, mean_angles, pools
from winnow.search.methods.spos import spos
from winnow.search.recipe import Recipe
from winnow.search.shrink import of_each, worst
from winnow.spaces import build
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import seeded

QUICK = {"first": 1, "later": 1, "children": 5, "refresh": 0}


def edges() -> Space:
    """A view of NAS-Bench-201: 64 of its cells."""
    space = cells("nas_bench_201")
    return space.within(dict.fromkeys(space.decisions, ("skip_connect", "nor_conv_3x3")))


def shrunk(space: Space, epochs: int, *, batches=1, said=None, followed=None, **options):
    """What abs leaves of a space of `chain`."""
    bench = bench_of(space, Loader([points(6, i) for i in range(batches)]), Loader([points(2)]))
    bench = replace(bench, objective=followed or Followed(space), say=(said if said is not None else []).append)
    return angle_based(bench, Recipe(epochs=epochs, lr=0.05, lr_min=0.0), **{**QUICK, **options})


@pytest.mark.parametrize(
    ("layers", "options", "sizes"),
    [(19, 6, [5**19, 4**19, 3**19, 2**19]), (14, 8, [7**14, 6**14, 5**14, 4**14, 3**14, 2**14])],
)
def test_one_of_each_layer_takes_the_published_number_of_steps(layers, options, sizes):
    said: list[str] = []
    found = shrunk(chain(*[options] * layers), len(sizes) + 2, said=said, drop=0, until=1e6)
    told = [int(line.split("; ")[1].split(" ")[0].replace(",", "")) for line in said]
    assert told == sizes
    assert found.space.count() == sizes[-1] <= 1e6
    assert all(len(d.options) >= 1 for d in found.space.decisions.values())


def test_the_worst_go_and_none_that_is_the_last_of_its_layer():
    space = chain(3, 2)
    layers = layers_of(space)
    scores = {("c0", "o0"): 0.1, ("c0", "o1"): 0.2, ("c0", "o2"): 0.3, ("c1", "o0"): 0.15, ("c1", "o1"): 0.16}
    assert worst(scores, space, layers, 2) == [("c0", "o0"), ("c1", "o0")]
    assert worst(scores, space, layers, 9) == [("c0", "o0"), ("c1", "o0"), ("c0", "o1")]
    assert of_each(scores, space, layers) == [("c0", "o0"), ("c1", "o0")]
    equal = dict.fromkeys(scores, 0.5)
    assert worst(equal, space, layers, 2) == [("c0", "o0"), ("c0", "o1")], "ties go in the order of the layers"
    view = space.within({"c0": ["o1"], "c1": ["o0", "o1"]})
    assert of_each(scores, view, layers) == [("c1", "o0")]
    assert of_each({}, space, layers) == [], "what has no score stays"


def test_the_mean_is_of_the_first_children_of_each_option_and_each_is_scored_once():
    space, asked = chain(2, 2), []
    layers = layers_of(space)
    found = pools(space, layers, 10, random.Random(0), lambda arch: True)
    assert {len(pool) for pool in found.values()} == {2}, "all of a small space"

    def angle(arch) -> float:
        asked.append(arch)
        return {"o0": 1.0, "o1": 2.0}[arch["c0"]] + {"o0": 0.0, "o1": 0.5}[arch["c1"]]

    scores = mean_angles(found, 10, angle)
    assert scores == {("c0", "o0"): 1.25, ("c0", "o1"): 2.25, ("c1", "o0"): 1.5, ("c1", "o1"): 2.0}
    assert len(asked) == len(set(asked)) == 4


def test_pools_of_a_large_space_hold_different_children_with_their_option():
    space = chain(4, 4, 4, 4)
    layers = layers_of(space)
    found = pools(space, layers, 20, random.Random(0), lambda arch: arch["c0"] != "o3")
    for (name, option), pool in found.items():
        assert len(pool) >= 20 or (name, option) == ("c0", "o3")
        assert len(pool) == len(set(pool))
        assert all(arch[name] == option for arch in pool)
    assert found["c0", "o3"] == [], "none is allowed"
    drawn = [arch for pool in found.values() for arch in pool]
    assert len(set(drawn)) < len(drawn), "a child counts for all that it holds"


def test_in_a_chain_how_many_identities_a_scored_child_has_is_uniform():
    with seeded(0), torch.device("meta"):
        space = build("macro", {"width": 0.125}, classes=3, image_channels=1)
    layers, draws, counts = layers_of(space), random.Random(0), [0] * 9
    for _ in range(4000):
        arch = space.decide(child(space, layers, ("block/3", "mb3_k3"), draws, True))
        assert arch["block/3"] == "mb3_k3"
        counts[sum(value == "identity" for value in arch.values())] += 1
    assert counts[8] == 0
    assert all(400 < n < 600 for n in counts[:8])


def test_a_candidate_that_stays_where_it_was_goes_first():
    """Its children turn less: the option that is frozen in each of three layers."""
    space = chain(3, 3, 3)
    for hole in space.holes:
        for p in hole.candidates["o1"].parameters():
            p.requires_grad_(False)
    found = shrunk(space, 8, batches=8, first=8, drop=3, until=20, children=50)
    assert [d.options for d in found.space.decisions.values()] == [("o0", "o2")] * 3


def test_until_something_is_dropped_it_is_spos_to_the_bit():
    def trained(method, **options) -> Space:
        space = edges()
        bench = bench_of(space, Loader([images(8, 0), images(8, 1)]), Loader([images(4)]), seed=3)
        with seeded(1):
            method(bench, Recipe(epochs=3, lr=0.05), **options)
        return space

    one, other = trained(spos), trained(angle_based, first=3, until=60, drop=1, children=5)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_what_is_dropped_is_trained_no_more_and_the_rate_falls_on():
    space = chain(3, 3)
    followed = Followed(space)
    found = shrunk(space, 6, batches=5, first=2, later=2, drop=1, until=4, followed=followed)
    assert found.space.count() == 4
    views = [{name: {p[name] for p in followed.paths[a:b]} for name in ("c0", "c1")} for a, b in ((10, 20), (20, 30))]
    assert sum(map(len, views[1].values())) <= 4
    for name, d in found.space.decisions.items():
        assert views[1][name] <= set(d.options)


def test_angles_are_against_the_beginning_or_what_came_later():
    def score(**options) -> str:
        said: list[str] = []
        shrunk(chain(3, 3), 4, batches=4, said=said, drop=1, first=4, until=5, **options)
        return said[0]

    assert score() != score(since=2)
    said: list[list[str]] = [[], []]
    for refresh, told in zip((0, 1), said, strict=True):
        shrunk(chain(3, 3, 3), 6, batches=4, said=told, drop=1, first=2, until=2, refresh=refresh)
    assert said[0][:2] == said[1][:2], "after two shrinks more than one option is gone"
    assert said[0][2] != said[1][2]


def test_a_chain_of_searches_goes_on_with_the_view():
    space, followed = chain(3, 3), []

    def narrow(given: Space):
        return shrunk(given, 2, drop=2, until=4)

    def plain(given: Space):
        objective = Followed(given)
        followed.append(objective)
        bench = replace(bench_of(given, Loader([points(6)]), ()), objective=objective)
        return spos(bench, Recipe(epochs=20, lr=0.05))

    found = chained(space, [narrow, plain], Keeper())
    assert found.space.count() == 4
    live = {name: set(d.options) for name, d in found.space.decisions.items()}
    assert all(path[name] in live[name] for path in followed[0].paths for name in live)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"until": 9}, "the space has 9 architectures, which is too small to shrink to search.abs.until, 9"),
        ({"until": 4, "first": 3}, "search.epochs is 2, and search.abs.first lets 3 pass"),
    ],
)
def test_a_space_that_is_too_small_and_a_search_that_is_too_short_are_refused(changes, said):
    with pytest.raises(Refused, match=said):
        shrunk(chain(3, 3), 2, **changes)


def test_a_space_of_subsets_alone_has_nothing_to_drop():
    space = Space(nn.Sequential(Choice("a", {i: nn.Linear(4, 4) for i in range(4)}, pick=2), nn.Linear(4, 3)).double())
    with pytest.raises(Refused, match="drops options of single decisions, and here none has two"):
        shrunk(space, 2)


def test_a_limit_that_no_child_keeps_is_refused_and_one_that_empties_an_option_keeps_it():
    def limited(most: float):
        bench = bench_of(edges(), Loader([images(8)]), Loader([images(4)]))
        return angle_based(
            bench, Recipe(epochs=1, lr=0.05), **{**QUICK, "children": 99}, until=9, drop=6, max_macs=most
        )

    with pytest.raises(Refused, match=r"no child that was drawn is within search.abs.max_macs, 10: raise it"):
        limited(10)
    space = edges()
    conv = space.decide(lambda d: "nor_conv_3x3" if d.name == "1<-0" else "skip_connect")
    below = sizes_of(space, (1, 8, 8))(conv)["macs"] - 1
    left = limited(below).space.decisions
    assert all("nor_conv_3x3" in d.options for d in left.values()), "nothing within the limit holds one: it stays"


def test_members_that_share_candidates_are_one_layer():
    ops = {k: nn.Linear(4, 4) for k in "xy"}
    space = Space(
        nn.Sequential(Choice("l/a", ops), Choice("l/b", ops), Choice("m", {k: nn.Linear(4, 4) for k in "xy"}))
    )
    layers = layers_of(space)
    assert layers == [Layer(("l/a", "l/b")), Layer(("m",))]
    assert list(held(layers, {"l/a": "x", "l/b": "y", "m": "x"})) == [("l/a", "x"), ("l/a", "y"), ("m", "x")]


def test_subsets_and_options_of_mixtures_stay():
    space = cells("darts", channels=2, candidates="s3")
    bench = bench_of(space, Loader([images(6)]), Loader([images(4)]))
    found = angle_based(bench, Recipe(epochs=1, lr=0.05), **{**QUICK, "children": 3}, until=1e6, drop=4)
    kept = [d for d in found.space.decisions.values() if d.several]
    assert [d.pick for d in kept] == [2] * len(kept)
    assert sum("none" in d.options for d in found.space.decisions.values() if not d.several) == 28
    assert sum(len(d.options) for d in found.space.decisions.values() if not d.several) == 28 * 3 - 4


def test_the_same_seed_gives_the_same_space():
    bench = [bench_of(edges(), Loader([images(8)]), Loader([images(4)]), seed=1) for _ in range(2)]
    found = [angle_based(b, Recipe(epochs=2, lr=0.05), **QUICK, until=9, drop=2).space for b in bench]
    assert found[0].decisions == found[1].decisions != found[0].whole


def test_of_each_layer_no_more_go_than_asked_for():
    space = chain(4, 4)
    scores = {(f"c{c}", f"o{o}"): 0.1 * o + c for c in range(2) for o in range(4)}
    layers = layers_of(space)
    assert worst(scores, space, layers, 9, 2) == [("c0", "o0"), ("c0", "o1"), ("c1", "o0"), ("c1", "o1")]
    assert worst(scores, space, layers, 9, 1) == [("c0", "o0"), ("c1", "o0")]


def test_epochs_are_told_as_people_count_them():
    said: list[str] = []
    shrunk(chain(3, 3), 4, said=said, first=2, later=1, drop=1, until=4)
    assert [line.split(" dropped")[0].strip() for line in said if "dropped" in line] == [
        "after epoch 2",
        "after epoch 3",
    ]
