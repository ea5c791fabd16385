"""search.evolve with scores that cost nothing and winners that are known."""

import random
import statistics

import pytest
import torch
from torch import nn

from tests.judging import accuracy_and_loss
from tests.search.toys import Loader, cells, images
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.proxies.sizes import sizes_of
from winnow.search.evolve import Scored, evolution
from winnow.train.evaluate import calibrate


def chain(length: int, options: int = 4) -> Space:
    """`length` decisions of `options` each, and no weights."""
    return Space(
        nn.Sequential(*(Choice(f"gene/{i}", {j: nn.Identity() for j in range(options)}) for i in range(length)))
    )


def matches(target: Architecture):
    return lambda arch: float(sum(arch[name] == value for name, value in target.items()))


def run(space: Space, score, *, seed: int = 0, **options):
    return evolution(space, score, rng=random.Random(seed), **options)


@pytest.mark.parametrize("seed", range(2))
def test_it_finds_a_hidden_target_that_random_search_does_not(seed):
    space = chain(20)
    target = space.decide(uniform(random.Random(99)))
    found = run(space, matches(target), seed=seed)
    rng = random.Random(seed)
    by_chance = max(matches(target)(space.decide(uniform(rng))) for _ in range(len(found)))
    assert len(found) <= 50 * 21
    assert found[0].score >= 18
    assert found[0].score >= by_chance + 5


def test_no_child_breaks_any_of_several_limits():
    """Parameters, MACs and operations on bits, each about what half of the random ones take."""
    space = cells("resnet")
    sizes, rng = sizes_of(space, (1, 8, 8)), random.Random(1)
    drawn = [sizes(space.decide(uniform(rng))) for _ in range(40)]
    most = {name: statistics.median(each[name] for each in drawn) for name in ("params", "macs", "bitops")}

    def within(arch: Architecture) -> bool:
        return all(sizes(arch)[name] <= limit for name, limit in most.items())

    def wide(arch: Architecture) -> float:
        return sizes(arch)["macs"]

    assert not all(within(space.decide(uniform(rng))) for _ in range(20))
    found = run(space, wide, population=10, generations=4, parents=5, allowed=within)
    assert len(found) == 50
    assert all(within(each.architecture) for each in found)
    assert found[0].score == max(map(wide, (each.architecture for each in found))) > 0.9 * most["macs"]


def test_none_is_evaluated_twice_and_all_are_told_best_first():
    space, asked = chain(6), []
    target = first_of(space)

    def score(arch: Architecture) -> float:
        asked.append(arch.digest)
        return matches(target)(arch)

    found = run(space, score, population=20, generations=8)
    assert len(asked) == len(set(asked)) == len(found)
    assert {s.architecture.digest for s in found} == set(asked)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)


def first_of(space: Space) -> Architecture:
    return space.decide(lambda d: d.values[0])


def test_generations_and_origins_are_as_published():
    found = run(chain(20), matches(first_of(chain(20))), population=50, generations=4)
    counts = {(g, o): sum((s.generation, s.origin) == (g, o) for s in found) for g in range(5) for o in ORIGINS}
    assert [counts[0, origin] for origin in ORIGINS] == [50, 0, 0]
    for generation in range(1, 5):
        assert [counts[generation, origin] for origin in ORIGINS] == [0, 25, 25]


ORIGINS = ("random", "mutation", "crossover")


def test_an_odd_population_is_filled_up_at_random():
    found = run(chain(20), matches(first_of(chain(20))), population=7, generations=2)
    assert len(found) == 21
    assert sum(s.origin == "random" for s in found) == 7 + 2 * 1


def test_children_come_from_the_best_parents():
    space = chain(12)
    target = first_of(space)
    found = run(space, matches(target), population=40, generations=1, parents=2, mutation=0.0)
    top = [s.architecture for s in found if s.generation == 0][:2]
    for child in (s.architecture for s in found if s.origin == "crossover"):
        assert all(child[name] in (top[0][name], top[1][name]) for name in child)
    assert not [s for s in found if s.origin == "mutation"]  # nothing changes, so each is known already


def test_ties_go_to_the_one_found_earlier():
    asked = []

    def score(arch):
        asked.append(arch)
        return 1.0

    assert run(chain(5), score, population=10, generations=2)[0].architecture == asked[0]


def test_limits_hold_for_all_and_cost_is_asked_before_the_score():
    space = chain(10)

    def allowed(arch: Architecture) -> bool:
        return sum(arch.values()) <= 12

    def score(arch: Architecture) -> float:
        assert allowed(arch)
        return float(sum(arch.values()))

    found = run(space, score, population=20, generations=6, allowed=allowed)
    assert found[0].score == 12
    assert len(found) == 20 * 7


def test_limits_that_nothing_meets_are_refused():
    with pytest.raises(Refused, match=r"none of 1000 random .* raise those that select sets"):
        run(chain(10), lambda arch: 0.0, allowed=lambda arch: False)


