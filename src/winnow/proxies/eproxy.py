"""Eproxy: how quickly a network learns to regress synthetic maps behind a frozen barrier (Li et al. 2022, 2210.09459).

Features at the end of each resolution, deepest first, go through a trainable head and a random convolution that is
never trained, and are compared with fixed maps of `winnow.proxies.targets`. Ten steps of SGD on one batch, no labels;
the score is minus the loss of the tenth forward pass. Made after the public code; the paper's tables were not at hand.

Waves of random phase are answered best by zeros, and a network that lets nothing through starts there: by the loss
alone dead networks are the best of all. Here a network whose deepest features are constant has the worst score.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.proxies import targets
from winnow.proxies.az_nas import block_features, blocks
from winnow.proxies.common import Batch, Initialise, as_built, initialise, settled, several, working_copy
from winnow.proxies.size import macs


@dataclass(frozen=True)
class Branch:
    """What is asked at one resolution; an empty set of features asks for zeros."""

    head_channels: int = 128
    target_channels: int = 128
    head_kernel: int = 1
    barrier_kernel: int = 3
    features: tuple[str, ...] = ("wave_h",)
    level: float = 1.0


@dataclass(frozen=True)
class Shape:
    """Published for NAS-Bench-201. `init` is of network and heads, as in the authors' code; None: the weights that the
    network has, and heads as torch builds them.

    With `mac_factor` a, the loss is multiplied by 1 - a * macs / `most_macs`, the latter fixed for a space. Beside it
    the score is largely size: report it with a = 0 as well.
    """

    branches: tuple[Branch, ...] = (Branch(), Branch(), Branch())
    lr: float = 1.2
    mac_factor: float = 0.0
    most_macs: float = 187_166_720.0
    init: str | None = None
    barrier_init: str | None = None


PUBLISHED = Shape()
ITERATIONS, MOMENTUM, DECAY = 10, 0.9, 4e-5


def _drawing(fill: Callable[..., Tensor], bias: float) -> Initialise:
    def draw_all(model: nn.Module, generator: torch.Generator) -> None:
        initialise(model, lambda weight: fill(weight, generator=generator), lambda b, weight: b.fill_(bias))

    return draw_all


INITS: dict[str, Initialise] = {
    "xavier_uniform": _drawing(nn.init.xavier_uniform_, 0.01),
    "xavier_normal": _drawing(nn.init.xavier_normal_, 0.01),
    "kaiming_uniform": _drawing(partial(nn.init.kaiming_uniform_, mode="fan_out"), 0.0),
    "kaiming_normal": _drawing(partial(nn.init.kaiming_normal_, mode="fan_out"), 0.0),
}


def eproxy(
    model: nn.Module,
    batch: Batch,
    generator: torch.Generator,
    setting: Shape = PUBLISHED,
    features: Mapping[str, Tensor] | None = None,
) -> float:
    """Minus the tenth loss. Scores compare under equal images, maps and settings only.

    `features` are the maps to ask for where they have been drawn before [default: drawn from `generator`].
    """
    loss = losses(model, batch, generator, setting, features)[-1]
    cost = macs(model, batch) if setting.mac_factor else 0.0
    return settled(-weighed(loss, cost, setting))


def weighed(loss: float, cost: float, setting: Shape) -> float:
    return loss * (1 - setting.mac_factor * cost / setting.most_macs)


def losses(
    model: nn.Module,
    batch: Batch,
    generator: torch.Generator,
    setting: Shape = PUBLISHED,
    features: Mapping[str, Tensor] | None = None,
) -> list[float]:
    """The evaluation loss of each iteration, before its step; infinite where nothing of the images comes through."""
    x = several(batch)
    if features is None:
        most = max(branch.target_channels for branch in setting.branches)
        features = targets.draw((f for branch in setting.branches for f in branch.features), x, generator, most)
    model = working_copy(model)
    if setting.init is not None:
        INITS[setting.init](model, generator)
    regression = Regression(model, x, setting.branches, generator, setting.init, setting.barrier_init)
    wanted = [target(branch, features, x) for branch in setting.branches]
    return [math.inf] * ITERATIONS if regression.dead else list(fit(regression, x, wanted, setting.lr))


class Regression(nn.Module):
    """A network with heads and barriers behind its taps: the last feature of each resolution, deepest first."""

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        branches: Sequence[Branch],
        generator: torch.Generator,
        init: str | None = None,
        barrier_init: str | None = None,
    ):
        super().__init__()
        self.model, self.blocks = model, blocks(model)
        with torch.no_grad():
            taps = self.taps(x)
        self.dead = torch.equal(taps[0].amax((0, 2, 3)), taps[0].amin((0, 2, 3)))
        self.heads, self.barriers = nn.ModuleList(), nn.ModuleList()
        for tap, b in zip(taps, branches, strict=False):
            head = nn.Sequential(
                _conv(tap.shape[1], b.head_channels, b.head_kernel, generator, init),
                nn.ReLU(),
                nn.BatchNorm2d(b.head_channels),
            )
            self.heads.append(head)
            self.barriers.append(_conv(b.head_channels, b.target_channels, b.barrier_kernel, generator, barrier_init))
        self.heads.to(x)
        self.barriers.to(x).requires_grad_(False)

    def taps(self, x: Tensor) -> list[Tensor]:
        last: dict[tuple[int, ...], Tensor] = {}
        for feature in block_features(self.model, x, self.blocks):
            if feature.dim() == 4:
                last[tuple(feature.shape[2:])] = feature
        if not last:
            raise Refused("Eproxy reads feature maps (n, channels, height, width), and this network has none")
        return list(last.values())[::-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """What is learnt, (n, target_channels, 8, 8) for each branch."""
        return [
            barrier(head(F.interpolate(tap, (targets.SIDE, targets.SIDE))))
            for tap, head, barrier in zip(self.taps(x), self.heads, self.barriers, strict=False)
        ]


def fit(regression: Regression, x: Tensor, wanted: Sequence[Tensor], lr: float) -> Iterator[float]:
    """Train network and heads; yields at each iteration the loss in which each shallower branch counts half."""
    learning = [p for p in regression.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": DECAY},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr, MOMENTUM)
    for _ in range(ITERATIONS):
        terms = [F.mse_loss(o, t) for o, t in zip(regression(x), wanted, strict=False)]
        yield evaluation_loss([float(term.detach()) for term in terms])
        optimiser.zero_grad()
        loss: Any = sum(terms)
        loss.backward()
        optimiser.step()


def evaluation_loss(terms: Sequence[float]) -> float:
    return sum(term / 2**i for i, term in enumerate(terms))


def target(branch: Branch, features: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The sum of the branch's maps times its level."""
    total = torch.zeros(len(x), branch.target_channels, targets.SIDE, targets.SIDE).to(x)
    for name in branch.features:
        total += features[name][: len(x), : branch.target_channels]
    return branch.level * total


def _conv(c_in: int, c_out: int, kernel: int, generator: torch.Generator, init: str | None) -> nn.Conv2d:
    """Drawn on the CPU from `generator` by one of `INITS`, or as torch does."""
    conv = nn.utils.skip_init(nn.Conv2d, c_in, c_out, kernel, padding=kernel // 2)
    (as_built if init is None else INITS[init])(conv, generator)
    return conv
