"""Scores of untrained networks. A new proxy is one function, one row here and one row in the contract tests."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.proxies.az_nas import complexity, expressivity, progressivity, trainability
from winnow.proxies.common import Batch
from winnow.proxies.eproxy import eproxy
from winnow.proxies.grad_sign import grad_sign
from winnow.proxies.gradient import fisher, grad_norm, grasp, plain, snip
from winnow.proxies.jacobian import epe, jacob_cov
from winnow.proxies.meco import meco
from winnow.proxies.ntk import ntk_condition
from winnow.proxies.patterns import linear_regions, naswot
from winnow.proxies.sed import sed
from winnow.proxies.size import l2_norm, live_params, macs, params
from winnow.proxies.synflow import synflow
from winnow.proxies.zen import zen
from winnow.proxies.zico import zico


@dataclass(frozen=True)
class Proxy:
    """A score and what is known about it.

    `direction`: 1 where large is good. `needs`: "nothing" (the batch gives shapes only), "images" or "labels". `draws`:
    takes a torch.Generator. `ignores_dead`: operations off the paths from image to logits do not change the score.
    """

    score: Callable[..., float]
    direction: int
    needs: str
    draws: bool
    ignores_dead: bool


PROXIES = {
    "params": Proxy(params, 1, "nothing", False, False),
    "macs": Proxy(macs, 1, "nothing", False, False),
    "live_params": Proxy(live_params, 1, "nothing", False, True),
    "l2_norm": Proxy(l2_norm, 1, "nothing", False, False),
    "grad_norm": Proxy(grad_norm, 1, "labels", False, True),
    "snip": Proxy(snip, 1, "labels", False, True),
    "grasp": Proxy(grasp, 1, "labels", False, True),
    "fisher": Proxy(fisher, 1, "labels", False, True),
    "plain": Proxy(plain, -1, "labels", True, False),
    "synflow": Proxy(synflow, 1, "nothing", False, True),
    "jacob_cov": Proxy(jacob_cov, 1, "images", False, True),
    "epe": Proxy(epe, 1, "labels", False, True),
    "naswot": Proxy(naswot, 1, "images", False, True),
    "linear_regions": Proxy(linear_regions, 1, "images", True, True),
    "zen": Proxy(zen, 1, "nothing", True, False),
    "ntk_condition": Proxy(ntk_condition, -1, "images", True, True),
    "zico": Proxy(zico, 1, "labels", False, True),
    "meco": Proxy(meco, 1, "nothing", True, False),
    "grad_sign": Proxy(grad_sign, 1, "labels", False, False),
    "expressivity": Proxy(expressivity, 1, "nothing", True, True),
    "progressivity": Proxy(progressivity, 1, "nothing", True, True),
    "trainability": Proxy(trainability, 1, "nothing", True, True),
    "complexity": Proxy(complexity, 1, "nothing", False, False),
    "sed": Proxy(sed, 1, "nothing", False, True),
    "eproxy": Proxy(eproxy, 1, "images", True, False),
}
AZ_NAS = ("expressivity", "progressivity", "trainability", "complexity")


def proxy(name: str) -> Proxy:
    """The proxy called `name`. Refused, with the nearest name, where there is none."""
    if name not in PROXIES:
        near = difflib.get_close_matches(name, PROXIES, 1)
        raise Refused(
            f"no proxy {name!r}{f'; did you mean {near[0]!r}?' if near else ''} (known: {', '.join(PROXIES)})"
        )
    return PROXIES[name]


def score(name: str, model: nn.Module, batch: Batch, generator: torch.Generator) -> float:
    """Proxy `name` of `model`; NaN where it has no value. The model stays as it is, whatever happens."""
    chosen = proxy(name)
    value = chosen.score(model, batch, generator) if chosen.draws else chosen.score(model, batch)
    return value if math.isfinite(value) else math.nan
