"""search.methods.training_free: nothing is trained, and proxies are looked up before anything else."""

import pytest

from tests.search.benches import numbers
from tests.search.toys import snapshot
from winnow.core.errors import Refused
from winnow.proxies import proxy
from winnow.search.bench import Bench
from winnow.search.methods.training_free import PROXIES, training_free
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy_of


def test_it_leaves_the_space_as_it_began():
    space = numbers()
    before = snapshot(space)
    found = training_free(Bench(space, 0), Recipe())
    assert (found.space, found.trained, found.logits, found.metrics) == (space, False, None, {})
    assert snapshot(space) == before


@pytest.mark.parametrize("proxies", [["naswto"], ["naswot", "naswto"]])
def test_a_proxy_that_nobody_knows_is_refused_wherever_it_stands(proxies):
    with pytest.raises(Refused, match="did you mean 'naswot'"):
        training_free(Bench(numbers(), 0), Recipe(), proxies=proxies)


def test_five_proxies_are_asked_on_batches_of_64_unless_told_otherwise():
    options = strategy_of(training_free).options()
    assert {name: given for name, (_, given) in options.items()} == {"proxies": PROXIES, "batch": 64}
    assert PROXIES == ["live_params", "expressivity", "trainability", "meco", "jacob_cov"]
    assert all(proxy(name) for name in PROXIES)


def test_what_winnow_knows_of_it():
    record = strategy_of(training_free)
    assert record.leaves == {"children", "initialised"}
    assert not record.watched
