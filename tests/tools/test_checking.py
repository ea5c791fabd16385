"""tools.checking: winnow's own methods keep the contract, and each clause is broken by a planted method."""

import sys
from types import SimpleNamespace

import pytest
import torch

from winnow import Found, Parts, bilevel, selection, strategy, uniform
from winnow.core.errors import Refused
from winnow.search.methods import STRATEGIES
from winnow.search.selections import SELECTIONS
from winnow.spaces import SPACES
from winnow.tools.checking import SMALL, check


def test_every_space_has_a_small_form():
    assert set(SPACES) - set(SMALL) == {"interactions", "detector", "fpn"}, "which are of tables, and of boxes"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STRATEGIES, *SELECTIONS])
def test_what_is_ours_keeps_the_contract(name):
    check(name, lambda text: None)


def darts_like(bench, recipe) -> Found:
    return bilevel(bench, recipe, parts=lambda epoch: Parts())


def no_type(bench, recipe, *, power=2.0) -> Found:
    return darts_like(bench, recipe)


@strategy("logits children")
def no_logits(bench, recipe) -> Found:
    return Found(bench.space, trained=False)


def nothing_told(bench, recipe) -> Found:
    return Found(bench.space)


@strategy("logits mixture children")
def upside_down(bench, recipe) -> Found:
    found = darts_like(bench, recipe)
    with torch.no_grad():
        for vector in found.logits.values():
            vector.neg_()
    return found


@strategy("children", watched=False)
def global_draws(bench, recipe) -> Found:
    bench.watch.epoch(0, {"train_loss": 0.0})
    with torch.no_grad():
        next(bench.space.parameters()).copy_(torch.rand((), generator=torch.Generator().manual_seed(torch.seed() % 99)))
    return Found(bench.space)


@strategy("logits mixture children")
def forgets(bench, recipe) -> Found:
    noise = torch.Generator().manual_seed(bench.seed)  # kept by no checkpoint

    def relax(logits):
        return {name: (v + 0.01 * torch.randn(v.shape, generator=noise)).softmax(0) for name, v in logits.items()}

    return bilevel(bench, recipe, parts=lambda epoch: Parts(relax=relax))


@selection("children", "judges children")
def odd_evidence(bench):
    import random

    return bench.space.decide(uniform(random.Random(0))), [{"colour": "blue"}]


@selection("children", "judges children", keeps_limits=True)
def first_of_all(bench):
    return bench.space.decide(lambda d: "sees" if "sees" in d.values else d.values[0]), []


@selection("logits", "reads logits")
def blind(bench):
    return bench.space.decide(lambda d: d.values[0]), []


@pytest.mark.parametrize(
    ("method", "clause"),
    [
        (no_type, "option 'power' has no annotation"),
        (no_logits, "returns no logits"),
        (nothing_told, "it tells `bench.watch` of no epoch"),
        (upside_down, "it finds the candidate that sees"),
        (global_draws, "the same seed gives the same bytes"),
        (forgets, "left anywhere and begun again"),
        (odd_evidence, "no 'colour'"),
        (first_of_all, "it keeps limits"),
        (blind, "what it chooses is no worse than most"),
    ],
)
def test_a_clause_that_is_broken_is_named(method, clause, monkeypatch):
    monkeypatch.setitem(sys.modules, "planted_methods", SimpleNamespace(**{method.__name__: method}))
    with pytest.raises(Refused, match=f"planted_methods:{method.__name__} breaks the contract: ") as refused:
        check(f"planted_methods:{method.__name__}", lambda text: None)
    assert clause in str(refused.value)
