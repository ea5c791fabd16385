"""Cream: the board, who teaches, and what the matching learns. Resuming at every step is in test_resume.py."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from tests.search.methods.test_children import PLAIN, chain, elastic, points, split
from tests.search.planted import bench_of, data
from tests.search.toys import Loader, Recorded, snapshot
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.search.board import Board, Entry
from winnow.search.matching import Matching, virtual_slope
from winnow.search.methods import cream as module
from winnow.search.methods.cream import School, Teacher, cream
from winnow.search.selections.shortlist import by_shortlist
from winnow.search.strategy import strategy_of
from winnow.train.seeds import rng, seeded


def path(name: str) -> Architecture:
    return Architecture.of({"a": name})


def entry(name: str, score: float, macs: float) -> Entry:
    return Entry(path(name), score, macs, torch.zeros(1), torch.zeros(1))


def full() -> Board:
    board = Board(3, 5.0)
    for name, score, macs in (("x", 50.0, 10.0), ("y", 40.0, 20.0), ("z", 30.0, 30.0)):
        board.add(entry(name, score, macs))
    return board


@pytest.mark.parametrize(
    ("name", "score", "macs", "taken"),
    [
        ("n", 35.1, 99.0, True),  # better by more than the lead, whatever it costs
        ("n", 35.0, 99.0, False),
        ("n", 30.1, 29.0, True),  # better and cheaper
        ("n", 30.1, 30.0, False),
        ("n", 30.0, 1.0, False),  # no better
        ("y", 99.0, 1.0, False),  # there already
    ],
)
def test_a_full_board_takes_what_the_rule_of_the_code_takes(name, score, macs, taken):
    assert full().admits(path(name), score, lambda arch: macs) is taken


def test_a_board_stays_sorted_and_never_grows_beyond_its_size_and_of_equals_the_cheaper_stays():
    board = full()
    board.add(entry("n", 40.0, 15.0))
    assert [e.architecture["a"] for e in board.entries] == ["x", "n", "y"]
    board.add(entry("m", 40.0, 99.0))
    assert [e.architecture["a"] for e in board.entries] == ["x", "n", "y"]
    assert all(Board(1, 5.0).admits(path("n"), score, lambda arch: 0.0) for score in (-1.0, 0.0))


def test_what_a_board_remembers_comes_back():
    board, other = full(), Board(3, 5.0)
    other.restore(board.state())
    assert [(e.architecture, e.score, e.macs) for e in other.entries] == [
        (e.architecture, e.score, e.macs) for e in board.entries
    ]


def test_the_slope_is_that_of_the_virtual_step_differentiated_whole():
    space, rate = chain(2, 2), 0.3
    arch = space.decide(lambda d: "o1")
    (x, _), (held, answers), told = points(6), points(6, 1), torch.randn(6, 3).double()
    before = snapshot(space)

    def loss(weights, x, y):
        return F.cross_entropy(functional_call(space, weights, (x, arch)), y)

    weight = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    weights = dict(space.named_parameters())
    on = {name: p for name, p in weights.items() if "candidates.o0" not in name}
    taught = F.cross_entropy(functional_call(space, weights, (x, arch)), told.softmax(1))
    along = torch.autograd.grad(weight * taught, list(on.values()), create_graph=True)
    moved = {**weights, **{name: p - rate * g for (name, p), g in zip(on.items(), along, strict=True)}}
    (expected,) = torch.autograd.grad(loss(moved, held, answers), weight)

    taught = F.cross_entropy(space(x, arch), told.softmax(1))
    slope = virtual_slope(space, taught, 0.4, rate, lambda: F.cross_entropy(space(held, arch), answers))
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-12)
    assert expected.abs() > 1e-4
    assert all(torch.equal(before[name], p) for name, p in space.named_parameters())
    assert all(p.grad is None for p in space.parameters())


def test_the_matching_steps_against_the_slope_and_no_further_than_norm_one():
    with seeded(0):
        differences = torch.randn(6)
    matching = Matching(6, 0.1, 0, torch.device("cpu"))
    first = torch.cat([Matching(6, 0.1, seed, torch.device("cpu")).layer.weight.flatten() for seed in range(30)])
    assert -1 <= first.min() < -0.95 < 0.95 < first.max() <= 1
    assert not matching.layer.bias.any()
    before = matching.weight(differences).item()
    matching.learn(differences, torch.tensor(-1e6), 0.5)
    after = matching.weight(differences).item()
    moved = torch.cat([p.grad.flatten() for p in matching.layer.parameters()])
    assert after > before  # the loss falls as the weight rises
    assert moved.norm().item() == pytest.approx(1.0, rel=1e-4)
    assert matching.optimiser.param_groups[0]["lr"] == pytest.approx(0.05)


def school(space, board=None) -> School:
    bench = bench_of(space, data(), data(seed=1), splits={"weights": split()})
    return module._school(bench, board or Board(2, 5.0), 4, 0.1)


def test_saying_judging_and_lessons_move_no_weight_and_no_statistics():
    space = elastic()
    teaching, arch = school(space), space.decide(lambda d: d.values[0])
    other = space.decide(lambda d: d.values[-1])
    before = {name: value.clone() for name, value in space.state_dict().items()}
    teaching.score(arch)
    batch = data().batches[0]
    start = teaching.matching.layer.weight.clone()
    teaching.lesson(batch, arch, Teacher(other, 0.5, torch.ones(16)), 0.1, 1.0)
    assert not torch.equal(start, teaching.matching.layer.weight)
    assert all(torch.equal(before[name], value) for name, value in space.state_dict().items())
    assert all(p.grad is None for p in space.parameters())


def test_the_entry_that_matches_best_teaches_and_its_own_degree_is_the_weight():
    space = elastic()
    teaching = school(space)
    archs = [space.decide(lambda d: d.values[0]), space.decide(lambda d: d.values[-1])]
    batch = data().batches[0]
    for arch in archs:
        teaching.offer(batch, arch, teaching.score(arch), space(batch[0], arch))
    told = teaching.chosen(archs[0], "matched")
    degrees = [
        teaching.matching.layer(
            (teaching.bench.task.answer(teaching.said(torch.cat([e.x for e in teaching.board.entries]), archs[0])))
            .unflatten(0, (2, 4))[i]
            .sub(e.answers)
            .flatten()
        ).item()
        for i, e in enumerate(teaching.board.entries)
    ]
    best = max(range(2), key=degrees.__getitem__)
    assert told.architecture == teaching.board.entries[best].architecture
    assert told.weight == pytest.approx(1 / (1 + torch.tensor(-degrees[best]).exp().item()), rel=1e-5)
    assert teaching.chosen(archs[0], "best").architecture == teaching.board.entries[0].architecture


def test_half_the_loss_is_taught_and_the_teacher_gets_no_gradient(monkeypatch):
    """One step of teaching, by hand: of the matching nothing moves, of the teacher only what the student shares."""
    space, batch = chain(2, 2).float(), tuple(t.float() if t.is_floating_point() else t for t in points(8))
    student, teacher = (space.decide(lambda d, o=o: o) for o in ("o0", "o1"))
    told = Teacher(teacher, 0.3)
    monkeypatch.setattr(School, "chosen", lambda self, arch, by: told)
    monkeypatch.setattr(School, "offer", lambda self, *given: self.board.entries.append(entry("o0", 0.0, 0.0)))
    monkeypatch.setattr(School, "refresh", lambda self: None)
    monkeypatch.setattr(module, "uniform", lambda draws: lambda d: "o0")
    outputs = space(batch[0], student)
    taught = F.cross_entropy(outputs, space(batch[0], teacher).detach().softmax(1))
    expected = (0.3 * taught + 1.7 * F.cross_entropy(outputs, batch[1])) / 2
    losses = []
    monkeypatch.setattr(module, "backward", lambda loss: losses.append(loss) or loss.backward() or loss.detach())
    bench = bench_of(space, Loader([batch, batch]), Loader([batch]), splits={"weights": split()})
    cream(bench, replace(PLAIN, epochs=1, lr=1e-12), start=0)
    torch.testing.assert_close(losses[1], expected)
    assert all(p.grad is None for name, p in space.named_parameters() if "candidates.o1" in name)


def test_nobody_is_asked_while_the_maps_of_the_path_wait_for_backward(monkeypatch):
    """Of the passes of a step the one that learns is the last: maps of the others take no memory beside its own."""
    space, steps = elastic(), []
    passes, backward = [], module.backward
    space.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    monkeypatch.setattr(module, "backward", lambda loss: steps.append(passes[:]) or passes.clear() or backward(loss))
    monkeypatch.setattr(School, "refresh", lambda self: passes.clear())
    cream(bench_of(space, data(seed=1), data(seed=2), splits={"weights": split()}), PLAIN, start=0, lessons=1)
    taught = steps[1:]  # in the first nobody teaches, and what layers cost is counted once
    assert taught
    assert all(each == [False, False, False, True] for each in taught), "chosen, said and scored, then learnt"


def test_the_board_is_left_as_shortlist_and_a_limit_that_empties_it_is_said():
    space, watch = elastic(), Recorded()
    parts = {"watch": watch, "splits": {"weights": split()}, "judged": split()}
    bench = bench_of(space, data(seed=1), data(seed=2), **parts)
    with seeded(0):
        found = cream(bench, replace(PLAIN, epochs=6), size=3)
    assert len(set(found.shortlist)) == 3
    assert all({"accuracy_random_1", "accuracy_random_2"} <= set(row) for row in watch.epochs)
    chosen, rows = by_shortlist(replace(bench, shortlist=found.shortlist))
    assert chosen in found.shortlist
    assert [row["kept"] for row in rows].count(True) == 1
    best = max(row["accuracy"] for row in rows)
    assert next(row["accuracy"] for row in rows if row["kept"]) == best
    with pytest.raises(Refused, match="none of the 3 architectures on the search's shortlist is within the limits"):
        by_shortlist(replace(bench, shortlist=found.shortlist, allowed=lambda arch: False))
    with pytest.raises(Refused, match="needs shortlist"):
        by_shortlist(bench)


def test_a_start_after_the_end_and_a_batch_too_small_are_refused():
    bench = bench_of(elastic(), data(), data(seed=1), splits={"weights": split()})
    with pytest.raises(Refused, match="start is 2 and epochs 2: no epoch is left"):
        cream(bench, replace(PLAIN, epochs=2), start=2)
    with pytest.raises(Refused, match="a batch has 24 rows, and a lesson takes 13 to teach and 13 to tell"):
        cream(bench, replace(PLAIN, epochs=2), rows=13)


def test_a_path_must_lead_by_five_points_of_accuracy_in_a_hundred(monkeypatch):
    leads = []

    class Seen(Board):
        def __init__(self, size, lead):
            leads.append((size, lead))
            super().__init__(size, lead)

    monkeypatch.setattr(module, "Board", Seen)
    bench = bench_of(elastic(), data(seed=1), data(seed=2), splits={"weights": split()})
    cream(bench, replace(PLAIN, epochs=1), start=0, size=3)
    assert leads == [(3, 5.0)]


def test_lessons_are_smaller_as_the_rate_falls(monkeypatch):
    """Six an epoch, each at the share that is left of the rate of the search."""
    shares, learn = [], Matching.learn
    monkeypatch.setattr(Matching, "learn", lambda self, *given: shares.append(given[2]) or learn(self, *given))
    batches = Loader(data(seed=1).batches * 6)  # of four
    bench = bench_of(elastic(), batches, data(seed=2), splits={"weights": split()})
    cream(bench, replace(PLAIN, epochs=2, lr=0.01), start=0)
    assert shares == pytest.approx([1 - step / 48 for step in range(48) if step % 24 and step % 4 == 0])


@pytest.mark.parametrize(
    ("epochs", "options", "begins"),
    [(5, {}, 0), (6, {}, 1), (12, {}, 2), (3, {"start": 2}, 2), (3, {"start": 0}, 0)],
)
def test_nobody_is_judged_or_taught_before_21_epochs_of_120_are_over(monkeypatch, epochs, options, begins):
    """Unless told otherwise; up to all but one."""
    told, at = [], []
    monkeypatch.setattr(School, "score", lambda self, arch: told.append(at[-1]) or 0.0)
    monkeypatch.setattr(School, "offer", lambda self, *given: None)
    monkeypatch.setattr(School, "refresh", lambda self: at.append(len(at)))
    space, batch = chain(2, 2).float(), tuple(t.float() if t.is_floating_point() else t for t in points(8))
    cream(bench_of(space, Loader([batch]), Loader([batch])), replace(PLAIN, epochs=epochs), **options)
    assert told == list(range(begins, epochs))


@pytest.mark.parametrize(("lessons", "places"), [(1, []), (2, [2]), (4, [1, 2, 3]), (9, [1, 2, 3])])
def test_lessons_are_spread_over_an_epoch_and_none_is_before_its_second_batch(monkeypatch, lessons, places):
    taught, steps = [], []
    monkeypatch.setattr(School, "lesson", lambda self, *given: taught.append(len(steps)))
    monkeypatch.setattr(module, "backward", lambda loss: steps.append(0) or loss.backward() or loss.detach())
    bench = bench_of(elastic(), data(seed=1), data(seed=2), splits={"weights": split()})  # of four batches
    cream(bench, replace(PLAIN, epochs=2), start=0, lessons=lessons)
    assert taught == [*places, *(4 + place for place in places)]


def test_with_the_best_as_teacher_both_halves_count_alike_and_nothing_is_learnt_of_it(monkeypatch):
    space = elastic()
    teaching = school(space, full())
    teacher = teaching.chosen(space.decide(lambda d: d.values[0]), "best")
    assert teacher == Teacher(path("x"), 0.5)
    assert teacher.differences is None
    taught = []
    monkeypatch.setattr(School, "lesson", lambda self, *given: taught.append(given))
    cream(bench_of(space, data(seed=1), data(seed=2), splits={"weights": split()}), PLAIN, start=0, teacher="best")
    assert not taught


def test_a_lesson_takes_as_many_rows_to_tell_as_to_teach_and_no_others():
    space, (x, y) = elastic(), data().batches[0]
    arch, other = (space.decide(lambda d, i=i: d.values[i]) for i in (0, -1))
    told, layers = Teacher(other, 0.5, torch.linspace(-1, 1, 16)), []
    for rows in (8, 24):
        teaching = school(space)
        teaching.lesson((x[:rows], y[:rows]), arch, told, 0.1, 1.0)
        layers.append(teaching.matching.layer.weight.detach())
    torch.testing.assert_close(*layers)
    with pytest.raises(Refused, match="a batch has 7 rows, and a lesson takes 4 to teach and 4 to tell"):
        school(space).lesson((x[:7], y[:7]), arch, told, 0.1, 1.0)


def test_the_slope_of_a_lesson_is_that_of_the_next_rows_after_a_step_on_the_first(monkeypatch):
    space, (x, y) = elastic().double(), data().batches[0]
    x, slopes = x.double(), []
    arch, other = (space.decide(lambda d, i=i: d.values[i]) for i in (0, -1))
    teaching = school_in_double(space)
    monkeypatch.setattr(Matching, "learn", lambda self, differences, slope, share: slopes.append((slope.item(), share)))
    teaching.lesson((x, y), arch, Teacher(other, 0.4, torch.zeros(16)), 0.1, 0.7)
    ends = []
    for weight in (0.4 + 1e-4, 0.4 - 1e-4):
        moved = copy.deepcopy(space)
        told = moved(x[:4], moved.decide(lambda d: d.values[-1])).detach().float().softmax(1)
        weights = [p for p in moved.parameters() if p.requires_grad]
        loss = F.cross_entropy(moved(x[:4], arch).float(), told)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        with torch.no_grad():
            for p, g in zip(weights, gradients, strict=True):
                if g is not None:
                    p -= 0.1 * weight * g
            ends.append(F.cross_entropy(moved(x[4:8], arch), y[4:8]).item())
    assert slopes[0][0] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=0.02)
    assert slopes[0][1] == 0.7


def school_in_double(space) -> School:
    batch = data(seed=1).batches[0]
    bench = bench_of(space, data(), Loader([(batch[0].double(), batch[1])]), splits={"weights": split()})
    return module._school(bench, Board(2, 5.0), 4, 0.1)


def test_what_is_taken_onto_the_board_holds_a_few_rows_and_is_judged_anew():
    space, (x, y) = elastic(), data().batches[0]
    teaching, archs = school(space), [space.decide(lambda d, i=i: d.values[i]) for i in (0, -1)]
    outputs = torch.arange(96.0).reshape(24, 4)
    for arch, score in zip(archs, (200.0, -1.0), strict=True):
        teaching.offer((x, y), arch, score, outputs)
    assert [(e.architecture, e.score) for e in teaching.board.entries] == [(archs[0], 200.0), (archs[1], -1.0)]
    for each in teaching.board.entries:
        assert torch.equal(each.x, x[:4])
        assert torch.equal(each.answers, teaching.bench.task.answer(outputs[:4]))
        assert each.macs == teaching.bench.sizes(each.architecture)["macs"]
    teaching.refresh()
    scores = {arch: teaching.score(arch) for arch in archs}
    assert [(e.architecture, e.score) for e in teaching.board.entries] == sorted(
        scores.items(), key=lambda row: (-row[1], teaching.bench.sizes(row[0])["macs"])
    )
    for each in teaching.board.entries:
        assert torch.equal(each.answers, teaching.bench.task.answer(teaching.said(x[:4], each.architecture)))


@pytest.mark.parametrize("options", [{}, {"judge": False}])
def test_the_same_two_random_paths_are_judged_unless_told_otherwise(monkeypatch, options):
    rows, space = [], elastic()
    monkeypatch.setattr(module, "train_children", lambda bench, recipe, lesson, judged, **more: rows.append(judged(0)))
    cream(bench_of(space, data(seed=1), data(seed=2), seed=3), replace(PLAIN, epochs=9), **options)
    random = {f"random_{i}": space.decide(uniform(rng(3, "judged", i))) for i in (1, 2)}
    assert rows[0] == ({} if options else random)


def test_what_winnow_knows_of_it():
    record = strategy_of(cream)
    assert record.leaves == {"children", "shortlist"}
    assert not record.watched
    assert not record.shared
    assert record.short == {"start": 0}
    assert {name: given for name, (_, given) in record.options().items()} == {
        **{"size": 10, "start": None, "teacher": "matched", "lessons": 6, "matching_lr": 1e-4, "rows": 4},
        "judge": True,
    }
