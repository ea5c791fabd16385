"""search.strategy: the record of a strategy, what it leaves, and which of its options go where."""

import pytest
import torch

from tests.search.toys import first, logits_of, loss_of, smooth
from winnow.core.space import Space
from winnow.search.bench import Found
from winnow.search.relax import softmax
from winnow.search.strategy import ANY, LEFT, Run, Strategy, decided_softmax, strategy, strategy_of


def search(bench, recipe, *, rate: float = 0.5, count: int = 2) -> Found:
    return Found(bench, metrics={"rate": rate, "count": count, "epochs": recipe})


def form(space: Space, *, count: int = 2, wide: bool = False) -> Space:
    return space.within({"a": list(space.decisions["a"].options[:count])})


def between(space, objective, draws, *, slow: bool = False):
    return None


def objection(run: Run, *, rate: float = 0.5) -> str | None:
    return None


def tries(epochs: int, *, tried: int = 5) -> dict:
    return {}


def test_a_function_that_says_nothing_may_leave_a_supernet_and_logits():
    found = strategy_of(search)
    assert found == Strategy(search, ANY)
    assert found.leaves == {"logits", "mixture", "distribution", "children"}
    assert found.read is softmax
    assert found.between is decided_softmax
    assert (found.form, found.closed, found.objection, found.tries) == (None, None, None, None)
    assert found.watched
    assert not found.shared
    assert dict(found.short) == {}


def test_a_function_that_says_what_it_leaves_stays_as_it_is_and_has_its_record():
    def mine(bench, recipe) -> Found: ...

    marked = strategy("mixture logits", watched=False, shared=True, closed=0.5)(mine)
    assert marked is mine
    found = strategy_of(mine)
    assert found.leaves == frozenset(("logits", "mixture"))
    assert (found.search, found.watched, found.shared, found.closed) == (mine, False, True, 0.5)


def test_words_that_no_selection_knows_are_told():
    assert strategy_of(strategy(" ".join(LEFT))(lambda bench, recipe: None)).leaves == set(LEFT)
    assert strategy_of(strategy("")(lambda bench, recipe: None)).leaves == set()
    with pytest.raises(ValueError, match=r"^a strategy leaves logits, .*, shortlist; not logit, weights$"):
        strategy("weights logits logit")(lambda bench, recipe: None)


def test_something_else_of_that_name_is_no_record():
    def mine(bench, recipe) -> Found: ...

    mine.strategy = "darts"
    assert strategy_of(mine) == Strategy(mine, ANY)


def test_options_are_those_of_all_its_functions():
    every = Strategy(search, ANY, form, between=between, objection=objection, tries=tries)
    assert every.functions() == (search, form, between, objection, tries)
    assert every.options() == {
        "rate": (float, 0.5),
        "count": (int, 2),
        "wide": (bool, False),
        "slow": (bool, False),
        "tried": (int, 5),
    }
    assert Strategy(search, ANY).functions() == (search, decided_softmax)
    assert set(Strategy(search, ANY).options()) == {"rate", "count"}


def test_each_function_is_given_the_options_that_it_takes():
    space = smooth()
    found = Strategy(search, ANY, form).run(space, 12, {"rate": 0.25, "wide": True})
    assert found.metrics == {"rate": 0.25, "count": 2, "epochs": 12}
    formed = Strategy(search, ANY, form).formed(space, {"rate": 0.25, "count": 1})
    assert formed.decisions["a"].options == ("tanh",)
    assert Strategy(search, ANY).formed(space, {"count": 1}) is space


def test_between_decisions_open_logits_are_a_mixture_and_what_is_decided_is_a_constant():
    space = smooth()
    logits = logits_of(space)
    parts = decided_softmax(space, loss_of(space), torch.Generator())({"a": "skip"})
    setting = parts.relax(logits)
    assert setting["a"] == "skip"
    torch.testing.assert_close(setting["b"], logits["b"].softmax(0))
    assert set(parts.relax(logits)) == set(first(space))


def test_a_run_is_one_epoch_of_sgd_in_one_process_unless_it_is_said():
    run = Run("darts", "fp32")
    assert (run.optimiser, run.epochs, run.processes) == ("sgd", 1, 1)
