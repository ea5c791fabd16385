"""search.methods.ofa: phases, rates and corners of small spaces, counted by hand."""

import itertools
import math

import pytest
import torch
from torch import nn

from tests.search.methods.test_children import elastic
from tests.search.planted import bench_of, data
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.methods import ofa as module
from winnow.search.methods.ofa import BASE, BETWEEN, FULL, LAST, Phase, corners, kind, ofa, phase_at, plan, rate
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy_of

RATE = {"full": 1.0, "kernel": 3e-2 / BASE, "between": 2.5e-3 / BASE, "last": 7.5e-3 / BASE}


def space(**decisions: tuple) -> Space:
    """Decisions by names in which _ stands for /, of whole numbers that compute nothing."""
    return Space(
        nn.Sequential(
            *(
                Choice(name.replace("_", "/"), {option: nn.Identity() for option in options})
                for name, options in decisions.items()
            )
        )
    )


def told(made: Space, epochs: int) -> list[tuple]:
    return [(phase.name, phase.first, phase.end, phase.children) for phase in plan(made, epochs)]


def test_the_published_numbers():
    assert (FULL, LAST, BETWEEN, BASE) == (180, 120, 25, 0.08125)
    assert {name: round(share, 4) for name, share in RATE.items()} == {
        "full": 1.0,
        "kernel": 0.3692,
        "between": 0.0308,
        "last": 0.0923,
    }


def test_kernels_open_at_once_then_depths_and_then_widths_one_by_one():
    made = space(u_width=(1, 2, 3), u_depth=(1, 2), v_depth=(1, 2), u_kernel=(3, 5, 7), v_rest=(4,))
    phases = plan(made, 5)
    assert [(p.name, p.children, p.widths) for p in phases] == [
        ("full", 1, False),
        ("kernel", 1, False),
        ("depth 2", 2, False),
        ("width 2", 4, True),
        ("width 3", 4, True),
    ]
    assert [p.rate for p in phases] == pytest.approx([RATE[n] for n in ("full", "kernel", "last", "between", "last")])
    live = [{name: len(options) for name, options in p.live.items()} for p in phases]
    names = ("u/kernel", "u/depth", "v/depth", "u/width", "v/rest")
    assert [tuple(each[name] for name in names) for each in live] == [
        (1, 1, 1, 1, 1),
        (3, 1, 1, 1, 1),
        (3, 2, 2, 1, 1),
        (3, 2, 2, 2, 1),
        (3, 2, 2, 3, 1),
    ]
    assert phases[3].live["u/width"] == (2, 3)
    assert phases[0].live == {"u/width": (3,), "u/depth": (2,), "v/depth": (2,), "u/kernel": (7,), "v/rest": (4,)}


def test_a_kind_opens_as_far_as_the_one_with_most_options():
    phases = plan(space(u_depth=(1, 2, 3), v_depth=(1, 2)), 3)
    assert [(p.name, len(p.live["u/depth"]), len(p.live["v/depth"])) for p in phases] == [
        ("full", 1, 1),
        ("depth 2", 2, 2),
        ("depth 3", 3, 2),
    ]


@pytest.mark.parametrize(
    ("epochs", "ends"),
    [
        (325, [180, 205, 325]),
        (65, [36, 41, 65]),
        (26, [14, 16, 26]),
        (4, [2, 3, 4]),
        (3, [1, 2, 3]),
        (5, [3, 4, 5]),  # 2.8 and 3.2 of 5: the second phase has its epoch all the same
    ],
)
def test_phases_share_the_epochs_in_proportion_and_each_has_one(epochs, ends):
    made = space(u_depth=(1, 2, 3))
    assert told(made, epochs) == [
        ("full", 0, ends[0], 1),
        ("depth 2", ends[0], ends[1], 2),
        ("depth 3", ends[1], ends[2], 2),
    ]


def test_as_many_epochs_as_phases_are_enough_and_one_less_is_not():
    made = space(u_kernel=(3, 5))
    assert told(made, 2) == [("full", 0, 1, 1), ("kernel", 1, 2, 1)]
    with pytest.raises(Refused, match="has 2 phases here: epochs takes that many or more, not 1"):
        plan(made, 1)


@pytest.mark.parametrize(("epoch", "number"), [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2)])
def test_a_phase_ends_before_its_last_number(epoch, number):
    phases = [Phase(str(i), first, end, {}, 1, 1.0) for i, (first, end) in enumerate([(0, 2), (2, 5), (5, 6)])]
    assert phase_at(phases, epoch) is phases[number]
    assert not phases[0].widths


@pytest.mark.parametrize(
    ("schedule", "step", "share"),
    [
        (None, 0, 1.0),
        (None, 2, 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2),
        (None, 4, 0.55),
        ("cosine", 4, 0.55),
        ("linear", 2, 0.775),
        ("linear", 4, 0.55),
        ("linear", 8, 0.5),  # a run of its own
        ("linear", 10, 0.1 + 0.4 / 2),
        ("linear", 12, 0.05),  # whose rate is below where rates end: it stays
        ("linear", 15, 0.05),
        ("linear", 16, 0.05),  # after the last step
    ],
)
def test_rates_fall_from_that_of_each_phase_to_the_least(schedule, step, share):
    """Four steps an epoch: two epochs, one and one."""
    phases = [Phase("a", 0, 2, {}, 1, 1.0), Phase("b", 2, 3, {}, 1, 0.5), Phase("c", 3, 4, {}, 1, 0.05)]
    recipe = Recipe(epochs=4, lr=0.2, lr_min=0.02, schedule=schedule)
    assert rate(phases, recipe, 4, step) == pytest.approx(share)


