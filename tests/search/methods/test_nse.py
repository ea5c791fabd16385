"""search.methods.nse and what it stands on: codes, the two-code gradient, the front, and how operations come and go."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.search.planted import bench_of
from tests.search.toys import Loader, Recorded, cells, images
from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Subsets
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.holes.branches import Branches
from winnow.search.bench import Bench
from winnow.search.codes import (
    chances_of,
    expected_cost,
    fire,
    likelihood,
    one_code,
    paired,
    pairs_of,
    setting_of,
    two_codes,
)
from winnow.search.evolving import Cells, Judged, Round, best_of, rounds_of, sampled, summed
from winnow.search.extremes import cheapest, dearest
from winnow.search.methods import nse as module
from winnow.search.methods.nse import Front, Later, Search, nse
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits
from winnow.search.strategy import strategy_of
from winnow.spaces.multibranch import SETS
from winnow.train.seeds import derived, seeded

LETTERS = tuple("abcdefgh")


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def chain(count: int, operations: int, passing: bool = True, most: int = 8) -> Space:
    """Cells one after another, of operations that multiply by 1, 2, ..."""
    made = [{LETTERS[i]: Times(1.0 + i) for i in range(operations)} for _ in range(count)]
    return Space(nn.Sequential(*(Branches(f"c{i}", each, most, passing) for i, each in enumerate(made))))


def number(y: torch.Tensor) -> float:
    return y.detach().item()


# ---- cells


def test_a_cell_is_the_mean_of_what_is_on_and_of_its_input_where_that_passes():
    x = torch.tensor([[2.0]])
    assert number(chain(1, 3)(x, {"c0": ("a", "c")})) == pytest.approx((2 + 2 + 6) / 3)
    assert number(chain(1, 3)(x, {"c0": ()})) == 2
    assert number(chain(1, 3, passing=False)(x, {"c0": ("a", "c")})) == pytest.approx((2 + 6) / 2)
    assert isinstance(chain(1, 3).derive({"c0": ()})[0], nn.Identity)
    with pytest.raises(ValueError, match="'c0' takes"):
        chain(1, 3, passing=False).decide(lambda d: ())


def test_weights_of_a_cell_are_gates_and_weights_of_codes_are_a_mixture():
    x, space = torch.tensor([[2.0]]), chain(1, 3)
    gates = torch.tensor([1.0, 0.0, 1.0])
    assert number(space(x, {"c0": gates})) == pytest.approx(number(space(x, {"c0": ("a", "c")})))
    assert number(space(x, {"c0": torch.tensor([0.5, 0.0, 0.0])})) == pytest.approx((2 + 0.5 * 2) / 1.5)
    assert number(chain(1, 3, passing=False)(x, {"c0": gates})) == pytest.approx((2 + 6) / 2)
    mixed = {("a",): torch.tensor(0.25), ("a", "c"): torch.tensor(0.75)}
    each = [number(space(x, {"c0": code})) for code in mixed]
    assert number(space(x, {"c0": mixed})) == pytest.approx(0.25 * each[0] + 0.75 * each[1])


# ---- codes


def test_chances_of_all_codes_add_up_to_one():
    chance = dict(zip(LETTERS, (0.1, 0.5, 0.8, 0.35), strict=False))
    codes = list(Subsets(tuple(chance), 0, 4))
    assert sum(likelihood(code, chance) for code in codes) == pytest.approx(1)
    assert likelihood((), chance) == pytest.approx(0.9 * 0.5 * 0.2 * 0.65)


def test_a_parameter_of_zero_fires_in_half_of_the_codes_and_no_chance_is_certain():
    assert torch.equal(fire(torch.zeros(3)), torch.full((3,), 0.5))
    assert float(fire(torch.tensor(99.0))) == pytest.approx(0.9995)
    assert float(fire(torch.tensor(-99.0))) == pytest.approx(0.0005)
    assert float(fire(torch.tensor(-2.0))) == pytest.approx(0.119, abs=1e-3)


@pytest.mark.parametrize("passing", [True, False])
def test_codes_are_drawn_by_their_chance_among_those_that_a_cell_may_have(passing):
    d = Decision("c", tuple("abc"), 3, least=0 if passing else 1)
    chance = {"a": 0.8, "b": 0.3, "c": 0.5}
    draws, count = random.Random(0), 4000
    counted = dict.fromkeys(d.values, 0)
    for _ in range(count):
        counted[one_code(d, chance, draws)] += 1
    whole = sum(likelihood(code, chance) for code in d.values)
    for code, times in counted.items():
        assert times / count == pytest.approx(likelihood(code, chance) / whole, abs=0.03)


@pytest.mark.parametrize("options", ["ab", "abcdefgh"])
@pytest.mark.parametrize("passing", [True, False])
def test_two_codes_differ_and_are_such_that_the_cell_may_have(options, passing):
    d = Decision("c", tuple(options), len(options), least=0 if passing else 1)
    for chance in (0.5, 0.0005, 0.9995):
        draws = random.Random(1)
        for _ in range(50):
            one, other = two_codes(d, dict.fromkeys(options, chance), draws)
            assert one != other
            assert one in d.values
            assert other in d.values


def test_of_one_option_at_a_time_a_code_has_one_on():
    d = Decision("c", tuple("abc"))
    assert {one_code(d, dict.fromkeys("abc", 0.5), random.Random(i)) for i in range(20)} == set("abc")


# ---- the gradient of two codes


def test_the_value_is_that_of_the_first_code_and_branches_of_the_second_learn_nothing():
    space = chain(1, 2, passing=False)
    theta = {name: nn.Parameter(torch.tensor([0.3, -0.2])) for name in space.decisions}
    x = torch.randn(5, 1)
    setting, first = setting_of(space, {"c0": paired(space, "c0", theta["c0"], ("a",), ("b",))}, random.Random(0))
    y = space(x, setting)
    assert dict(first) == {"c0": ("a",)}
    assert torch.equal(y, space(x, {"c0": ("a",)}))
    (y**2).sum().backward()
    kept, other = (space.holes[0].candidates[name].factor for name in "ab")
    assert float(kept.grad) != 0
    assert not float(other.grad)
    assert theta["c0"].grad.abs().min() > 0


@pytest.mark.parametrize("passing", [True, False])
def test_over_all_pairs_the_gradient_points_where_the_exact_one_does(passing):
    """At parameters of zero, of any loss; elsewhere it is biased."""
    torch.manual_seed(0)
    for _ in range(15):
        operations = {name: nn.Linear(3, 3, bias=False) for name in "ab"}
        space = Space(nn.Sequential(Branches("c", operations, 2, passing)))
        theta, x, y = torch.zeros(2, requires_grad=True), torch.randn(4, 3), torch.randn(4, 3)
        codes = list(space.decisions["c"].values)

        def loss(setting, space=space, x=x, y=y):
            return ((space(x, setting) - y) ** 2).mean()

        p = dict(zip("ab", fire(theta), strict=True))
        likely = [torch.stack([p[o] if o in code else 1 - p[o] for o in "ab"]).prod() for code in codes]
        expected = sum(c * loss({"c": code}).detach() for c, code in zip(likely, codes, strict=True)) / sum(likely)
        (exact,) = torch.autograd.grad(expected, theta)
        total = torch.zeros(2)
        for one, other in itertools.permutations(codes, 2):
            setting, _ = setting_of(space, {"c": paired(space, "c", theta, one, other)}, random.Random(0))
            total += torch.autograd.grad(loss(setting), theta)[0]
        assert float(total @ exact) > 0


def test_the_expected_cost_is_that_of_both_codes_as_likely_as_they_are():
    space = chain(3, 2)
    theta = {name: nn.Parameter(torch.randn(2)) for name in space.decisions}
    pairs = pairs_of(space, theta, random.Random(0))
    _, first = setting_of(space, pairs, random.Random(0))
    price = {"a": 3.0, "b": 5.0}

    def of(code):
        return sum(price[option] for option in code)

    found = expected_cost(space, first, pairs, lambda arch: 7 + sum(map(of, arch.values())))
    wanted = 7 + sum(share[0] * of(one) + share[1] * of(other) for one, other, share in pairs.values())
    torch.testing.assert_close(found, wanted)
    assert all(each is not None for each in torch.autograd.grad(found, list(theta.values())))


# ---- how operations come and go


def test_what_hardly_fires_goes_but_not_what_was_inherited_and_two_stay_where_one_is_needed():
    for passing, left in ((True, ["a", "d"]), (False, ["a", "d"])):
        space = chain(1, 4, passing)
        cells = Cells(space, 4)
        cells.line_up(0, 4, random.Random(0))
        cells.refill()
        cells.inherited["c0"] = ["a"]
        theta = {"c0": torch.tensor([-9.0, -2.1, -3.0, -2.0])}
        assert cells.prune(theta) == 2
        assert sorted(cells.active["c0"]) == left
        cells.inherited["c0"] = []
        assert cells.prune({"c0": torch.full((4,), -5.0)}) == (2 if passing else 0)
        assert len(cells.active["c0"]) == (0 if passing else 2)


@pytest.mark.parametrize(("count", "keep", "rounds", "met"), [(27, 5, 6, 25), (19, 6, 3, 16)])
def test_each_operation_comes_once_and_the_published_rounds_do_not_reach_all(count, keep, rounds, met):
    space = Space(nn.Sequential(Branches("c", {f"o{i}": nn.Identity() for i in range(count)}, keep, True)))
    assert len(rounds_of([count], keep, None, None, 100)) == rounds
    cells, came = Cells(space, keep), []
    cells.line_up(0, count, random.Random(0))
    for _ in range(rounds):
        before = set(cells.inherited["c"])
        cells.refill()
        came += [option for option in cells.active["c"] if option not in before]
        cells.inherit([{"c": (cells.active["c"][-1],)}])
    assert len(came) == len(set(came)) == met


def test_rounds_of_chained_spaces_follow_from_what_there_is_and_share_the_epochs():
    plan = rounds_of([72] * 3, 5, [27, 45], None, 230)
    assert [sum(each.number == i for each in plan) for i in range(2)] == [6, 17]
    plan = rounds_of([72] * 3, 5, [27, 45], [6, 3], 900)
    assert plan[5:7] == [Round(0, 0, 27, 100), Round(1, 27, 72, 100)]
    for given, said in (
        (([72], 5, [27, 44], None, 99), "spaces takes numbers that add up to the options of every decision, 72"),
        (([72], 5, [27, 45], [6], 99), "rounds takes one number a space, of which there are 2"),
        (([27], 5, None, None, 5), "there are 6 rounds, and each takes an epoch or more: epochs is 5"),
    ):
        with pytest.raises(Refused, match=said):
            rounds_of(*given)


def network(space: Space, *codes) -> object:
    return space.decide(lambda d: codes[int(d.name[1:])])


def test_on_the_front_is_what_nothing_is_as_cheap_and_as_good_as_and_the_old_front_wins_ties():
    space = chain(1, 4)
    old, same, better, dear, spare = (network(space, code) for code in [("a",), ("b",), ("c",), ("d",), ("a", "b")])
    ranked = [Judged(old, 5, 70.0), Judged(same, 5, 70.0), Judged(better, 8, 80.0), Judged(dear, 9, 80.0)]
    assert [each.architecture for each in best_of(ranked)] == [old, better]
    found = best_of([*ranked, Judged(spare, 4, 75.0, spare=True)])
    assert [each.architecture for each in found] == [better], "which pushes the old one off, and is none itself"
    found = best_of([*ranked, Judged(spare, 4, 99.0, spare=True)])
    assert [each.architecture for each in found] == [old, better], "where nothing else would be left"


@pytest.mark.parametrize("passing", [True, False])
def test_costs_that_add_up_are_read_from_a_table_of_options(passing):
    space, price, asked = chain(3, 5, passing), dict(zip(LETTERS, (3, 1, 4, 1, 5), strict=False)), []

    def cost(arch):
        asked.append(arch)
        return 10.0 + sum(price[o] for code in arch.values() for o in code)

    table = summed(space, cost)
    archs = [space.decide(lambda d, i=i: d.values[i]) for i in range(len(space.decisions["c0"].values))]
    wanted = [cost(arch) for arch in archs]
    asked.clear()
    assert [table(arch) for arch in archs] == wanted
    assert len(asked) < 20
    assert table(cheapest(space, table)) == (10 if passing else 13)
    assert table(dearest(space, table)) == 10 + 3 * sum(price.values())
    odd = lambda arch: cost(arch) * (1 + len(arch["c0"]))  # noqa: E731
    assert summed(space, odd) is odd


def test_networks_are_drawn_within_the_band_and_evenly_where_chances_leave_none():
    space = chain(2, 4)
    cost = lambda arch: float(sum(map(len, arch.values())))  # noqa: E731
    rare = {name: dict.fromkeys("abcd", 0.0005) for name in space.decisions}
    found = sampled(space, rare, random.Random(0), 10, 5, 8, cost)
    assert len(found) == len(set(found)) == 10
    assert {cost(arch) for arch in found} <= {6, 7}
    assert sampled(space, rare, random.Random(0), 10, 8, 9, cost) == []


def test_the_cell_of_72_operations_never_lists_its_subsets(monkeypatch):
    operations = {op.name: nn.Identity() for op in SETS["grouped"]}
    assert len(operations) == 72
    space = Space(nn.Sequential(*(Branches(f"c{i}", operations, 12, i % 2 == 0) for i in range(4))))

    def listed(self):
        raise AssertionError("there are more than 10^13 subsets")

    monkeypatch.setattr(Subsets, "__iter__", listed)
    cells = Cells(space, 12)
    cells.line_up(0, 72, random.Random(0))
    cells.refill()
    view, theta = cells.view(), {name: torch.zeros(72) for name in cells.whole}
    pairs = pairs_of(view, theta, random.Random(0))
    arch = setting_of(view, pairs, random.Random(0))[1]
    assert space.count() > 10**13
    assert len(sampled(view, chances_of(view, theta), random.Random(0), 5, 0, 99, lambda arch: 1.0)) == 5
    cost = lambda arch: float(sum(map(len, arch.values())))  # noqa: E731
    assert cost(cheapest(space, summed(space, cost))) == 2
    assert cells.prune({name: torch.full((72,), -5.0) for name in cells.whole}) == 2 * (12 + 10)
    space.check(arch)


# ---- the whole


def bench(space: Space, seed: int = 3, **more) -> Bench:
    train, valid = (Loader([images(8, 2 * i + k) for i in range(2)]) for k in (0, 1))
    return bench_of(space, train, valid, seed=seed, **more)


def small() -> Space:
    return cells("multibranch")


def test_what_is_left_is_what_the_front_uses_and_epochs_are_told_in_one_row():
    space, told, watch = small(), [], Recorded()
    with seeded(1):
        found = nse(bench(space, watch=watch, say=told.append), Recipe(epochs=3, lr=0.05), keep=2, samples=5)
    assert len(watch.epochs) == 3
    assert len(told) == 3
    assert "round 3 of 3: " in told[-1]
    for name, d in found.space.decisions.items():
        assert {o for arch in found.shortlist for o in arch[name]} == set(d.options)
    assert all(found.space.check(arch) is None for arch in found.shortlist)
    assert found.metrics["front"] == len(found.shortlist) >= 1


def test_hidden_operations_are_found_when_they_come_and_stay(monkeypatch):
    """A score that pays for one operation of each cell: as soon as it is active it is inherited, to the end."""
    space, seen = small(), []
    hidden = {name: d.options[3] for name, d in space.decisions.items()}
    inherit = Cells.inherit

    def watched(self, archs):
        before = {name: list(options) for name, options in self.active.items()}
        inherit(self, archs)
        seen.append((before, {name: list(options) for name, options in self.inherited.items()}))

    monkeypatch.setattr(Cells, "inherit", watched)
    monkeypatch.setattr(
        "winnow.search.methods.nse._judge",
        lambda bench: lambda arch: float(sum(hidden[name] in code for name, code in arch.items())),
    )
    nse(bench(space), Recipe(epochs=3, lr=0.01), keep=2, samples=60)
    came = dict.fromkeys(hidden, False)
    for active, inherited in seen:
        for name, option in hidden.items():
            came[name] |= option in active[name]
            assert (option in inherited[name]) == came[name]
    assert sum(came.values()) >= 3, "not all options come in three rounds"


def test_of_the_first_space_nothing_comes_back_and_its_front_is_judged_again(monkeypatch):
    space, plans, judged = small(), [], []
    refill = Cells.refill
    monkeypatch.setattr(Cells, "refill", lambda self: (refill(self), plans.append(dict(self.active)))[0])
    best = best_of

    def recorded(networks):
        judged.append([each.architecture for each in networks])
        return best(networks)

    monkeypatch.setattr("winnow.search.methods.nse.best_of", recorded)
    found = nse(bench(space), Recipe(epochs=3, lr=0.01), keep=2, spaces=[2, 2], rounds=[1, 2], samples=6)
    options = {name: d.options for name, d in space.decisions.items()}
    for name, (one, two, *_) in options.items():
        assert set(plans[0][name]) == {one, two}
        left = {o for arch in judged[1] for o in arch[name]} & {one, two}
        assert set(plans[2][name]) & {one, two} <= left
    fronts = [best_of([Judged(arch, 0, 0.0) for arch in archs]) for archs in judged]
    assert len(fronts) == 3
    assert all(any(arch in judged[i + 1] for arch in judged[i]) for i in range(2)), "networks of the round before"
    assert found.shortlist


def test_weights_are_trained_by_balanced_codes_whatever_is_learnt_of_operations(monkeypatch):
    """Each active operation is on in half of the codes, however sure its fire parameter is."""
    monkeypatch.setattr("winnow.search.evolving.CLOSED", -99.0)
    space, seen = chain(1, 3), []
    space = Space(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), *space.model, nn.Linear(4, 3)))

    def objective(batch, setting):
        seen.append(setting["c0"])
        return nn.functional.cross_entropy(space(batch[0], setting), batch[1])

    train = Loader([images(2, i) for i in range(120)])
    searched = bench_of(space, train, train, objective=objective)
    nse(searched, Recipe(epochs=1, lr=0.0001), keep=2, rounds=[1], samples=2, fire_lr=1.0)
    codes = [code for code in seen if isinstance(code, tuple)][:120]
    active = sorted({o for code in codes for o in code})
    assert len(active) == 2
    assert [sum(o in code for code in codes) / len(codes) for o in active] == pytest.approx([0.5, 0.5], abs=0.12)


def test_a_space_too_small_to_shrink_and_a_limit_that_empties_a_cell_are_sentences():
    space, recipe = small(), Recipe(epochs=3, lr=0.05)
    with pytest.raises(Refused, match="no decision has more than 4 options, which is too small to shrink to 4"):
        nse(bench(space), recipe, keep=4)
    with pytest.raises(Refused, match="a cell that needs an operation would have none; raise search"):
        nse(bench(space), recipe, target=1000.0)
    with pytest.raises(Refused, match=r"a round has 1 epochs, of which search\.nse\.warmup takes fewer, not 1"):
        nse(bench(space), recipe, warmup=1)
    with pytest.raises(Refused, match="there are 3 rounds, and each takes an epoch or more"):
        nse(bench(space), replace(recipe, epochs=2))
    with pytest.raises(Refused, match="no network of round 1 lies between 9,000,000,000 and 9,000,000,001 MACs"):
        nse(bench(space), recipe, band=[9e9, 9e9 + 1], samples=2, extra=0)


def test_single_paths_evolve_too():
    space = cells("nas_bench_201")
    with seeded(1):
        found = nse(bench(space), Recipe(epochs=4, lr=0.05), samples=5)
    assert all(isinstance(value, str) for arch in found.shortlist for value in arch.values())
    assert found.space.count() < space.count()


# ---- how rounds are told, one by one


def wide(count: int, cells: int = 1) -> Space:
    return Space(
        nn.Sequential(*(Branches(f"c{i}", {n: Times(1.0 + n) for n in range(count)}, 8, True) for i in range(cells)))
    )


def set_up(space: Space, recipe: Recipe, **options) -> dict[str, object]:
    """What a search is made of; it does not run."""
    rows = []
    names = ("bench", "recipe", "cells", "logits", "band", "target", "strength", "fire_lr", "warmup", "samples")

    class Made:
        def __init__(self, *given):
            rows.append(dict(zip((*names, "extra"), given, strict=True)))

        def run(self, plan):
            rows[-1]["plan"] = plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Search", Made)
        nse(bench(space), recipe, **options)
    return rows[0]


@pytest.mark.parametrize(
    ("count", "options", "kept"),
    [
        (3, {}, 2),
        (5, {}, 2),
        (6, {}, 3),
        (9, {}, 4),
        (10, {}, 5),
        (12, {}, 5),
        (12, {"keep": 7}, 7),
        (3, {"keep": 2}, 2),
    ],
)
def test_a_cell_has_five_active_options_or_half_of_all_unless_told_otherwise(count, options, kept):
    found = set_up(wide(count), Recipe(epochs=20), **options)
    assert found["cells"].keep == kept
    assert len(found["plan"]) == (count - 1) // (kept - 1)


@pytest.mark.parametrize(("count", "options"), [(2, {}), (4, {"keep": 4}), (4, {"keep": 5})])
def test_as_many_options_as_stay_are_too_few(count, options):
    with pytest.raises(
        Refused, match=f"has more than {count} options, .* shrink to {options.get('keep', 2)} at a time"
    ):
        set_up(wide(count), Recipe(epochs=20), **options)


@pytest.mark.parametrize(
    ("options", "band"),
    [
        ({}, [0.0, math.inf]),
        ({"target": 100.0}, [84.0, 116.0]),
        ({"band": [3.0, 9.0]}, [3.0, 9.0]),
        ({"band": [3.0, 9.0], "target": 100.0}, [3.0, 9.0]),
    ],
)
def test_networks_lie_sixteen_per_cent_around_the_target_unless_told_otherwise(options, band):
    assert set_up(wide(3), Recipe(epochs=20), **options)["band"] == pytest.approx(band)


def test_what_is_left_open_is_published():
    found = set_up(wide(3), Recipe(epochs=20))
    names = ("strength", "fire_lr", "warmup", "samples", "extra", "target")
    assert [found[name] for name in names] == [0.9, 0.005, 0, 2000, 100, None]
    assert all(not vector.any() for vector in found["logits"].values())
    record = strategy_of(nse)
    assert record.leaves == {"children", "shortlist"}
    assert not record.watched
    assert record.short == {"spaces": None, "rounds": [1], "warmup": 0, "samples": 4, "extra": 0}


def test_a_round_is_longer_than_its_warmup():
    assert set_up(wide(3), Recipe(epochs=6), warmup=2)["warmup"] == 2
    with pytest.raises(Refused, match=r"a round has 3 epochs, of which search\.nse\.warmup takes fewer, not 3"):
        set_up(wide(3), Recipe(epochs=6), warmup=3)


def test_epochs_of_a_round_are_told_from_its_first():
    class Noted(Recorded):
        def epoch(self, epoch, metrics, weights=None):
            self.at = epoch
            return True

        def state(self):
            return {"at": self.at}

        def restore(self, state):
            self.at = state["at"]

    watch = Noted()
    later = Later(watch, 3)
    assert later.epoch(2, {}) is True
    assert watch.at == 5
    later.step()
    later.step(4)
    assert watch.steps == 5
    assert later.state() == {"at": 5}
    later.restore({"at": 9})
    assert watch.at == 9


def test_a_front_comes_back_as_it_was():
    front, other = Front(), Front()
    front.networks = [
        Judged(Architecture.of({"c0": [1, 2]}), 5.0, 70.0),
        Judged(Architecture.of({"c0": [0]}), 3.0, 60.0),
    ]
    other.restore(front.state())
    assert other.networks == front.networks


def searching(space: Space | None = None, **changes) -> Search:
    """With costs that are sums: 10 for each operation that is on."""
    space = space or wide(4, 2)
    made = bench(space, **changes.pop("of_bench", {}))
    made = replace(made, sizes=lambda arch: {"macs": 10.0 * sum(map(len, arch.values()))})
    cells = Cells(space, 2)
    cells.line_up(0, 4, random.Random(0))
    cells.refill()
    logits = Logits(space, torch.Generator().manual_seed(0), scale=0.0, subsets=True)
    plan = {"band": [0.0, math.inf], "target": None, "strength": 0.9, "fire_lr": 0.1, "warmup": 0}
    return Search(made, Recipe(epochs=9), cells, logits, **{**plan, "samples": 3, "extra": 2, **changes})


@pytest.mark.parametrize(("high", "refused"), [(0.0, True), (math.inf, False), (1.0, False)])
def test_a_band_whose_end_is_the_cheapest_network_is_refused(high, refused):
    """Cells that pass their input need no operation: the cheapest network costs nothing."""
    search = searching(band=[0.0, high])
    if refused:
        with pytest.raises(
            Refused, match="networks below 0 MACs are asked for, and the cheapest of this space has 0: "
        ):
            search._check_band()
    else:
        search._check_band()


def test_batches_of_a_bench_that_has_no_rows_to_judge_by_are_the_first_four():
    space = Space(nn.Sequential(*wide(3).model, nn.Flatten(), nn.Linear(64, 3)))
    valid = [images(6, i) for i in range(6)]
    made = bench_of(space, Loader(valid), Loader(valid))
    arch = space.decide(lambda d: next(iter(d.values)))
    with torch.no_grad():
        right = [(space(x, arch).argmax(1) == y).float() for x, y in valid]
    assert module._judge(made)(arch) == pytest.approx(100 * float(torch.cat(right[:4]).mean()))


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"band": [60.0, 90.0]}, [(3, 60.0, 90.0), (2, 58.0, 60.0)]),
        ({"band": [60.0, 90.0], "target": 150.0}, [(3, 60.0, 90.0), (2, 55.0, 60.0)]),
        ({"band": [60.0, 90.0], "extra": 0}, [(3, 60.0, 90.0)]),
        ({}, [(3, 0.0, math.inf)]),
    ],
)
def test_spare_networks_lie_a_thirtieth_below_the_band(monkeypatch, options, asked):
    calls, archs = [], [Architecture.of({"c0": [0], "c1": [i]}) for i in range(4)]

    def sampled(view, chances, draws, count, low, high, cost):
        calls.append((count, pytest.approx(low), pytest.approx(high)))
        return archs[:2] if len(calls) == 1 else archs[2:3]

    told = []
    monkeypatch.setattr(module, "sampled", sampled)
    monkeypatch.setattr(module, "best_of", lambda found: told.append(found) or found[:1])
    search = searching(**options)
    search.front.networks = [Judged(archs[3], 1.0, 2.0)]
    search.score = lambda arch: 5.0 + arch["c1"][0]
    search._judge(0, 2)
    assert calls == asked
    expected = [archs[3], *archs[:2], *(archs[2:3] if len(asked) == 2 else [])]
    assert [each.architecture for each in told[0]] == expected, "those of the front before are the first"
    assert [each.score for each in told[0]] == [5.0 + arch["c1"][0] for arch in expected]
    assert [each.cost for each in told[0]] == [20.0] * len(expected)
    assert [each.spare for each in told[0]] == [len(asked) == 2 and arch == archs[2] for arch in expected]
    assert search.cells.inherited == {"c0": [0], "c1": [3]}


def test_where_no_network_is_in_the_band_the_round_is_told(monkeypatch):
    monkeypatch.setattr(module, "sampled", lambda *given: [])
    with pytest.raises(Refused, match=r"no network of round 2 lies between 1,000 and 2,000 MACs: widen search\.nse"):
        searching(band=[1000.0, 2000.0])._judge(1, 3)


def test_a_round_is_told_by_its_front_from_one_end_to_the_other():
    said: list[str] = []
    search = searching(of_bench={"say": said.append})
    ends = ((1.234e6, 71.0), (2e6, 70.0), (3.5e6, 75.5))
    search.front.networks = [Judged(Architecture.of({"c0": [i]}), cost, score) for i, (cost, score) in enumerate(ends)]
    search.cells.inherited = {"c0": [0, 1, 2], "c1": [3]}
    search._tell(1, 4, 17)
    assert said == [
        "  round 2 of 4: 17 networks judged, 3 on the front, accuracy 70.00 to 75.50, 1.23 to 3.50 million MACs; "
        "4 options stay"
    ]


PLAN = [Round(0, 0, 4, 2), Round(0, 0, 4, 3), Round(0, 0, 4, 4)]


def course(monkeypatch, search: Search, number: int, steps: int = 0) -> dict:
    """What the loop of a round is told, after so many steps of it."""
    rows: list[dict] = []

    def train_children(bench, recipe, lesson, judged, **given):
        rows.append({"bench": bench, "recipe": recipe, "judged": judged(0), **given})
        for _ in range(steps):
            given["stepped"]()

    curves: list[tuple] = []
    monkeypatch.setattr(module, "train_children", train_children)
    monkeypatch.setattr(
        module,
        "on_one_curve",
        lambda bench, recipe, warmup: curves.append((recipe.epochs, warmup)) or {"curve": curves},
    )
    search._train(number, PLAN)
    return rows[0]


@pytest.mark.parametrize(("steps", "fired"), [(1, 1), (2, 1), (3, 2), (5, 3), (6, 3)])
def test_every_second_step_the_fire_parameters_learn_and_what_hardly_fires_is_dropped(monkeypatch, steps, fired):
    calls, said = [], []
    monkeypatch.setattr(Search, "_fire", lambda self, optimiser: calls.append("fire"))
    monkeypatch.setattr(Cells, "prune", lambda self, theta: calls.append("prune") or 3)
    search = searching(of_bench={"say": said.append})
    course(monkeypatch, search, 1, steps)
    assert calls == ["fire", "prune"] * fired
    assert said == [f"  round 2 of 3 dropped {3 * fired} options that hardly fired"]


def test_a_round_that_drops_nothing_says_nothing(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(Search, "_fire", lambda self, optimiser: None)
    course(monkeypatch, searching(of_bench={"say": said.append}), 0, 4)
    assert said == []


@pytest.mark.parametrize(("number", "first", "epochs"), [(0, 0, 2), (1, 2, 3), (2, 5, 4)])
def test_a_round_has_its_own_epochs_curve_and_fire_rate(monkeypatch, number, first, epochs):
    search = searching(warmup=1)
    told = course(monkeypatch, search, number)
    assert (told["bench"].watch.first, told["recipe"].epochs, told["curve"]) == (first, epochs, [(epochs, 1)])
    assert told["judged"] == {}
    (group,) = told["kept"]["of_theta"].param_groups
    assert (group["lr"], group["betas"]) == (0.1, (0.0, 0.999))


@pytest.mark.parametrize(("number", "epoch", "anew"), [(0, 0, False), (1, 0, True), (2, 0, True), (1, 1, False)])
def test_weights_and_fire_parameters_begin_anew_with_each_round_but_the_first(monkeypatch, number, epoch, anew):
    search, seeds = searching(), []
    for vector in search.logits.values():
        vector.data += 1
    monkeypatch.setattr(module, "initialise", lambda space, seed: seeds.append(seed))
    course(monkeypatch, search, number)["begin"](epoch)
    assert seeds == ([derived(3, "initialise", number)] if anew else [])
    assert all(bool((vector == (0 if anew else 1)).all()) for vector in search.logits.values())


@pytest.mark.parametrize(("strength", "target"), [(0.9, 50.0), (0.5, 20.0), (0.9, 30.0)])
def test_networks_that_cost_more_than_the_target_are_paid_for_by_the_square(monkeypatch, strength, target):
    """Expected are 30 MACs whatever fires, and one more for each unit of a parameter."""
    search = searching(strength=strength, target=target)
    expected = lambda view, first, pairs, cost: 30 + sum(map(torch.sum, search.theta.values()))  # noqa: E731
    monkeypatch.setattr(module, "expected_cost", expected)
    search.bench = replace(search.bench, objective=lambda batch, setting: torch.zeros(()))
    seen = {}

    class Noted:
        def step(self):
            seen.update({name: vector.grad.clone() for name, vector in search.theta.items()})

        def zero_grad(self):
            seen["cleared"] = True

    search._fire(Noted())
    assert seen.pop("cleared")
    assert seen
    for gradient in seen.values():
        assert gradient.tolist() == pytest.approx([2 * strength * (30 / target - 1) / target] * 4)


def test_inner_layers_begin_anew_before_those_around_them():
    order = []

    class Noting(nn.Module):
        def __init__(self, name, *inside):
            super().__init__()
            self.name, self.inside = name, nn.ModuleList(inside)

        def reset_parameters(self):
            order.append((self.name, torch.rand(()).item()))

        def forward(self, x):
            return x

    space = Space(nn.Sequential(Noting("outer", Noting("inner")), *wide(2).model))
    module.initialise(space, 7)
    once = list(order)
    order.clear()
    module.initialise(space, 7)
    assert [name for name, _ in order] == ["inner", "outer"]
    assert order == once
