"""search.methods.neas and what it stands on: members, their mean, the split, potential and diversity, evolution."""

import copy
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.search.planted import bench_of
from tests.search.toys import Loader, cells, images, snapshot
from winnow.core.choosers import crossover, mutate, uniform
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.ensemble import Members, branched, counting
from winnow.measure.cost import macs
from winnow.search import room
from winnow.search.evolve import evolution
from winnow.search.layers import Layer, genes, layers_of
from winnow.search.methods import neas as module
from winnow.search.methods.neas import around, divergence, judged, members, neas, spread, standardised
from winnow.search.methods.spos import spos
from winnow.search.recipe import Recipe
from winnow.search.room import needs
from winnow.search.shrink import worst
from winnow.search.strategy import strategy_of
from winnow.spaces import build
from winnow.spaces.ensemble import suffixes
from winnow.tasks.classify import IMAGES
from winnow.train.criteria import outputs_and_loss
from winnow.train.seeds import rng, seeded

QUICK = {"first": 1, "later": 1, "contexts": 1, "batches": 1}


def pair(members: int = 2, final: bool = False) -> Space:
    """The chain of NAS-Bench-Macro with so many members, for `images`."""
    options = {"backbone": "macro", "width": 0.125, "members": members}
    with seeded(0):
        return build("ensemble", options, classes=3, image_channels=1, image_size=8, final=final)


def bench(space: Space, **more):
    train, valid = (Loader([images(8, 2 * i + k) for i in range(2)]) for k in (0, 1))
    return bench_of(space, train, valid, seed=3, **more)


@pytest.mark.parametrize("make", [lambda: pair(1), cells], ids=["one member", "nas_bench_201"])
def test_of_one_member_it_is_the_single_path_to_the_bit(make):
    def trained(method, **options) -> Space:
        space = make()
        with seeded(1):
            method(bench(space), Recipe(epochs=3, lr=0.05), **options)
        return space

    one, other = snapshot(trained(spos)), snapshot(trained(neas, **{**QUICK, "first": 3}, until=5, drop=1))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_in_training_members_speak_for_themselves_and_else_as_one():
    space = pair()
    arch = space.decide(lambda d: 5 if d.name == "split" else d.values[-1])
    x = images(4)[0]
    said = space(x, arch)
    assert isinstance(said, Members)
    assert len(said) == 2
    space.eval()
    child = space.derive(arch)
    alone = [branch(child.get_submodule("1").trunk(child[0](x))) for branch in child[1].branches]
    assert torch.equal(space(x, arch), torch.stack(alone).mean(0))
    assert torch.equal(child(x), space(x, arch))


def test_the_loss_is_the_sum_of_the_members_whatever_a_second_classifier_would_weigh():
    criterion, y = nn.CrossEntropyLoss(), torch.tensor([0, 2])
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    for auxiliary in (0.0, 0.4):
        first, loss = outputs_and_loss(Members((a, b)), y, criterion, auxiliary)
        assert torch.equal(first, (a + b) / 2)
        torch.testing.assert_close(loss, criterion(a, y) + criterion(b, y))
    assert torch.equal(outputs_and_loss((a, b), y, criterion, 0.0)[1], criterion(a, y))
    assert counting((a, b)) is a
    assert counting(a) is a


def test_two_equal_heads_are_one_network_and_the_trunk_learns_like_its():
    head = nn.Linear(4, 3)
    x, y = torch.randn(5, 4), torch.randint(3, (5,))
    trunk = nn.Linear(4, 4)
    alone = copy.deepcopy(trunk)
    outputs = branched(trunk(x), [head, copy.deepcopy(head)], training=True)
    sum(F.cross_entropy(each, y) for each in outputs).backward()
    F.cross_entropy(copy.deepcopy(head)(alone(x)), y).backward()
    assert torch.equal(counting(outputs), outputs[0])
    torch.testing.assert_close(trunk.weight.grad, alone.weight.grad)
    assert torch.equal(branched(trunk(x), [head, head], training=False), head(trunk(x)))


