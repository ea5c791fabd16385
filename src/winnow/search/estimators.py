"""Gradients of expectations over architectures: for losses that can be differentiated, and for rewards that cannot."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.search.looks import looked_at
from winnow.search.relax import laid

Reward = Callable[[Architecture], float]  # larger is better


@dataclass(frozen=True)
class Draw:
    """Architectures drawn from the logits, one or one an example, and what the estimator needs of the draw."""

    index: dict[str, Tensor]  # () or (examples,): position of the option of each decision
    relaxed: dict[str, Tensor]  # (options, ...); its value is a Gumbel-softmax sample, its gradient the corrected one
    log_probability: Tensor  # () or (examples,)

    @property
    def hot(self) -> dict[str, Tensor]:
        """(options, ...): one at the option drawn."""
        return {name: one_hot(self.index[name], weights) for name, weights in self.relaxed.items()}


def draw(
    logits: Mapping[str, Tensor],
    temperature: float,
    generator: torch.Generator,
    examples: int | None = None,
    softening: float = 0.0,
) -> Draw:
    """REBAR's pair of samples from one noise: the difference of their gradients is what makes the estimate unbiased.

    One for all, or one for each of `examples`. `softening` is added to each probability before they are normalised.
    Source: Vahdat et al. 2020, arXiv:1912.07651, public code; Tucker et al. 2017.
    """
    index, relaxed, log_probability = {}, {}, torch.zeros((), device=next(iter(logits.values())).device)
    for name, vector in logits.items():
        theta = vector.log_softmax(0)
        if softening:
            theta = (theta.exp() + softening).log().log_softmax(0)
        shape = (len(vector),) if examples is None else (len(vector), examples)
        theta = theta.view(-1, *(1,) * (len(shape) - 1))
        u = torch.rand(shape, generator=generator, dtype=torch.float64)
        u = laid(u, vector).clamp(1e-3, 1 - 1e-3)
        k, soft, conditional = pair(theta, u, temperature)
        index[name], relaxed[name] = k, soft - conditional + conditional.detach()
        log_probability = log_probability.to(theta) + (one_hot(k, theta.expand_as(u)) * theta).sum(0)
    return Draw(index, relaxed, log_probability)


def pair(theta: Tensor, u: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of noise `u` (options, ...): the position drawn, the sample, and the sample given that position.

    The two samples are equal in value and differ in their gradients over `theta`, the log probabilities.
    """
    q = theta.exp()
    free = theta - (-u.log()).log()
    k = free.argmax(0)
    hot = one_hot(k, free)
    with torch.no_grad():  # the noise given the choice: constants
        log_vk = (hot * u.log() / q).sum(0)
        log_v = u.log() - q * log_vk
    rest = -((-log_v / q - log_vk).clamp_min(1e-20)).log()
    given = torch.where(hot > 0, -(-log_vk).log(), rest)
    return k, (free / temperature).softmax(0), (given / temperature).softmax(0)


def one_hot(index: Tensor, like: Tensor) -> Tensor:
    """Zeros like `like`, (options, ...), but for a one at `index`, (...)."""
    return torch.zeros_like(like).scatter_(0, index[None], 1.0)


def estimate(draw: Draw, hard: float | Tensor, soft: Tensor) -> Tensor:
    """A scalar whose gradient estimates that of the expectation of `hard`, the loss of each drawn architecture.

    `soft` is the control variate: any function of `draw.relaxed`; the closer to `hard`, the less variance. Losses of
    examples multiply their own log probability before they are averaged.
    """
    return (draw.log_probability * (hard - soft).detach() + soft).mean()


def answers(space: Space, draw: Draw) -> dict[str, str | int]:
    """The drawn options as a setting; subsets, which have no logits, stay whole."""
    return {name: space.decisions[name].options[i] for name, (i,) in looked_at(draw.index).items()}


def check_rewardable(space: Space) -> None:
    """Refused where a decision takes several options: a draw does not say which, so a reward of it is another's."""
    several = next((d for d in space.decisions.values() if d.several and len(d.values) > 1), None)
    if several is not None:
        raise Refused(
            "a reward (search.unas.latency_ms) judges whole architectures, and unas does not draw which "
            f"of its {len(several.options)} options decision {several.name!r} takes: leave the reward out, take space "
            "factorised in place of darts, or search this space with strategy trials and latency_ms among its "
            "objectives"
        )


def architecture(space: Space, draw: Draw) -> Architecture:
    """The drawn options as an architecture of a space that `check_rewardable` lets pass.

    Where an architecture cannot hold the option drawn (`none` of some spaces), the first that it can.
    """
    drawn = answers(space, draw)
    return space.decide(lambda d: drawn[d.name] if drawn.get(d.name) in d.values else d.values[0])


def checked(reward: Reward, arch: Architecture) -> float:
    """Refused where the reward is no finite number."""
    value = float(reward(arch))
    if not abs(value) < float("inf"):
        raise Refused(f"the reward of architecture {arch.digest} is {value}: a reward is a finite number")
    return value


class Surrogate:
    """A reward as a sum over options, by ridge regression on drawn architectures: control variate of a black box."""

    def __init__(
        self, space: Space, architectures: Iterable[Architecture], values: Iterable[float], ridge: float = 1.0
    ):
        """`values` are the rewards of `architectures`."""
        self.names = [d.name for d in space.decisions.values() if not d.several]
        self.options = {name: space.decisions[name].options for name in self.names}
        rows = torch.stack([self._encode(arch) for arch in architectures])
        target = torch.tensor(list(values), dtype=torch.float64)
        square = rows.T @ rows + ridge * torch.eye(rows.shape[1], dtype=torch.float64)
        solution = torch.linalg.solve(square, rows.T @ target).float()
        self.bias, parts = solution[-1], solution[:-1].split([len(self.options[name]) for name in self.names])
        self.parts = dict(zip(self.names, parts, strict=True))

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        """() : the reward that mixture weights (options,) are expected to have."""
        terms = [(part.to(weights[name]) * weights[name]).sum() for name, part in self.parts.items()]
        return torch.stack(terms).sum() + self.bias.to(terms[0])

    def of(self, arch: Architecture) -> float:
        """The reward that an architecture is expected to have."""
        of_options = torch.cat([*self.parts.values(), self.bias[None]])
        return float(self._encode(arch).float() @ of_options)

    def _encode(self, arch: Architecture) -> Tensor:
        row = [float(arch.get(name) == option) for name in self.names for option in self.options[name]]
        return torch.tensor([*row, 1.0], dtype=torch.float64)
