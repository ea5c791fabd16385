"""What winnow knows of a search strategy beside the function that searches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from winnow.core.options import options_of, taken
from winnow.core.space import Space
from winnow.search.bench import Between, Found
from winnow.search.gradients import Objective
from winnow.search.mixture import Parts
from winnow.search.relax import Relax, deciding, softmax

LOGITS = "logits"  # trained numbers, one an option
MIXTURE = "mixture"  # weights that work while several options are on
DISTRIBUTION = "distribution"  # logits that say which architectures are likely
CHILDREN = "children"  # weights that an architecture works with alone
INITIALISED = "initialised"  # nothing trained: networks are scored as they begin
TRIALS = "trials"  # architectures, each evaluated by itself
SHORTLIST = "shortlist"  # architectures that did well while the weights were trained
LEFT = (LOGITS, MIXTURE, DISTRIBUTION, CHILDREN, INITIALISED, TRIALS, SHORTLIST)
ANY = frozenset((LOGITS, MIXTURE, DISTRIBUTION, CHILDREN))  # what a function that says nothing may leave


def decided_softmax(space: Space, objective: Objective, draws: torch.Generator) -> Between:
    """Open logits go on by first-order steps; what is decided is a constant of the mixture."""
    return lambda decided: Parts(relax=deciding(softmax, decided))


@dataclass(frozen=True)
class Strategy:
    """`search(bench, recipe, *, own options)` returns what it found; the rest are its exceptions, as facts.

    `leaves` is what a selection may ask for afterwards. `form(space, *, own options)` is the space as it is searched.
    `read` turns its logits into weights, up to `closed` of which an option is off (None: the even share).
    `between(space, objective, draws, *, own options)` gives the steps that perturbation trains on with, after some
    decisions. `objection(run, *, own options)` says why these options mean nothing in a `Run`, or None. `watched`:
    whether its logits move while it trains, so that signs of collapse mean something. `shared`: whether several
    processes may each take a share of its batches, as nothing but losses and gradients follows from these.
    `tries(epochs, *, own options)` is the study of a strategy that searches by trials of its own, as section
    search.trials says them; they train by the recipe of section search. `short` are options under which a few of its
    steps can be timed, and problems of a few networks be searched. Functions that take own options take those that they
    name.
    """

    search: Callable[..., Found]
    leaves: frozenset[str]
    form: Callable[..., Space] | None = None
    read: Relax = softmax
    closed: float | None = None
    between: Callable[..., Between] = decided_softmax
    objection: Callable[..., str | None] | None = None
    watched: bool = True
    shared: bool = False
    tries: Callable[..., dict[str, Any]] | None = None
    short: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def options(self) -> dict[str, tuple[Any, Any]]:
        """Its options, with types and defaults, of all its functions."""
        return options_of(self.functions())

    def functions(self) -> tuple[Callable[..., Any], ...]:
        """All that may take options."""
        every = (self.search, self.form, self.between, self.objection, self.tries)
        return tuple(function for function in every if function is not None)

    def run(self, bench: Any, recipe: Any, options: Mapping[str, Any]) -> Found:
        """`search` with those of `options` that it takes."""
        return self.search(bench, recipe, **taken(self.search, options))

    def formed(self, space: Space, options: Mapping[str, Any]) -> Space:
        """The space as it is searched."""
        return space if self.form is None else self.form(space, **taken(self.form, options))


@dataclass(frozen=True)
class Run:
    """What of a run a strategy may object to."""

    space: str
    precision: str
    optimiser: str = "sgd"
    epochs: int = 1
    processes: int = 1


F = TypeVar("F", bound=Callable[..., Found])


def strategy(leaves: str, **facts: Any) -> Callable[[F], F]:
    """Say of a function what it `leaves`, in words of `LEFT`, and more `facts` of `Strategy`; it stays as it is."""

    def marked(search: F) -> F:
        words = frozenset(leaves.split())
        if unknown := words - set(LEFT):
            raise ValueError(f"a strategy leaves {', '.join(LEFT)}; not {', '.join(sorted(unknown))}")
        vars(search)["strategy"] = Strategy(search, words, **facts)
        return search

    return marked


def strategy_of(function: Callable[..., Any]) -> Strategy:
    """The record of a function; one that says nothing may leave a supernet and logits: found out when asked."""
    found = getattr(function, "strategy", None)
    return found if isinstance(found, Strategy) else Strategy(function, ANY)