def test_the_mean_of_logits_is_no_worse_than_members_are_on_average():
    draws = torch.Generator().manual_seed(0)
    for _ in range(20):
        outputs = [3 * torch.randn(16, 5, generator=draws) for _ in range(3)]
        y = torch.randint(5, (16,), generator=draws)
        mean = sum(F.cross_entropy(each, y) for each in outputs) / 3
        assert F.cross_entropy(counting(Members(outputs)), y) <= mean + 1e-6


def test_spread_is_zero_where_all_answer_alike_and_knows_no_order():
    a, b, c = (torch.randn(6, 4) for _ in range(3))
    assert float(spread(IMAGES, [a, a, a])) == pytest.approx(0, abs=1e-6)
    assert float(spread(IMAGES, [a, b])) > 0
    torch.testing.assert_close(spread(IMAGES, [a, b, c]), spread(IMAGES, [c, a, b]))
    assert torch.equal(divergence(IMAGES, a, b), divergence(IMAGES, b, a))
    p, q = a.softmax(1), b.softmax(1)
    both = ((p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)).mean() / 2
    torch.testing.assert_close(divergence(IMAGES, a, b), both)
    torch.testing.assert_close(divergence(IMAGES, a, a + 2.0), torch.zeros(()), atol=1e-6, rtol=0)


def test_members_differ_after_the_split_wherever_they_can():
    space, draws = pair(), rng(0, "paths")
    tails = [suffixes(members(space, draws)) for _ in range(200)]
    assert {len(tail) for tail in tails} == {0, 2}
    assert all(one != other for one, other in (tail for tail in tails if tail))
    same = space.within({name: d.options[:1] for name, d in space.decisions.items()})
    one, other = suffixes(members(same, draws))
    assert one == other


def test_members_and_what_they_share_are_one_weight_an_option_until_they_are_retrained():
    space, final = pair(), pair(final=True)
    assert layers_of(space) == [
        Layer(tuple(name for name in space.decisions if name.startswith(f"layer{i}/"))) for i in range(1, 9)
    ]
    arch = space.decide(lambda d: 2 if d.name == "split" else "mb3_k3")

    def weights(child) -> int:
        return sum(p.numel() for p in child.parameters())

    once, apart = weights(space.derive(arch)), weights(final.derive(arch))
    assert apart - once == weights(space.derive(arch)[1].branches[0][:-1]) > 0
    assert macs(space.derive(arch).eval(), (1, 8, 8)) == macs(final.derive(arch).eval(), (1, 8, 8))


class Noise(nn.Module):
    def forward(self, x):
        return 20 * torch.randn_like(x)


def test_what_answers_at_random_is_diverse_and_goes_all_the_same():
    """Two options that are right and differ a little, and one that is broken."""
    with seeded(0):
        right = nn.Linear(4, 4)
        other = copy.deepcopy(right)
        with torch.no_grad():
            other.weight += 0.1 * torch.randn(4, 4)
        space = Space(nn.Sequential(Choice("a", {"good": right, "other": other, "odd": Noise()}), nn.Linear(4, 3)))
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = space(x, {"a": "good"}).argmax(1)
    layers = layers_of(space)
    with seeded(1):
        potential, diversity = judged(IMAGES, space, layers, [(x, y)], 4, random.Random(0))
    assert potential["a", "good"] == 100 > potential["a", "other"] > potential["a", "odd"]
    assert diversity["a", "odd"] > diversity["a", "good"] > 0
    u, z = standardised(potential), standardised(diversity)
    moderate = {key: u[key] + 0.5 * z[key] for key in u}
    assert worst(moderate, space, layers, 1, most=1) == [("a", "odd")]
    assert worst(z, space, layers, 1, most=1) != [("a", "odd")], "diversity alone keeps what is broken"


def test_equal_options_are_not_diverse():
    with seeded(0):
        layer = nn.Linear(4, 4)
        space = Space(nn.Sequential(Choice("a", {"x": layer, "y": copy.deepcopy(layer)}), nn.Linear(4, 3)))
    potential, diversity = judged(IMAGES, space, layers_of(space), held_of(space), 3, random.Random(0))
    assert diversity == {("a", "x"): 0.0, ("a", "y"): 0.0}
    assert len(set(potential.values())) == 1
    assert standardised(diversity) == {("a", "x"): 0.0, ("a", "y"): 0.0}


