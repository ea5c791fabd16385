"""What the network that is retrained may take, as params.yaml says, in absolute numbers.

One set of limits for whoever draws, tries, selects or compares architectures: `select.max_params`, `select.max_macs`,
`select.max_bitops`, `select.max_latency_ms`, `select.max_ram_kib`, `select.max_flash_kib`, and with strategy trials
those of `search.trials.constraints` that are known without training.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from winnow.config.methods import selection, strategy
from winnow.config.params import Params
from winnow.config.section import share_of
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.measure.memory import FOOTPRINT, footprint
from winnow.predictors.device import Device, Reading
from winnow.proxies.sizes import quantised, sizes_of
from winnow.run.latency import KEY, limited
from winnow.run.work import final_space
from winnow.search.extremes import cheapest, dearest
from winnow.search.selection import unsummed
from winnow.search.strategy import TRIALS
from winnow.search.training_free import limits
from winnow.train.seeds import rng

SIZES = ("params", "macs", "bitops")
DRAWS = 100  # random architectures looked at before the space is walked for its smallest


@dataclass(frozen=True)
class Bound:
    """A limit on `metric`: at most `value`, or at least; from the parameter `key`, written `said`.

    Of params or macs; of milliseconds where there is a `device`, by whose reading a network must be within for certain.
    """

    key: str
    metric: str
    kind: str  # max or min
    value: float
    said: str = ""  # "50% of the largest, 1,234", where it is relative
    device: Device | None = None

    @property
    def adds_up(self) -> bool:
        """Whether what is limited is a sum over answers: memory is not, as the most that is alive at once is no sum."""
        return not self.whole and self.metric not in FOOTPRINT

    @property
    def whole(self) -> bool:
        """Whether networks are looked up or measured for it, one by one: their metric is among no sizes."""
        return self.device is not None and not self.device.adds_up

    def excess(self, sizes: Mapping[str, float]) -> float:
        """How far `sizes` are beyond it: met at 0 or less."""
        beyond = sizes[self.metric] - self.value
        return beyond if self.kind == "max" else -beyond

    def __str__(self) -> str:
        if self.device is not None:
            return f"at most {self.value:g} ms on {self.device.name} ({self.key})"
        least = "most" if self.kind == "max" else "least"
        if self.metric in FOOTPRINT:
            return f"at {least} {self.value:g} {_units(self.metric)} ({self.key})"
        return f"at {least} {self.value:,.0f} {self.metric} ({self.key}{f': {self.said}' if self.said else ''})"


@dataclass(frozen=True)
class Limits:
    """Bounds on architectures of `space`, in the form that is retrained; `sizes(arch)` are its params and macs.

    Where memory is limited they hold `ram_kib` and `flash_kib` too, as `measure.memory` counts them.

    And, for each device that tells of sums over answers, `latency_ms`: the most that its error allows. `besides` names
    constraints of strategy trials that only a trial can tell (accuracy, latency_ms, proxies).
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
        assert space.example is not None
        sizes = sizes_of(space, space.example)
        bounds = []
        for metric in SIZES:
            key, given = f"select.max_{metric}", getattr(params.select, f"max_{metric}")
            if given is not None and metric == "bitops" and not quantised(space):
                raise Refused(f"{key}: no layer of space {params.space.name!r} is quantised: leave it out")
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
                if metric in (*SIZES, *FOOTPRINT) and value is not None:
                    bounds.append(Bound(f"search.trials.constraints.{metric}.{kind}", metric, kind, value))
        for metric in FOOTPRINT:
            if (most := getattr(params.select, f"max_{metric}")) is not None:
                bounds.append(Bound(f"select.max_{metric}", metric, "max", most))
        for metric, device, most in limited(params, folder, space):
            bounds.append(Bound(KEY, metric, "max", most, device=device))
        sums = {b.metric: b.device for b in bounds if b.device is not None and not b.whole}

        memory = footprints(space) if any(bound.metric in FOOTPRINT for bound in bounds) else lambda arch: {}

        def costs(arch: Architecture) -> Mapping[str, float]:
            timed = {metric: device.read(arch).high for metric, device in sums.items()}
            return {**sizes(arch), **memory(arch), **timed}

        besides = tuple(metric for metric in told if metric not in (*SIZES, *FOOTPRINT))
        return cls(space, tuple(bounds), costs, besides)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.bounds)

    @property
    def counted(self) -> "Limits":
        """Those that are told of any architecture at once; the others look networks up, or measure them."""
        return replace(self, bounds=tuple(bound for bound in self.bounds if not bound.whole))

    @property
    def unsummed(self) -> str:
        """Those in words that are on no sum over answers; "" where there are none."""
        return " and ".join(str(bound) for bound in self.bounds if not bound.adds_up)

    @property
    def whole(self) -> str:
        """Those others in words; "" where there are none."""
        return " and ".join(str(bound) for bound in self.bounds if bound.whole)

    def allows(self, arch: Architecture) -> bool:
        """Whether `arch` is within all of them."""
        return not self.bounds or not (self.passed(self.sizes(arch)) or self._beyond(arch))

    def _beyond(self, arch: Architecture) -> list[Bound]:
        """Those on whole networks that `arch` is not within for certain: up to the first."""
        asked = (b for b in self.bounds if b.device is not None and b.whole)
        return [b for b in asked if b.device and b.device.within(arch, b.value) != "yes"][:1]

    def passed(self, sizes: Mapping[str, float]) -> list[Bound]:
        """The bounds that a network of these `sizes` (params, macs, ...) breaks, of those on any of them."""
        return [bound for bound in self.bounds if bound.metric in sizes and bound.excess(sizes) > 0]

    def load(self, arch: Architecture) -> float:
        """The largest share of an upper limit that `arch` takes: within them up to 1; 0 without any."""
        share = limits(self.sizes, **self.most())(arch)
        whole = (b.device.read(arch).high / b.value for b in self.bounds if b.device is not None and b.whole)
        return share if share > 1 else max(share, *whole, 0.0)

    def most(self) -> dict[str, float]:
        """The strictest upper limit on each metric that has one and is among the sizes."""
        told = self.counted.record()
        return {name.removeprefix("max_"): v for name, v in told.items() if name.startswith("max_")}

    def remarks(self) -> list[str]:
        """What is to be said of the networks that were looked at."""
        return [remark for bound in self.bounds if bound.device and (remark := bound.device.remark())]

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

    def check(self, methods: Sequence[str] = ()) -> None:
        """Refused, before anything is trained, where no architecture is within them, or one of `methods` cannot tell.

        Each bound is held against the least (or most) that any architecture has, and against those on the same metric.
        Several that only together leave nothing are found where the sum of what is taken of them is above their number
        for every architecture. Where networks are measured, the one of the fewest MACs is.
        """
        if self.unsummed and (summing := [method for method in methods if selection(method).sums]):
            raise Refused(unsummed(summing[0], self.unsummed))
        self.counted._check_counted()
        if self.whole:
            least = cheapest(self.space, lambda arch: self.sizes(arch)["macs"])
            for bound in self._beyond(least):
                assert bound.device is not None
                if (told := bound.device.read(least)).low > bound.value:
                    raise Refused(
                        f"none can: the smallest architecture of the space (by MACs) takes {_ms(told)} on "
                        f"{bound.device.name}, and the limit is {bound}: loosen it, or take another space"
                    )

    def _check_counted(self) -> None:
        draw = rng(0, "limits")
        if any(self.allows(self.space.decide(uniform(draw))) for _ in range(DRAWS if self.bounds else 1)):
            return
        for bound in self.bounds:
            extreme = cheapest if bound.kind == "max" else dearest
            arch = extreme(self.space, lambda arch, metric=bound.metric: self.sizes(arch)[metric])
            if bound.excess(self.sizes(arch)) > 0:
                word = "smallest" if bound.kind == "max" else "largest"
                word += "" if bound.adds_up else " found"  # by a walk over single answers, which need not be the least
                has = f"has {_amount(bound.metric, self.sizes(arch))}"
                if bound.device is not None:
                    word, has = "fastest", f"takes {_ms(bound.device.read(arch))} on {bound.device.name}"
                raise Refused(
                    f"none can: the {word} architecture of the space {has}, and the limit is {bound}: loosen it, or "
                    "take another space"
                )
        most = [bound for bound in self.bounds if bound.kind == "max"]
        for low in (bound for bound in self.bounds if bound.kind == "min"):
            for high in most:
                if low.metric == high.metric and low.value > high.value:
                    raise Refused(f"none can: {low} and {high} leave nothing between")

        def taken(arch: Architecture) -> float:
            sizes = self.sizes(arch)
            return sum(sizes[bound.metric] / (bound.value if bound.device else max(bound.value, 1)) for bound in most)

        nearest = cheapest(self.space, taken)
        if taken(nearest) > len(most):
            metrics = dict.fromkeys(
                (*(m for m in SIZES if m in self.sizes(nearest)), *(bound.metric for bound in most))
            )
            has = " and ".join(_amount(metric, self.sizes(nearest)) for metric in metrics)
            raise Refused(
                f"none can: the nearest architecture of the space has {has}, and the limits are {self}: loosen one"
            )

    def refuse(self, what: str, sizes: Mapping[str, float], arch: Architecture) -> None:
        """Refused where `what`, network `arch` of these `sizes`, is beyond them."""
        sizes = {**self.sizes(arch), **sizes}
        if broken := self.passed(sizes):
            has = " and ".join(_amount(metric, sizes) for metric in dict.fromkeys(b.metric for b in broken))
            raise Refused(f"{what} has {has}, and the limit is {' and '.join(map(str, broken))}")
        for bound in self._beyond(arch):
            assert bound.device is not None
            raise Refused(f"{what} takes {_ms(bound.device.read(arch))}, and the limit is {bound}")

    def __str__(self) -> str:
        return self.describe()


def _ms(told: Reading) -> str:
    return f"{told.ms:.3g} ms [{told.low:.3g}, {told.high:.3g}]"


def footprints(space: Space) -> Callable[[Architecture], dict[str, float]]:
    """What each architecture takes, traced once."""
    known: dict[str, dict[str, float]] = {}
    example = space.example
    assert example is not None

    def of(arch: Architecture) -> dict[str, float]:
        if arch.digest not in known:
            known[arch.digest] = footprint(space.derive(arch), example)
        return known[arch.digest]

    return of


def _units(metric: str) -> str:
    return f"KiB of {metric.removesuffix('_kib').replace('ram', 'RAM')}"


def _amount(metric: str, sizes: Mapping[str, float]) -> str:
    if metric in FOOTPRINT:
        return f"{sizes[metric]:,.4g} {_units(metric)}"
    return f"up to {sizes[metric]:.4g} {metric}" if metric.startswith("latency") else f"{sizes[metric]:,.0f} {metric}"


def check_limits(params: Params, folder: Path) -> None:
    """Refused where the parameters set limits that no architecture of the space keeps, or a selection cannot keep."""
    if params.select.limited or params.search.trials.constraints:
        Limits.of(params, folder).check(params.select.methods)
