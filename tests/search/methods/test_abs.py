"""search.methods.abs: whose angles count, against which weights, and which children there are."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.search.benches import numbers
from tests.search.methods.test_children import chain
from tests.search.toys import Loader, cells, images
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.proxies.sizes import sizes_of
from winnow.search.bench import Bench, Found
from winnow.search.layers import layers_of
from winnow.search.methods import abs as module
from winnow.search.methods.abs import angle_based, child, mean_angles, pools
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy_of
from winnow.train.checkpoint import Keeper


def told(monkeypatch, space: Space, **options) -> SimpleNamespace:
    """What `shrinking` is told, with the bench's keeper; nothing is trained."""
    rows = []

    def shrinking(bench, recipe, layers, pace, **given):
        rows.append(SimpleNamespace(layers=layers, pace=pace, parts=bench.keeper.levels[-1].parts, **given))
        return Found(bench.space)

    monkeypatch.setattr(module, "shrinking", shrinking)
    bench = Bench(space, 3, train=Loader([images(6)]), valid=Loader([images(5)]), keeper=Keeper())
    angle_based(bench, Recipe(epochs=9), **{"first": 1, "until": 5.0, **options})
    return rows[0]


def begins_anew(told: SimpleNamespace, space: Space, act) -> bool:
    """Whether `act` makes angles be against the weights of now."""
    with torch.no_grad():
        for p in space.parameters():
            p += 1
    act()
    here, start = space.state_dict(), told.parts["start"].state_dict()
    return all(torch.equal(here[name], start[name]) for name in here)


@pytest.mark.parametrize(("refresh", "counts"), [(3, [3, 1, 9]), (50, [49, 1, 1]), (1, [1, 1, 1])])
def test_angles_are_renewed_once_when_more_options_than_that_are_gone(monkeypatch, refresh, counts):
    space = chain(3, 3)
    found = told(monkeypatch, space, refresh=refresh)
    assert [begins_anew(found, space, lambda n=n: found.dropped(n)) for n in counts] == [
        sum(counts[: i + 1]) > refresh and sum(counts[:i]) <= refresh for i in range(3)
    ]
    assert found.parts["tally"] == {"dropped": sum(counts), "renewed": 1}


def test_left_open_they_are_renewed_after_fifty_and_never_where_none_is_asked_for(monkeypatch):
    space = chain(3, 3)
    usual, never = told(monkeypatch, space), told(monkeypatch, space, refresh=0)
    assert [begins_anew(usual, space, lambda n=n: usual.dropped(n)) for n in (50, 1)] == [False, True]
    assert not begins_anew(never, space, lambda: never.dropped(1000))
    assert never.parts["tally"] == {"dropped": 1000, "renewed": 0}


@pytest.mark.parametrize(("since", "at"), [({}, []), ({"since": 0}, []), ({"since": 2}, [2])])
def test_angles_are_against_the_weights_after_some_epochs(monkeypatch, since, at):
    space = chain(3, 3)
    found = told(monkeypatch, space, **since)
    renewed = [epoch for epoch in range(5) if begins_anew(found, space, lambda e=epoch: found.before(e))]
    assert renewed == at


def test_children_of_exactly_that_many_macs_count_and_scores_are_of_those(monkeypatch):
    """Angles are told by one image, as it is searched."""
    space, seen = cells("nas_bench_201").within({"1<-0": ["nor_conv_3x3", "nor_conv_1x1"], "3<-0": ["none"]}), []
    sizes = sizes_of(space, (1, 8, 8))
    archs = [
        space.decide(lambda d, o=o: o if d.name == "1<-0" else d.values[0]) for o in ("nor_conv_3x3", "nor_conv_1x1")
    ]
    larger, smaller = (sizes(arch)["macs"] for arch in archs)
    assert larger > smaller

    def noted(view, layers, count, draws, allowed):
        seen.append((count, [allowed(arch) for arch in archs], draws.random()))
        return {("1<-0", "nor_conv_3x3"): archs[:1], ("1<-0", "nor_conv_1x1"): []}

    monkeypatch.setattr(module, "pools", noted)
    monkeypatch.setattr(module, "Angles", lambda space, start, batch: lambda arch: float(batch().shape[0]))
    for most, expected in (
        (None, [True, True]),
        (larger, [True, True]),
        (larger - 1, [False, True]),
        (smaller - 1, [False] * 2),
    ):
        found = told(monkeypatch, space, children=7, until=1.0, **({} if most is None else {"max_macs": most}))
        assert found.score(space, 4) == {("1<-0", "nor_conv_3x3"): 1.0}
        assert seen[-1][:2] == (7, expected)
    found.score(space, 5)
    assert seen[-2][2] != seen[-1][2], "children are others after each epoch"


def test_where_no_child_is_left_the_limit_is_told(monkeypatch):
    found = told(monkeypatch, cells("nas_bench_201"), max_macs=1234.0, children=2)
    monkeypatch.setattr(module, "pools", lambda *given: {("1<-0", "none"): []})
    with pytest.raises(Refused, match=r"no child that was drawn is within search.abs.max_macs, 1,234: raise it"):
        found.score(cells("nas_bench_201"), 1)


@pytest.mark.parametrize(("drop", "gone"), [({}, 7), ({"drop": 2}, 2), ({"drop": 0}, 3)])
def test_seven_of_all_options_are_dropped_or_as_many_as_asked_for_or_the_worst_of_each_layer(monkeypatch, drop, gone):
    space = chain(4, 4, 4)
    found = told(monkeypatch, space, **drop)
    scores = {(f"c{i}", f"o{j}"): float(4 * i + j) for i in range(3) for j in range(4)}
    dropped = found.drop(scores, space)
    assert len(dropped) == gone
    assert (
        dropped == [("c0", "o0"), ("c1", "o0"), ("c2", "o0")]
        if gone == 3
        else sorted(scores)[: min(gone, 3)] == dropped[:3]
    )