def held_of(space: Space):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    return [(x, torch.randint(3, (16,), generator=torch.Generator().manual_seed(1)))]


def test_an_option_is_tried_where_the_layer_is_reached():
    space, draws = pair(), random.Random(0)
    layers = {layer.first: layer for layer in layers_of(space)}
    for _ in range(50):
        for name in ("layer1/shared", "layer8/shared"):
            layer = layers[name]
            asked = around(space, layer, draws)
            (free,) = set(space.decisions) - set(asked)
            assert free in layer.names
            arch = space.decide(lambda d, a=asked: a.get(d.name, "identity"))
            assert arch[free] == "identity"


def test_the_space_shrinks_by_one_option_a_layer_and_members_keep_step():
    space, said = pair(), []
    found = neas(bench(space, say=said.append), Recipe(epochs=3, lr=0.05), **QUICK, until=1000, drop=8)
    assert "split" not in said[0]
    for layer in layers_of(space):
        options = {found.space.decisions[name].options for name in layer.names}
        assert len(options) == 1, "one set of options for all that share the candidates"
    assert found.space.count() <= 3**2 * 9**6
    assert found.space.decisions["split"].options == (2, 5, 8)


def test_beta_makes_members_differ():
    def after(beta: float) -> float:
        space = pair()
        with seeded(1):
            neas(bench(space), Recipe(epochs=6, lr=0.05), **{**QUICK, "first": 6}, until=10, beta=beta)
        space.train()
        arch = space.decide(lambda d: 2 if d.name == "split" else d.values[-1])
        with torch.no_grad():
            return float(spread(IMAGES, space(images(32, 5)[0], arch)))

    assert after(2.0) > 5 * after(0.0)


def test_when_the_split_moves_genes_are_kept():
    space = pair()
    layers = layers_of(space)
    late = space.decide(lambda d: 8 if d.name == "split" else f"{'mb3_k3' if d.name[5] in '1234' else 'mb6_k5'}")
    early = space.decide(lambda d: 2 if d.name == "split" else "identity" if d.name.endswith("member2") else "mb3_k3")

    def moved(arch, at: int):
        known = genes(layers, arch)
        return space.decide(lambda d: at if d.name == "split" else known[d.name])

    branches = suffixes(moved(late, 2))
    assert branches == [("mb3_k3", "mb3_k3", "mb6_k5", "mb6_k5", "mb6_k5", "mb6_k5")] * 2
    assert set(moved(early, 8).values()) == {8, "mb3_k3"}, "the first member's for what becomes shared"
    for i in range(50):
        draws = random.Random(i)
        space.check(space.decide(mutate(genes(layers, early), draws, 0.3)))
        space.check(space.decide(crossover(genes(layers, early), genes(layers, late), draws)))
    plain = cells()
    arch = plain.decide(uniform(random.Random(0)))
    assert genes(layers_of(plain), arch) is arch


def test_evolution_keeps_limits_also_when_the_split_moves():
    space = pair()
    most = macs(space.derive(space.decide(lambda d: 5 if d.name == "split" else "mb3_k3")).eval(), (1, 8, 8))
    cost = {}

    def allowed(arch) -> bool:
        cost[arch] = macs(space.derive(arch).eval(), (1, 8, 8))
        return cost[arch] <= most

    draws = random.Random(0)
    found = evolution(
        space, lambda arch: draws.random(), rng=random.Random(1), population=6, generations=2, allowed=allowed
    )
    assert len({each.architecture["split"] for each in found}) > 1
    assert all(cost[each.architecture] <= most for each in found)
    for each in found:
        space.check(each.architecture)


