"""What a study is: all that may not change between its first trial and its last."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from winnow.core.errors import Refused

DIRECTIONS = ("maximize", "minimize")
# by name here, for who checks a params.yaml without importing Optuna; what they are: samplers.py, stopping.py
SAMPLERS = (
    "random",
    "tpe",
    "gp",
    "nsga2",
    "nsga3",
    "cmaes",
    "brute_force",
    "regularised_evolution",
    "network_morphism",
    "proxy_bo",
)
HIERARCHY = "hierarchy"  # the sampler of a strategy, which sets its options: nobody names it in params.yaml
HEIRS = ("network_morphism", HIERARCHY)  # samplers whose trials begin with what others leave
STOPPERS = ("none", "median", "percentile", "successive_halving", "hyperband", "dominance")


@dataclass(frozen=True)
class Plan:
    """Data, as in params.yaml. Trial n knows the results of trials 0 … n − `look_back`: as many can run at a time."""

    objectives: Mapping[str, str]  # metric -> maximize or minimize
    constraints: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # metric -> {"max": 1e6, "min": ...}
    sampler: str = "tpe"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    stopper: str = "none"
    stopper_options: Mapping[str, Any] = field(default_factory=dict)
    look_back: int = 8
    seed: int = 0
    fidelity: Mapping[str, float] = field(default_factory=dict)  # what trials are shortened to: {"epochs": 12}
    first: Mapping[str, Any] = field(default_factory=dict)  # parameters of trial 0; the sampler's own where empty

    def __post_init__(self) -> None:
        if not self.objectives:
            raise Refused("trials have no objective: name at least one metric, like {accuracy: maximize}")
        for metric, direction in self.objectives.items():
            if direction not in DIRECTIONS:
                raise Refused(f"objective {metric!r} takes maximize or minimize, not {direction!r}")
        for metric, limits in self.constraints.items():
            if not limits or not set(limits) <= {"max", "min"} or any(not _finite(v) for v in limits.values()):
                raise Refused(f"constraint {metric!r} takes max, min or both, each a number, not {dict(limits)}")
            if limits.get("min", -math.inf) > limits.get("max", math.inf):
                raise Refused(f"constraint {metric!r} is upside down: min {limits['min']} is above max {limits['max']}")
        if self.look_back < 1:
            raise Refused(f"look_back takes a whole number of 1 or more, not {self.look_back}")

    @property
    def directions(self) -> list[Any]:
        return list(self.objectives.values())

    def described(self) -> dict[str, Any]:
        """As JSON has it."""
        described: dict[str, Any] = json.loads(json.dumps(asdict(self), default=dict))
        return described

    def values(self, metrics: Mapping[str, float]) -> list[float]:
        """The objectives among `metrics`. Refused where one is missing: no later trial would have it either."""
        return [self._metric("objective", name, metrics) for name in self.objectives]

    def excess(self, metrics: Mapping[str, float], partly: bool = False) -> dict[str, float]:
        """How far each limit is passed, in the metric's own unit: "params max" -> params − limit; met at 0 or less.

        Refused where a metric is missing, unless `partly`: then of those that are there.
        """
        passed = {}
        for name, limits in self.constraints.items():
            if partly and name not in metrics:
                continue
            value = self._metric("constraint", name, metrics)
            for bound, limit in sorted(limits.items()):
                passed[f"{name} {bound}"] = value - limit if bound == "max" else limit - value
        return passed

    def _metric(self, kind: str, name: str, metrics: Mapping[str, float]) -> float:
        if name not in metrics:
            known = ", ".join(sorted(metrics)) or "nothing"
            raise Refused(f"{kind} {name!r} is not among what the evaluator returns: {known}")
        return float(metrics[name])


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
