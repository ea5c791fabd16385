"""Codes of cells, which say what is on: how likely they are, and a gradient from two of them (NSE).

Operations fire independently of one another (Ci et al. 2021, arXiv:2011.10904): a code is as likely as the product of
what its operations do. A cell that takes one operation has codes, too: those in which one is on.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Option, Value
from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.search.looks import looked_at
from winnow.search.relax import laid

LISTED = 32  # codes of a cell up to which they are listed: those of five operations; of others some are tried
TRIES = 1000  # draws for a code that a cell may have, or for one that differs
EDGE = 0.0005  # as far as a chance stays from 0 and 1

Chances = Mapping[str, Mapping[Option, float]]  # by decision, of each live option
Pair = tuple[Value, Value, Tensor]  # two codes and how likely they are beside one another: (2,), with a gradient


def fire(theta: Tensor) -> Tensor:
    """How likely each operation is to be on."""
    return (1 - 2 * EDGE) * theta.sigmoid() + EDGE


def chances_of(view: Space, theta: Mapping[str, Tensor]) -> dict[str, dict[Option, float]]:
    """Of the options of `view` that have a fire parameter; `theta` has one for each option of the whole space."""
    found = {}
    for name, numbers in looked_at({name: fire(vector) for name, vector in theta.items()}).items():
        chance = dict(zip(view.whole[name].options, numbers, strict=True))
        found[name] = {option: chance[option] for option in view.decisions[name].options}
    return found


def likelihood(code: Value, chance: Mapping[Option, float]) -> float:
    on = code if isinstance(code, tuple) else (code,)
    return math.prod(p if option in on else 1 - p for option, p in chance.items())


def likelihoods(d: Decision, chance: Mapping[Option, float]) -> list[float] | None:
    """Of all codes of a cell; None where these are too many to be listed."""
    if len(d.values) > LISTED and d.several:
        return None
    return [likelihood(code, chance) for code in d.values]


def one_code(d: Decision, chance: Mapping[Option, float], draws: random.Random) -> Value:
    """A code by its chance among those that the cell may have."""
    if (weights := likelihoods(d, chance)) is not None:
        return draws.choices(d.values, weights)[0]
    for _ in range(TRIES):
        code = tuple(option for option in d.options if draws.random() < chance[option])
        if code in d.values:
            return code
    return draws.choice(d.values)


def two_codes(d: Decision, chance: Mapping[Option, float], draws: random.Random) -> tuple[Value, Value]:
    """Two that differ, drawn without replacement."""
    if (weights := likelihoods(d, chance)) is not None:
        first, second = draws.choices(range(len(weights)), weights)[0], 0
        weights[first] = 0.0
        second = draws.choices(range(len(weights)), weights)[0]
        return d.values[first], d.values[second]
    one = one_code(d, chance, draws)
    others = (one_code(d, chance, draws) for _ in range(TRIES))
    even = (draws.choice(d.values) for _ in iter(int, 1))
    return one, next((code for code in others if code != one), None) or next(code for code in even if code != one)


def pairs_of(view: Space, theta: Mapping[str, Tensor], draws: random.Random) -> dict[str, Pair]:
    """Two codes for each decision that has a fire parameter and more than one code."""
    chances, found = chances_of(view, theta), {}
    for name, vector in theta.items():
        d = view.decisions[name]
        if len(d.values) > 1:
            found[name] = paired(view, name, vector, *two_codes(d, chances[name], draws))
    return found


def paired(view: Space, name: str, theta: Tensor, one: Value, other: Value) -> Pair:
    """Two codes of a decision, and how likely each is beside the other."""
    options, p = view.decisions[name].options, fire(theta)
    live = p[[view.whole[name].options.index(option) for option in options]]
    return one, other, torch.stack([_log_likelihood(code, options, live) for code in (one, other)]).softmax(0)


def _log_likelihood(code: Value, options: Sequence[Option], p: Tensor) -> Tensor:
    on = code if isinstance(code, tuple) else (code,)
    return torch.stack([p[i] if option in on else 1 - p[i] for i, option in enumerate(options)]).log().sum()


def setting_of(view: Space, pairs: Mapping[str, Pair], draws: random.Random) -> tuple[Setting, Architecture]:
    """The value of the first codes, with the gradient of both; decisions without a pair are drawn uniformly.

    With shares a and b of what two codes y and z return: y (1 + a - [a]) + [z] (b - [b]), of which [...] is a constant;
    so the gradient of a share is the inner product of that of the output with what its code returns. Also the
    architecture of the first codes.
    """
    values = {name: pairs[name][0] if name in pairs else draws.choice(d.values) for name, d in view.decisions.items()}
    weighed = {
        name: {one: 1 + share[0] - share[0].detach(), other: share[1] - share[1].detach()}
        for name, (one, other, share) in pairs.items()
    }
    return {**values, **weighed}, view.decide(lambda d: values[d.name])


def expected_cost(
    view: Space, first: Architecture, pairs: Mapping[str, Pair], cost: Callable[[Architecture], float]
) -> Tensor:
    """That of cells which have either of two codes, as likely as they are: exact where the cost is a sum over cells."""
    at = cost(first)
    total = torch.full((), at)
    for name, (_, other, share) in pairs.items():
        if name in first:
            answers = {**first, name: other}
            moved = cost(view.decide(lambda d, given=answers: given[d.name] if d.name in given else d.values[0]))
            total = laid(total, share) + share[1] * (moved - at)
    return total
