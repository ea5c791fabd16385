"""search.chain: what a step leaves is what the next one gets."""

import pytest

from tests.search.toys import smooth
from winnow.core.space import Space
from winnow.search.bench import Found
from winnow.search.chain import chain, narrowed
from winnow.train.checkpoint import Keeper


def step(given: list, **live):
    """Keeps the options that it is given of the decisions in `live`, and narrows these."""

    def search(space: Space) -> Found:
        given.append({name: d.options for name, d in space.decisions.items()})
        left = {name: list(d.options) for name, d in space.decisions.items()} | live
        return Found(space.within(left), metrics={"step": len(given)})

    return search


def test_each_step_searches_what_the_one_before_it_left_and_the_last_one_is_told():
    space, given = smooth(), []
    steps = [step(given, a=["tanh", "skip"]), step(given), step(given, a=["skip"], b=["norm"])]
    found = chain(space, steps, Keeper())
    whole = ("tanh", "norm", "skip")
    assert given == [{"a": whole, "b": whole}, {"a": ("tanh", "skip"), "b": whole}, {"a": ("tanh", "skip"), "b": whole}]
    assert found.metrics == {"step": 3}
    assert narrowed(found.space) == {"a": ["skip"], "b": ["norm"]}


def test_without_steps_the_space_is_what_was_found():
    space = smooth()
    assert chain(space, [], Keeper()).space is space
    assert narrowed(space) == {}


def test_as_long_as_nothing_is_narrowed_a_step_gets_the_space_itself():
    space, seen = smooth(), []
    chain(space, [lambda each: seen.append(each) or Found(each)] * 2, Keeper())
    assert seen[0] is seen[1] is space


def test_a_step_that_returns_another_network_is_named():
    space, given = smooth(), []
    with pytest.raises(ValueError, match=r"^step 1 returned another network than the one that it was given$"):
        chain(space, [step(given), lambda each: Found(smooth())], Keeper())


def test_a_chain_that_was_stopped_in_a_step_goes_on_with_what_the_steps_before_it_left():
    space, given, kept = smooth(), [], []

    class Stopped(Exception):
        pass

    def stopped(each: Space) -> Found:
        keeper.keep()
        raise Stopped

    keeper = Keeper(save=kept.append)
    with pytest.raises(Stopped):
        chain(space, [step(given, b=["norm"]), stopped], keeper)
    given.clear()
    found = chain(smooth(), [step(given), step(given, a=["tanh"])], Keeper(found=kept[0]))
    assert given == [{"a": ("tanh", "norm", "skip"), "b": ("norm",)}]
    assert narrowed(found.space) == {"a": ["tanh"], "b": ["norm"]}
