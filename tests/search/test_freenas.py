"""Exact properties of synaptic flow, the published counts of removals, and what limits do."""

import copy
import itertools

import pytest
import torch
from torch import nn

from winnow.core.decision import Number
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.elastic import Conv
from winnow.proxies.sizes import sizes_of
from winnow.search.freenas import Flow, freenas
from winnow.spaces.darts import darts
from winnow.spaces.nas_bench_201 import EDGES, nas_bench_201
from winnow.train.seeds import seeded

SHAPE = (3, 8, 8)
FULL_3X3 = {f"{node}<-{source}": "nor_conv_3x3" for source, node in EDGES}


@pytest.fixture(scope="module")
def space() -> Space:
    with seeded(0):
        return nas_bench_201(channels=2, cells=2)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(space: Space) -> Flow:
    return Flow(space, SHAPE, draws(), torch.float64)


def alphas(space: Space, kind: str) -> dict[str, dict]:
    stream = draws(1)
    numbers = {"ones": lambda: 1.0, "uniform": lambda: 0.2, "random": lambda: float(torch.rand((), generator=stream))}
    return {d.name: {o: numbers[kind]() for o in d.options} for d in space.decisions.values()}


@pytest.mark.parametrize("kind", ["ones", "uniform", "random"])
@pytest.mark.parametrize("cut", [("3<-0", "3<-1", "3<-2"), ("1<-0", "2<-0", "3<-0")])
def test_what_flows_is_conserved(space, kind, cut):
    flow, scores = exact(space)(alphas(space, kind))
    assert sum(sum(scores[name].values()) for name in cut) / flow == pytest.approx(6, rel=1e-10)


def test_scores_are_alpha_times_the_slope(space):
    alive, h = alphas(space, "random"), 1e-5
    run = exact(space)
    _, scores = run(alive)
    for name, options in scores.items():
        assert options["none"] == 0
        for option in ("skip_connect", "nor_conv_3x3"):
            ends = []
            for sign in (1, -1):
                moved = {**alive, name: {**alive[name], option: alive[name][option] + sign * h}}
                ends.append(run(moved)[0])
            slope = (ends[0] - ends[1]) / (2 * h)
            assert options[option] == pytest.approx(alive[name][option] * slope, rel=1e-6)
            assert options[option] > 0


def test_scaling_a_layer_before_the_cells_scales_every_score(space):
    plain, scaled = exact(space), exact(space)
    with torch.no_grad():
        next(scaled.model.parameters()).mul_(3)
    (r, before), (r3, after) = plain(alphas(space, "uniform")), scaled(alphas(space, "uniform"))
    assert r3 == pytest.approx(3 * r)
    assert all(after[n][o] == pytest.approx(3 * v) for n, options in before.items() for o, v in options.items())


@pytest.mark.parametrize("kind", ["uniform", "random"])
def test_single_precision_says_what_double_does(space, kind):
    alive = alphas(space, kind)
    (_, double), (_, single) = exact(space)(alive), Flow(space, SHAPE, draws())(alive)
    assert all(single[n][o] == pytest.approx(v, rel=1e-5) for n, options in double.items() for o, v in options.items())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nas_bench_201_in_24_passes_ends_in_the_largest_cell_at_once_or_step_by_step(space, seed):
    before = {name: t.clone() for name, t in space.state_dict().items()}
    passes = []
    arch, evidence = freenas(space, SHAPE, draws(seed), watch=passes.append)
    assert dict(arch) == FULL_3X3
    assert len(passes) == 24
    assert [row.kept for row in evidence] == [False] * 24 + [True] * 6
    assert {row.option for row in evidence[:6]} == {"none"}
    flows = [row.flow for row in evidence]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(flows))
    assert freenas(space, SHAPE, draws(seed), at_once=True)[0] == arch
    assert all(torch.equal(t, space.state_dict()[name]) for name, t in before.items())


def test_neither_weights_nor_classes_nor_data_matter_but_the_seed_does():
    with seeded(5):
        other = nas_bench_201(channels=2, cells=1, classes=100)
    with seeded(0):
        space = nas_bench_201(channels=2, cells=1)
    removed = [[(row.decision, row.option) for row in freenas(s, SHAPE, draws())[1]] for s in (space, other)]
    assert removed[0] == removed[1]
    found = {freenas(space, SHAPE, draws(seed), random_alpha=True)[0] for seed in range(4)}
    assert len(found) > 1
    assert freenas(space, SHAPE, draws(0), random_alpha=True)[0] in found


@pytest.mark.parametrize(
    ("candidates", "removals"), [("s3", 2 * 14 * 2), pytest.param("darts", 196, marks=pytest.mark.slow)]
)
def test_darts_loses_operations_then_twelve_inputs(candidates, removals):
    with seeded(0):
        space = darts(channels=2, layers=3, candidates=candidates)
    arch, evidence = freenas(space, SHAPE, draws())
    space.check(arch)
    removed = [row for row in evidence if not row.kept]
    assert [row.decision.count("/") for row in removed] == [2] * removals + [1] * 12
    assert not any(row.option == "none" for row in evidence if row.kept)