def test_an_ensemble_larger_than_memory_is_refused_before_it_is_trained(monkeypatch):
    space = pair()
    before = snapshot(space)
    monkeypatch.setattr(room, "memory_left", lambda: 2.0**17)
    with pytest.raises(Refused, match=r"batches of 8 needs about 0.0 GiB .* take fewer members, or a smaller width"):
        neas(bench(space), Recipe(epochs=2, lr=0.05), **QUICK, until=10)
    assert all(torch.equal(value, before[name]) for name, value in space.state_dict().items())


def test_what_training_needs_grows_with_members_and_batches():
    recipe = Recipe()
    one, two, three = (needs(pair(n), images(8)[0], recipe) for n in (1, 2, 3))
    assert one < two < three
    assert needs(pair(2), images(16)[0], recipe) > two
    assert needs(pair(2), images(8)[0], replace(recipe, momentum=0.0)) < two
    weights = sum(4 * p.numel() for p in pair(2).parameters())
    assert two > 2 * weights
    assert needs(pair(2).double(), images(8)[0].double(), recipe) == 2 * two, "eight bytes a number instead of four"
    assert needs(pair(2), SimpleNamespace(), recipe) == 2 * weights, "maps of inputs that are no tensor are not counted"


def test_a_bench_that_holds_nothing_out_is_refused():
    space = pair()
    with pytest.raises(Refused, match="batches that are held out, and this bench has none"):
        neas(replace(bench(space), valid=()), Recipe(epochs=2, lr=0.05), **QUICK, until=10)


def shrinking(monkeypatch, made, **options) -> SimpleNamespace:
    """What the loop that narrows spaces is told; nothing is trained."""
    rows = []
    monkeypatch.setattr(module, "shrinking", lambda bench, recipe, *two, **given: rows.append(SimpleNamespace(**given)))
    neas(made, Recipe(epochs=9), **{**QUICK, "until": 1.0, **options})
    return rows[0]


@pytest.mark.parametrize(("options", "mu"), [({}, 1.0), ({"mu": 0.25}, 0.25), ({"mu": 0.0}, 0.0)])
def test_an_option_is_worth_its_potential_and_mu_times_its_diversity(monkeypatch, options, mu):
    """Both standardised: of 10, 20 and 30 that is -1.2247, 0 and 1.2247."""
    keys, asked = [("a", i) for i in range(3)], []
    potential = dict(zip(keys, (10.0, 20.0, 30.0), strict=True))
    diversity = dict(zip(keys, (6.0, 2.0, 4.0), strict=True))
    monkeypatch.setattr(module, "judged", lambda *given: asked.append(given) or (potential, diversity))
    made = bench(cells("nas_bench_201"))
    found = shrinking(monkeypatch, made, contexts=3, batches=2, **options)
    unit = 1.5**0.5
    assert found.score(made.space, 7) == pytest.approx({keys[0]: -unit + mu * unit, keys[1]: -mu * unit, keys[2]: unit})
    (task, view, _, held, contexts, draws) = asked[0]
    assert (task, view, len(held), contexts) == (made.task, made.space, 2, 3)
    assert draws.random() == rng(3, "contexts", 7).random()


@pytest.mark.parametrize(("options", "count"), [({}, 7), ({"drop": 2}, 2)])
def test_of_each_layer_one_option_goes_at_most_and_seven_of_all(monkeypatch, options, count):
    space = chain_of(9)
    found = shrinking(monkeypatch, bench_of(space, Loader([images(4)]), Loader([images(4)])), **options)
    scores = {(f"c{i}", o): 10.0 * i + o for i in range(9) for o in range(3)}
    assert found.drop(scores, space) == [(f"c{i}", 0) for i in range(count)]


def chain_of(count: int) -> Space:
    layers = [Choice(f"c{i}", {o: nn.Identity() for o in range(3)}) for i in range(count)]
    return Space(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3)))


