"""search.methods.nse and what it stands on: codes, the two-code gradient, the front, and how operations come and go."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.search.planted import bench_of
from tests.search.toys import Loader, Recorded, cells, images
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
from winnow.search.methods.nse import nse
from winnow.search.recipe import Recipe
from winnow.spaces.multibranch import SETS
from winnow.train.seeds import seeded

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