def test_a_limit_changes_the_choice_and_is_kept(space):
    size = sizes_of(space, SHAPE)
    largest, smallest = (size(space.decide(lambda d, o=o: o))["params"] for o in ("nor_conv_3x3", "none"))
    limit = (largest + smallest) / 2
    arch, _ = freenas(space, SHAPE, draws(), load=lambda a: size(a)["params"] / limit)
    assert dict(arch) != FULL_3X3
    assert 0.7 * limit < size(arch)["params"] <= limit
    with pytest.raises(Refused, match="within the limits"):
        freenas(space, SHAPE, draws(), load=lambda a: 2.0)


def test_limits_hold_where_decisions_nest():
    with seeded(0):
        space = darts(channels=2, layers=3, candidates="s3")
    size = sizes_of(space, SHAPE)
    free, _ = freenas(space, SHAPE, draws(), at_once=True)
    limit = 0.8 * size(free)["params"]
    arch, evidence = freenas(space, SHAPE, draws(), load=lambda a: size(a)["params"] / limit)
    space.check(arch)
    assert 0.7 * limit < size(arch)["params"] <= limit
    assert sum(not row.kept for row in evidence) == 2 * 14 * 2 + 12


def test_what_cannot_flow_is_refused():
    dead = Space(nn.Sequential(Choice("a", {"x": nn.Conv2d(3, 2, 3), "y": nn.Conv2d(3, 2, 3)}), nn.Flatten(1)))
    broken = copy.deepcopy(dead)
    broken.model.append(nn.Threshold(1e30, 0.0))
    with pytest.raises(Refused, match="not a positive number"):
        freenas(broken, SHAPE, draws())
    assert freenas(dead, SHAPE, draws())[0]["a"] in ("x", "y")


def small() -> Space:
    """Two choices of three, of which each may lose two."""
    with seeded(0):
        holes = [Choice(name, {k: nn.Conv2d(3, 3, k, padding=k // 2) for k in (1, 3, 5)}) for name in ("x/a", "y/b")]
        return Space(nn.Sequential(*holes, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)))


@pytest.mark.parametrize(("at_once", "events", "passes"), [(False, [0, 1, 2, 3], 4), (True, [0] * 4, 1)])
def test_events_count_passes_and_what_stays_is_told_last(at_once, events, passes):
    made, told = small(), []
    arch, evidence = freenas(made, SHAPE, draws(), at_once=at_once, watch=told.append)
    assert told == [1] * passes
    assert [row.event for row in evidence] == [*events, passes, passes]
    assert {row.decision: row.option for row in evidence if row.kept} == dict(arch)
    assert len({(row.decision, row.option) for row in evidence}) == 6
    seconds = [row.seconds for row in evidence]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


def test_the_weakest_is_that_of_the_smallest_share_of_its_cell_type():
    """Scores of the first pass, over the sum of their type: what goes first has the least of all."""
    made = small()
    _, scores = Flow(made, SHAPE, draws())(
        {name: dict.fromkeys(d.options, 1 / 3) for name, d in made.decisions.items()}
    )
    shares = {(n, o): score / sum(options.values()) for n, options in scores.items() for o, score in options.items()}
    (first, *_) = freenas(made, SHAPE, draws())[1]
    assert (first.decision, first.option) == min(shares, key=shares.get)
    assert first.score == pytest.approx(scores[first.decision][first.option])


def test_of_a_type_with_two_decisions_the_sum_is_of_both():
    with seeded(0):
        holes = [Choice(n, {k: nn.Conv2d(3, 3, k, padding=k // 2) for k in (1, 3)}) for n in ("x/a", "x/b", "y/c")]
        made = Space(nn.Sequential(*holes, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)))
    _, scores = Flow(made, SHAPE, draws())({name: dict.fromkeys(d.options, 0.5) for name, d in made.decisions.items()})
    of_x = sum(sum(scores[name].values()) for name in ("x/a", "x/b"))
    shares = {
        (n, o): s / (of_x if n[0] == "x" else sum(scores[n].values())) for n in scores for o, s in scores[n].items()
    }
    removed = [row for row in freenas(made, SHAPE, draws(), at_once=True)[1] if not row.kept]
    assert (removed[0].decision, removed[0].option) == min(shares, key=shares.get)


def test_a_hole_that_is_no_choice_is_named():
    width = Number.open("width", (4, 8))
    made = Space(nn.Sequential(Conv(3, width), Conv(width, 2)))
    with pytest.raises(Refused, match="FreeNAS prunes choices, and decision 'width' is a Conv"):
        freenas(made, SHAPE, draws())


def test_an_option_that_no_architecture_may_have_goes_before_all_others():
    with seeded(0):
        kernels = {"large": nn.Conv2d(3, 3, 7, padding=3), "small": nn.Conv2d(3, 3, 1), "other": nn.Conv2d(3, 3, 1)}
        hole = Choice("a", kernels, mixture_only=("large",))
        made = Space(nn.Sequential(hole, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)))
    evidence = freenas(made, SHAPE, draws())[1]
    assert evidence[0].option == "large"
    assert evidence[0].score > evidence[1].score