def test_after_its_last_step_a_rate_is_the_least():
    phases = [Phase("a", 0, 2, {}, 1, 1.0)]
    assert rate(phases, Recipe(epochs=2, lr=0.2, lr_min=0.05, schedule="linear"), 4, 8) == pytest.approx(0.25)
    assert rate(phases, Recipe(epochs=2, lr=0.2, lr_min=0.05), 4, 9) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("name", "last"), [("unit1/block1/kernel", "kernel"), ("u/depth", "depth"), ("width", "width")]
)
def test_the_kind_is_the_last_part_of_a_name(name, last):
    assert kind(name) == last


def test_corners_are_all_kinds_at_either_end():
    made = space(u_depth=(1, 2), v_depth=(1, 2, 3), u_width=(4, 5))
    found = {name: tuple(arch[d] for d in ("u/depth", "v/depth", "u/width")) for name, arch in corners(made).items()}
    assert found == {
        "largest": (2, 3, 5),
        "depth_largest_width_smallest": (2, 3, 4),
        "depth_smallest_width_largest": (1, 1, 5),
        "smallest": (1, 1, 4),
    }
    assert {name: dict(arch) for name, arch in corners(space(u_depth=(1, 2))).items()} == {
        "largest": {"u/depth": 2},
        "smallest": {"u/depth": 1},
    }


@pytest.mark.parametrize("options", [("a", "b"), (1, "b")])
def test_options_that_are_no_numbers_do_not_shrink(options):
    with pytest.raises(Refused, match=r"'u/depth' takes one of .*: search this space with spos, fair or sandwich"):
        plan(space(u_depth=options), 9)


def test_subsets_of_numbers_do_not_shrink():
    made = Space(nn.Sequential(Choice("inputs", {i: nn.Identity() for i in range(3)}, pick=2)))
    with pytest.raises(Refused, match=r"'inputs' takes several of \(0, 1, 2\)"):
        plan(made, 9)


def test_defaults_are_published_and_all_that_winnow_knows_of_it():
    record = strategy_of(ofa)
    assert {name: given for name, (_, given) in record.options().items()} == {"kd": 1.0, "sort": True, "judge": True}
    assert record.leaves == {"children"}
    assert not record.watched
    assert record.shared


@pytest.mark.parametrize(("epoch", "children", "loss"), [(0, 1, 1.0), (1, 1, 1.0), (3, 2, 1.5), (5, 4, 2.5)])
def test_the_loss_of_a_batch_is_the_mean_over_its_networks(monkeypatch, epoch, children, loss):
    """Whose losses are 1, 2, 3, ... here; of six phases in six epochs depths have the third and fourth."""
    lessons, losses = [], itertools.count(1)
    monkeypatch.setattr(module, "train_children", lambda bench, recipe, lesson, judged, **more: lessons.append(lesson))
    monkeypatch.setattr(module, "backward", lambda each: torch.tensor(float(next(losses))))
    ofa(bench_of(elastic(), data(), ()), Recipe(epochs=6))
    assert lessons[0](epoch)(data().batches[0]).item() == loss
    assert next(losses) == children + 1


@pytest.mark.parametrize("options", [{}, {"judge": False}])
def test_corners_of_the_phase_are_judged_unless_told_otherwise(monkeypatch, options):
    rows, space = [], elastic()
    monkeypatch.setattr(module, "train_children", lambda bench, recipe, lesson, judged, **more: rows.append(judged))
    ofa(bench_of(space, data(), ()), Recipe(epochs=6), **options)
    for epoch, phase in enumerate(plan(space, 6)):
        assert rows[0](epoch) == ({} if options else corners(space.within(phase.live)))


@pytest.mark.parametrize(("options", "sorts"), [({}, [4, 5]), ({"sort": False}, [])])
def test_channels_are_sorted_before_each_phase_of_widths_and_momentum_begins_anew_with_every_phase(
    monkeypatch, options, sorts
):
    """Of twelve epochs each phase has two; the first takes what is left of theirs."""
    rows, space, sorted_at, now = [], elastic(), [], []
    monkeypatch.setattr(module, "train_children", lambda bench, recipe, lesson, judged, **more: rows.append(more))
    monkeypatch.setattr(module, "sort_channels", lambda view: sorted_at.append(now[-1]))
    ofa(bench_of(space, data(), ()), Recipe(epochs=12), **options)
    phases, optimiser = plan(space, 12), rows[0]["optimiser"]
    weight = next(space.parameters())
    begun = []
    for epoch in range(12):
        now.append(phases.index(phase_at(phases, epoch)))
        optimiser.state[weight] = {"momentum_buffer": torch.ones(2)}
        rows[0]["begin"](epoch)
        if not optimiser.state[weight]["momentum_buffer"].any():
            begun.append(epoch)
    assert begun == [phase.first for phase in phases[1:]]
    assert sorted_at == sorts