@pytest.mark.parametrize(("beta", "apart"), [({}, 0.0), ({"beta": 0.0}, 0.0), ({"beta": 0.5}, 0.5)])
def test_the_loss_is_less_by_beta_times_how_far_members_are_apart(monkeypatch, beta, apart):
    space, batch = pair(), images(8)
    made = bench(space)
    found = shrinking(monkeypatch, made, **beta)
    arch = space.decide(lambda d: {"split": 2}.get(d.name, "mb3_k3" if "1" in d.name.rpartition("/")[2] else "mb6_k5"))
    with torch.no_grad():
        outputs = space(batch[0], arch)
        plain = made.objective(batch, arch)
        loss = found.loss(batch, arch)
    assert isinstance(outputs, tuple)
    assert float(spread(IMAGES, outputs)) > 1e-4
    torch.testing.assert_close(loss, plain - apart * spread(IMAGES, outputs), rtol=1e-3, atol=1e-4)
    if not apart:
        assert found.loss is made.objective


@pytest.mark.parametrize(("batches", "there", "enough"), [(2, 1, True), (1, 1, True), (1, 0, False)])
def test_options_are_scored_on_batches_that_are_held_out(monkeypatch, batches, there, enough):
    """A bench that gives one gives it again."""
    made = bench_of(chain_of(2), Loader([images(4)]), Loader([images(4)] * there))
    if enough:
        shrinking(monkeypatch, made, batches=batches)
    else:
        with pytest.raises(Refused, match="scores options on batches that are held out, and this bench has none"):
            shrinking(monkeypatch, made, batches=batches)


def test_scores_are_standardised_over_all_options():
    keys = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert standardised(dict(zip(keys, (1.0, 3.0, 1.0, 3.0), strict=True))) == {
        keys[0]: -1.0,
        keys[1]: 1.0,
        keys[2]: -1.0,
        keys[3]: 1.0,
    }


def test_potential_is_the_mean_over_contexts_and_batches_and_diversity_that_over_the_others():
    """A layer alone: what its options say is the same in every context."""
    with seeded(0):
        options = {o: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)) for o in "xyz"}
        space = Space(nn.Sequential(Choice("a", options), Choice("b", {"only": nn.Identity()})))
    held = [images(8, 1), images(8, 2)]
    potential, diversity = judged(IMAGES, space, layers_of(space), held, 3, random.Random(0))
    with torch.no_grad():
        said = {o: [options[o](x) for x, _ in held] for o in "xyz"}
    assert set(potential) == set(diversity) == {("a", o) for o in "xyz"}
    for o in "xyz":
        right = [float((out.argmax(1) == y).float().mean()) * 100 for out, (_, y) in zip(said[o], held, strict=True)]
        assert potential["a", o] == pytest.approx(sum(right) / 2)
        far = [float(divergence(IMAGES, said[o][i], said[p][i])) for p in "xyz" if p != o for i in range(2)]
        assert diversity["a", o] == pytest.approx(sum(far) / 4, rel=1e-4)


def test_a_layer_that_nothing_reaches_is_refused():
    outer = Choice("outer", {"in": Choice("inner", {"x": nn.Identity(), "y": nn.Identity()}), "out": nn.Identity()})
    space = Space(nn.Sequential(outer))
    view = space.within({"outer": ["out"]})
    with pytest.raises(Refused, match="none of 100 random architectures reaches decision 'inner': search with spos"):
        around(view, Layer(("inner",)), random.Random(0))


def test_members_are_drawn_until_they_differ_a_hundred_times_at_most(monkeypatch):
    count, space = [], chain_of(1)
    monkeypatch.setattr(module, "suffixes", lambda arch: count.append(0) or [(1,), (1,)])
    members(space, random.Random(0))
    assert len(count) == 100
    monkeypatch.setattr(module, "suffixes", lambda arch: count.append(0) or [(1,), (2,)])
    count.clear()
    members(space, random.Random(0))
    assert len(count) == 1


def test_what_winnow_knows_of_it():
    record = strategy_of(neas)
    assert record.leaves == {"children"}
    assert not record.watched
    assert not record.shared
    assert record.short == {"first": 1, "until": 1, "contexts": 1}
    assert {name: given for name, (_, given) in record.options().items()} == {
        **{"first": 20, "later": 5, "until": 1e9, "drop": 7, "mu": 1.0, "contexts": 4, "batches": 2},
        "beta": 0.0,
    }
