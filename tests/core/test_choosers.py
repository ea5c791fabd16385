"""core.choosers: reproducible, unbiased answers."""

import random
from collections import Counter

import pytest
from torch import nn

from winnow.core.choosers import crossover, distinct, mutate, sample, uniform
from winnow.core.holes import Choice
from winnow.core.space import Space


def flat(decisions: int, options: int) -> Space:
    def choice(i: int) -> Choice:
        return Choice(f"d{i}", {o: nn.Identity() for o in range(options)})

    return Space(nn.Sequential(*[choice(i) for i in range(decisions)]))


def nested() -> Space:
    inner = Choice("inner", {"x": nn.Identity(), "y": nn.ReLU()})
    return Space(nn.Sequential(Choice("outer", {"deep": nn.Sequential(inner), "shallow": nn.Identity()})))


def test_uniform_is_uniform_and_repeats_from_its_seed():
    space, rng = flat(3, 4), random.Random(0)
    counts = Counter(arch for arch in (space.decide(uniform(rng)) for _ in range(6400)))
    assert len(counts) == 64
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 103.4  # chi-squared, 63 degrees, p = 0.001
    assert space.decide(uniform(random.Random(5))) == space.decide(uniform(random.Random(5)))


def test_mutation_redraws_each_answer_with_its_probability():
    space, rng = flat(20, 4), random.Random(0)
    parent = space.decide(lambda d: 0)
    assert space.decide(mutate(parent, rng, 0.0)) == parent
    changed = sum(value != 0 for _ in range(500) for value in space.decide(mutate(parent, rng, 0.1)).values())
    assert changed / (500 * 20) == pytest.approx(0.1 * 3 / 4, abs=0.01)  # a re-draw may come out the same


def test_mutation_draws_what_the_parent_never_reached():
    space = nested()
    children = {space.decide(mutate({"outer": "shallow"}, random.Random(i), 0.9)) for i in range(100)}
    assert children == set(space.every())


def test_crossover_takes_every_answer_from_a_parent():
    space, rng = flat(10, 5), random.Random(0)
    a, b = space.decide(lambda d: 1), space.decide(lambda d: 3)
    genes = Counter(value for _ in range(300) for value in space.decide(crossover(a, b, rng)).values())
    assert set(genes) == {1, 3}
    assert genes[1] / 3000 == pytest.approx(0.5, abs=0.04)


def test_crossover_takes_what_only_one_parent_reached_from_that_one():
    space = nested()
    parents = {"outer": "deep", "inner": "y"}, {"outer": "shallow"}
    children = {space.decide(crossover(*parents, random.Random(i))) for i in range(50)}
    assert {tuple(child.items()) for child in children} == {
        (("inner", "y"), ("outer", "deep")),
        (("outer", "shallow"),),
    }


def test_sampling_keeps_to_what_is_allowed_and_gives_up_in_words():
    space, rng = flat(3, 4), random.Random(0)
    assert all(sample(space, rng, lambda arch: arch["d1"] == 2)["d1"] == 2 for _ in range(20))
    with pytest.raises(ValueError, match="none of 30 random architectures meets the limits"):
        sample(space, rng, lambda arch: False, tries=30)


def test_distinct_architectures_are_drawn_in_order_and_fewer_where_there_are_no_more():
    space = flat(2, 3)
    drawn = distinct(space, random.Random(0), 5)
    assert len({arch.digest for arch in drawn}) == 5
    assert drawn[:3] == distinct(space, random.Random(0), 3)
    assert len(distinct(space, random.Random(0), 20)) == 9
    assert {arch["d1"] for arch in distinct(space, random.Random(1), 20, lambda arch: arch["d1"] == 2)} == {2}
    asked = []
    distinct(space, random.Random(0), 20, lambda arch: bool(asked.append(arch.digest)), tries=200)
    assert len(asked) == len(set(asked)) == 9  # each is judged once, however often it is drawn
