"""core.choosers: reproducible, unbiased answers."""

import random
from collections import Counter

import pytest
from torch import nn

from winnow.core.architecture import Architecture
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


class Draws(random.Random):
    """Draws a given number, and of a list the last."""

    def __init__(self, number: float):
        super().__init__()
        self.number = number

    def random(self) -> float:
        return self.number

    def choice(self, values):
        return values[-1]


@pytest.mark.parametrize(("number", "answer"), [(0.0, 3), (0.29, 3), (0.3, 1), (0.99, 1)])
def test_an_answer_is_drawn_anew_where_the_draw_is_below_the_probability(number, answer):
    (d,) = flat(1, 4).decisions.values()
    assert mutate({"d0": 1}, Draws(number), 0.3)(d) == answer
    assert mutate({"d0": 9}, Draws(number), 0.3)(d) == 3  # what a wider view answered
    assert mutate({"other": 1}, Draws(number), 0.3)(d) == 3


def test_crossover_draws_where_no_parent_has_an_answer_that_is_one():
    (d,) = flat(1, 4).decisions.values()
    assert crossover({}, {"other": 1}, Draws(0.0))(d) == 3
    assert crossover({"d0": 9}, {"d0": 8}, Draws(0.0))(d) == 3
    assert crossover({"d0": 0}, {"d0": 9}, Draws(0.0))(d) == 0
    assert crossover({"d0": 9}, {"d0": 0}, Draws(0.0))(d) == 0
    assert crossover({"d0": 0}, {"d0": 1}, Draws(0.0))(d) == 1


class Few:
    """A space of two architectures, one of which computes nothing; counts how often it was asked."""

    def __init__(self):
        self.asked = 0

    def decide(self, choose):
        self.asked += 1
        return Architecture.of({"a": self.asked % 2})

    def canonical(self, arch):
        return arch if arch["a"] == 1 else None


def test_what_computes_nothing_is_neither_drawn_nor_asked_about():
    space, judged = Few(), []
    assert dict(sample(space, random.Random(0))) == {"a": 1}
    assert [dict(arch) for arch in distinct(space, random.Random(0), 2, lambda arch: not judged.append(arch))] == [
        {"a": 1}
    ]
    assert [dict(arch) for arch in judged] == [{"a": 1}]


def test_equal_networks_are_drawn_as_the_one_that_stands_for_them():
    space = flat(1, 4)
    space.represent = lambda arch: Architecture.of({"d0": arch["d0"] // 2 * 2})
    assert {sample(space, random.Random(i))["d0"] for i in range(40)} == {0, 2}
    assert {arch["d0"] for arch in distinct(space, random.Random(0), 4, tries=100)} == {0, 2}


@pytest.mark.parametrize(("given", "tries"), [({}, 1000), ({"tries": 7}, 7), ({"tries": 1}, 1)])
def test_sampling_gives_up_after_so_many_tries(given, tries):
    space = Few()
    with pytest.raises(ValueError, match=f"^none of {tries} random architectures meets the limits: loosen them$"):
        sample(space, random.Random(0), lambda arch: False, **given)
    assert space.asked == tries


@pytest.mark.parametrize(("given", "tries"), [({}, 20_000), ({"tries": 9}, 9)])
def test_distinct_architectures_are_sought_in_so_many_tries_and_no_longer_than_needed(given, tries):
    space = Few()
    assert len(distinct(space, random.Random(0), 2, **given)) == 1
    assert space.asked == tries
    assert len(distinct(space, random.Random(0), 1)) == 1
    assert space.asked == tries + 1 + tries % 2  # every other one is a network
    assert distinct(space, random.Random(0), 0) == []
