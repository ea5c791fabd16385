"""core.options: what functions take, read from their signatures."""

import pytest

from winnow.core.errors import Refused
from winnow.core.options import Positive, Weight, options_of, taken, takes


def first(bench, seconds: int, *, strength: Weight = 50.0, mode: str):
    pass


def second(bench, *, strength: Weight = 1.0, steps: Positive = 3, **others):
    pass


def bare(bench, *, strength=1.0):
    pass


def test_what_is_keyword_only_is_an_option_and_the_first_to_name_one_says_its_default():
    assert options_of([first, second]) == {"strength": (Weight, 50.0), "mode": (str, ...), "steps": (Positive, 3)}
    assert options_of([]) == {}


def test_of_a_function_that_is_told_some_names_all_others_are_options():
    assert options_of([first], told={"bench"}).keys() == {"seconds", "strength", "mode"}


def test_an_option_that_says_not_what_it_takes_is_refused_by_name():
    with pytest.raises(Refused, match=r"test_options:bare: option 'strength' has no annotation"):
        options_of([first, bare])


def test_a_function_gets_what_it_takes():
    assert taken(first, {"strength": 2.0, "steps": 1, "bench": None}) == {"strength": 2.0}
    assert takes(first, "seconds")
    assert not takes(first, "steps")
    assert takes(second, "anything")
