"""What the network that is retrained may take: params and MACs, as params.yaml says, in absolute numbers.

One set of limits for whoever draws, tries, selects or compares architectures: `select.max_params`, `select.max_macs`,
and with strategy trials those of `search.trials.constraints` that are known without training.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from winnow.config.methods import strategy
from winnow.config.params import Params
from winnow.config.section import share_of
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.proxies.sizes import sizes_of
from winnow.run.work import final_space
from winnow.search.extremes import cheapest, dearest
from winnow.search.strategy import TRIALS
from winnow.search.training_free import limits
from winnow.train.seeds import rng

SIZES = ("params", "macs")
DRAWS = 100  # random architectures looked at before the space is walked for its smallest


@dataclass(frozen=True)
class Bound:
    """A limit on `metric` (params or macs): at most `value`, or at least; from the parameter `key`, written `said`."""

    key: str
    metric: str
    kind: str  # max or min
    value: float
    said: str = ""  # "50% of the largest, 1,234", where it is relative

    def excess(self, sizes: Mapping[str, float]) -> float:
        """How far `sizes` are beyond it: met at 0 or less."""
        beyond = sizes[self.metric] - self.value
        return beyond if self.kind == "max" else -beyond

    def __str__(self) -> str:
        least = "most" if self.kind == "max" else "least"
        return f"at {least} {self.value:,.0f} {self.metric} ({self.key}{f': {self.said}' if self.said else ''})"


@dataclass(frozen=True)
class Limits:
    """Bounds on architectures of `space`, in the form that is retrained; `sizes(arch)` are its params and macs.

    `besides` names constraints of strategy trials that only a trial can tell (accuracy, latency_ms, proxies).
    """

    space: Space
    bounds: tuple[Bound, ...]
    sizes: Callable[[Architecture], Mapping[str, float]] = field(repr=False)
    besides: tuple[str, ...] = ()

    @classmethod
    def of(cls, params: Params, folder: Path, space: Space | None = None) -> "Limits":
        """Those of `params`; a share is of the user's own network where the space was made of one, else of its largest.

        Sizes are those on the data in `folder`. `space` is `final_space(params, folder)` where the caller has it.
        Refused where no splits were prepared.
        """
        space = final_space(params, folder) if space is None else space
        sizes = sizes_of(space, space.example)
        bounds = []
        for metric, given in (("params", params.select.max_params), ("macs", params.select.max_macs)):
            key = f"select.max_{metric}"
            if isinstance(given, str):
                whose = "the largest" if space.original is None else "your network"
                whole = space.original or dearest(space, lambda arch, metric=metric: sizes(arch)[metric])
                full = int(sizes(whole)[metric])
                said = f"{given} of {whose}, {full:,}"
                bounds.append(Bound(key, metric, "max", max(1, math.floor(share_of(given) * full)), said))
            elif given is not None:
                bounds.append(Bound(key, metric, "max", given))
        told = params.search.trials.constraints if TRIALS in strategy(params.search.strategy).leaves else {}
        for metric, limit in told.items():
            for kind, value in limit.model_dump().items():
                if metric in SIZES and value is not None:
                    bounds.append(Bound(f"search.trials.constraints.{metric}.{kind}", metric, kind, value))
        return cls(space, tuple(bounds), sizes, tuple(metric for metric in told if metric not in SIZES))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.bounds)

    def allows(self, arch: Architecture) -> bool:
        """Whether `arch` is within all of them."""
        return not self.bounds or not self.passed(self.sizes(arch))

    def passed(self, sizes: Mapping[str, float]) -> list[Bound]:
        """The bounds that a network of these `sizes` (params, macs) breaks."""
        return [bound for bound in self.bounds if bound.excess(sizes) > 0]

    def load(self, arch: Architecture) -> float:
        """The largest share of an upper limit that `arch` takes: within them up to 1; 0 without any."""
        told = self.record()
        return limits(self.sizes, params=told.get("max_params"), macs=told.get("max_macs"))(arch)

    def most(self) -> dict[str, float]:
        """The strictest upper limit on each metric that has one."""
        return {name.removeprefix("max_"): v for name, v in self.record().items() if name.startswith("max_")}

    def describe(self) -> str:
        """In words, with the parameter that each comes from."""
        return " and ".join(map(str, self.bounds)) or "none"

    def record(self) -> dict[str, float]:
        """As reports and runs have them: {"max_params": 50000}; of two on one metric the stricter."""
        told: dict[str, float] = {}
        for b in self.bounds:
            name, strict = f"{b.kind}_{b.metric}", min if b.kind == "max" else max
            told[name] = strict(told.get(name, b.value), b.value)
        return told

    def check(self) -> None:
        """Refused, before anything is trained, where no architecture of the space is within them.

        Each bound is held against the least (or most) that any architecture has, and against those on the same metric.
        Several that only together leave nothing are found where the sum of what is taken of them is above their number
        for every architecture.
        """
        draw = rng(0, "limits")
        if any(self.allows(self.space.decide(uniform(draw))) for _ in range(DRAWS if self.bounds else 1)):
            return
        for bound in self.bounds:
            extreme = cheapest if bound.kind == "max" else dearest
            arch = extreme(self.space, lambda arch, metric=bound.metric: self.sizes(arch)[metric])
            if bound.excess(self.sizes(arch)) > 0:
                word = "smallest" if bound.kind == "max" else "largest"
                raise Refused(
                    f"none can: the {word} architecture of the space has {self.sizes(arch)[bound.metric]:,.0f} "
                    f"{bound.metric}, and the limit is {bound}: loosen it, or take another space"
                )
        most = [bound for bound in self.bounds if bound.kind == "max"]
        for low in (bound for bound in self.bounds if bound.kind == "min"):
            for high in most:
                if low.metric == high.metric and low.value > high.value:
                    raise Refused(f"none can: {low} and {high} leave nothing between")

        def taken(arch: Architecture) -> float:
            return sum(self.sizes(arch)[bound.metric] / max(bound.value, 1) for bound in most)

        nearest = cheapest(self.space, taken)
        if taken(nearest) > len(most):
            has = " and ".join(f"{self.sizes(nearest)[metric]:,.0f} {metric}" for metric in SIZES)
            raise Refused(
                f"none can: the nearest architecture of the space has {has}, and the limits are {self}: loosen one"
            )

    def refuse(self, what: str, sizes: Mapping[str, float]) -> None:
        """Refused where `what`, a network of these `sizes`, is beyond them."""
        if broken := self.passed(sizes):
            has = " and ".join(f"{sizes[metric]:,.0f} {metric}" for metric in dict.fromkeys(b.metric for b in broken))
            raise Refused(f"{what} has {has}, and the limit is {' and '.join(map(str, broken))}")

    def __str__(self) -> str:
        return self.describe()


def check_limits(params: Params, folder: Path) -> None:
    """Refused where the parameters set limits that no architecture of the space keeps."""
    if params.select.max_params or params.select.max_macs or params.search.trials.constraints:
        Limits.of(params, folder).check()