def test_the_defaults_are_published(monkeypatch):
    defaults = {name: given for name, (_, given) in strategy_of(angle_based).options().items()}
    assert defaults == {
        **{"first": 100, "later": 5, "until": 1e6, "drop": 7, "children": 1000, "refresh": 50, "since": 0},
        "max_macs": None,
    }
    assert vars(told(monkeypatch, chain(3, 3), later=4).pace) == {"first": 1, "later": 4, "until": 5.0}


def test_only_the_first_children_of_an_option_are_scored_and_what_has_none_has_no_mean():
    archs, asked = [Architecture.of({"a": i}) for i in range(4)], []
    found = {("x", 0): archs[:3], ("x", 1): [archs[1]], ("y", 0): []}
    scores = mean_angles(found, 2, lambda arch: asked.append(arch) or float(arch["a"] ** 2))
    assert scores == {("x", 0): 0.5, ("x", 1): 1.0}
    assert asked == archs[:2]


@pytest.mark.parametrize(("count", "all_there_are"), [(2, True), (1, False), (3, True)])
def test_a_space_no_larger_than_its_pools_is_taken_whole(count, all_there_are):
    """Two layers of two: four networks, which pools of two for each of two options hold."""
    space, draws = numbers("ab", 2), random.Random(0)
    before = draws.getstate()
    found = pools(space, layers_of(space), count, draws, lambda arch: True)
    assert (draws.getstate() == before) is all_there_are
    assert set(found) == {(name, option) for name in "ab" for option in (0, 1)}
    if all_there_are:
        every = list(space.every())
        assert all(pool == [arch for arch in every if arch[name] == option] for (name, option), pool in found.items())


def test_a_layer_without_rivals_has_no_pool():
    space = Space(nn.Sequential(*numbers("ab", 3).model, *numbers("c", 1).model))
    found = pools(space, layers_of(space), 3, random.Random(0), lambda arch: True)
    assert {name for name, _ in found} == {"a", "b"}


def test_pools_of_a_large_space_are_filled_and_no_further():
    """Each option asks for what it lacks alone: of 4,096 networks four options of one layer, at five each, are 20."""
    space, asked = numbers("abcdef"), []
    found = pools(space, layers_of(space), 5, random.Random(0), lambda arch: asked.append(arch) or True)
    assert min(map(len, found.values())) == 5
    assert len(asked) == len(set(asked)) < 40
    assert all(arch[name] == option for (name, option), pool in found.items() for arch in pool)


def test_for_each_child_that_lacks_a_hundred_are_drawn():
    """Where nothing is allowed: options of one layer ask for two children each, and draw 200 times."""
    space, drawn = numbers("abcdefgh"), Counter()

    class Counted(random.Random):
        def choice(self, values):
            drawn["choices"] += 1
            return super().choice(values)

    found = pools(space, layers_of(space), 2, Counted(0), lambda arch: False)
    assert not any(found.values())
    assert drawn["choices"] == 8 * 4 * 2 * 100 * 7  # all but the decision that is held


def skipping() -> Space:
    """Two layers that may be skipped, one that is nothing but skips, one without."""
    layers = {"a": ("identity", "x", "y"), "b": ("identity", "x", "y"), "c": ("identity",), "d": ("x", "y", "z")}
    return Space(nn.Sequential(*(Choice(n, {o: nn.Identity() for o in options}) for n, options in layers.items())))


@pytest.mark.parametrize(("chained", "share"), [(True, 1 / 2), (False, 1 / 3)])
def test_a_child_has_its_option_and_in_a_chain_skips_half_of_what_it_may(chained, share):
    """Of two layers that may, 0, 1 or 2 are skipped, each as likely; elsewhere an option is as likely as another."""
    space, draws = skipping(), random.Random(1)
    layers, count = layers_of(space), 3000
    drawn = [space.decide(child(space, layers, ("d", "y"), draws, chained)) for _ in range(count)]
    assert {arch["d"] for arch in drawn} == {"y"}
    for name in "ab":
        found = Counter(arch[name] for arch in drawn)
        assert found["identity"] / count == pytest.approx(share, abs=0.04)
        assert found["x"] / count == pytest.approx((1 - share) / 2, abs=0.04)
    both = Counter(sum(arch[name] == "identity" for name in "ab") for arch in drawn)
    assert both[2] / count == pytest.approx(1 / 3 if chained else 1 / 9, abs=0.04)


def test_what_is_asked_for_stays_where_it_may_be_skipped_too():
    space, draws = skipping(), random.Random(1)
    drawn = [space.decide(child(space, layers_of(space), ("a", "x"), draws, True)) for _ in range(400)]
    assert {arch["a"] for arch in drawn} == {"x"}
    assert sum(arch["b"] == "identity" for arch in drawn) / 400 == pytest.approx(1 / 2, abs=0.1)


def test_what_winnow_knows_of_it():
    record = strategy_of(angle_based)
    assert record.leaves == {"children"}
    assert not record.watched
    assert record.shared
    assert record.short == {"first": 1, "until": 1, "children": 5}


@pytest.mark.parametrize(
    ("make", "chained"), [(lambda: numbers("abcdef"), True), (lambda: cells("nas_bench_201"), False)]
)
def test_children_of_cells_are_drawn_as_paths_are_and_those_of_chains_are_not(monkeypatch, make, chained):
    told, space = [], make()
    monkeypatch.setattr(module, "child", lambda view, layers, key, draws, chain: told.append(chain) or uniform(draws))
    pools(space, layers_of(space), 3, random.Random(0), lambda arch: True)
    assert set(told) == {chained}