def test_limits_that_next_to_nothing_meets_end_the_search_early():
    space = chain(10)
    only = space.decide(uniform(random.Random(0)))  # what a search of this seed draws first, and hardly ever again
    found = run(space, lambda arch: 1.0, population=5, generations=3, allowed=lambda arch: arch == only)
    assert [s.architecture for s in found] == [only]


@pytest.mark.parametrize("population", [2, 50])
def test_a_space_smaller_than_the_search_ends_it(population):
    space = chain(2, 3)
    found = run(space, lambda arch: float(sum(arch.values())), population=population, generations=1000)
    assert len(found) == 9
    assert found[0].score == 4


def test_a_population_of_two_and_one_parent():
    found = run(chain(8), matches(first_of(chain(8))), population=2, generations=30, parents=1)
    assert len(found) == 62
    assert found[0].score > found[-1].score


def test_no_generations_is_random_search():
    found = run(chain(8), lambda arch: 0.0, population=6, generations=0)
    assert [s.origin for s in found] == ["random"] * 6


def test_the_same_seed_gives_the_same_search():
    space = chain(8)
    one, again, other = (
        run(space, matches(first_of(space)), seed=seed, population=8, generations=4) for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other


def test_conditional_decisions_are_crossed_and_mutated():
    space = Space(
        nn.Sequential(
            Choice(
                "depth", {"flat": nn.Identity(), "deep": Choice("inner", {str(i): nn.Identity() for i in range(9)})}
            ),
            Choice("last", {"a": nn.Identity(), "b": nn.ReLU()}),
        )
    )
    found = run(space, lambda arch: float(arch.get("inner", "0")), population=6, generations=6)
    assert len(found) == space.count() == 20
    assert dict(found[0].architecture)["inner"] == "8"


def test_scores_of_inherited_children_do_not_leak_into_each_other():
    """A, then B, then A again: BatchNorm statistics of a child are its own (Guo et al. 2020, section 3.4)."""
    space = cells()
    batches = Loader([images(16, seed) for seed in range(3)])
    before = {name: tensor.clone() for name, tensor in space.state_dict().items()}

    def score(arch: Architecture) -> tuple[float, float]:
        return accuracy_and_loss(calibrate(space.derive(arch), batches), batches)

    a = space.decide(lambda d: "nor_conv_3x3")
    b = space.decide(lambda d: "skip_connect")
    scores = [score(a), score(b), score(a)]
    assert scores[0] == scores[2] != scores[1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in space.state_dict().items())


def test_the_usual_search_is_the_published_one():
    """Guo et al. 2020: a thousand networks of twenty generations of fifty, by ten parents and a tenth of genes."""
    space = chain(20, 50)
    score = lambda arch: float(sum(value % 7 for value in arch.values()))  # noqa: E731
    found = run(space, score, generations=1)
    first = sorted((s for s in found if s.generation == 0), key=lambda s: -s.score)
    top = [s.architecture for s in first[:10]]
    assert len(first) == 50

    def parents(child: Architecture) -> set[int]:
        """Those of the first generation that have a gene of it that none of the better ones has."""
        return {
            next((i for i, s in enumerate(first) if s.architecture[name] == value), -1) for name, value in child.items()
        }

    crossed = [s.architecture for s in found if s.origin == "crossover"]
    assert all(any(child[n] == one[n] for one in top) for child in crossed for n in child)
    assert max(max(parents(child)) for child in crossed) == 9
    mutants = [s.architecture for s in found if s.origin == "mutation"]
    changed = [min(sum(child[n] != one[n] for n in child) for one in top) for child in mutants]
    assert sum(changed) / len(mutants) == pytest.approx(20 * 0.1, abs=0.8)
    assert len(run(chain(12), lambda arch: 0.0)) == 50 * 21


def test_scores_that_are_ranks_are_told_anew_before_any_comparison():
    """Of a pool that is turned round the worst are the parents, and what comes back is turned round, too."""
    space, pools = chain(12), []

    def turned(scored: list) -> list:
        pools.append(len(scored))
        return [Scored(s.generation, s.origin, s.architecture, -s.score) for s in scored]

    found = run(space, matches(first_of(space)), population=20, generations=3, rescore=turned)
    assert pools == [20, 40, 60, 80]
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert max(s.score for s in found) <= 0
    late = [s.score for s in found if s.origin != "random"]
    early = [s.score for s in found if s.origin == "random"]
    assert statistics.mean(late) > statistics.mean(early)


def test_what_computes_nothing_and_what_is_the_same_network_is_not_evaluated():
    space, asked = chain(2, 4), []
    space.represent = lambda arch: (
        None if arch["gene/0"] == 0 else Architecture.of({**arch, "gene/1": arch["gene/1"] % 2})
    )
    found = run(space, lambda arch: asked.append(arch) or 0.0, population=20, generations=3)
    assert {tuple(s.architecture.values()) for s in found} == {(a, b) for a in (1, 2, 3) for b in (0, 1)}
    assert len(asked) == 6
