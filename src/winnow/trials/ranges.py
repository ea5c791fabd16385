"""Ranges of hyper-parameters, as declared in params.yaml, and how a trial suggests them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from winnow.core.errors import Refused

KEYS = ("low", "high", "step", "log", "choices", "when")


@dataclass(frozen=True)
class Range:
    """`when` maps an earlier parameter to the value, or list of values, with which this one is asked at all."""

    distribution: BaseDistribution
    when: Mapping[str, Any]

    def asked(self, so_far: Mapping[str, Any]) -> bool:
        return all(
            name in so_far and so_far[name] in (value if isinstance(value, list) else [value])
            for name, value in self.when.items()
        )


def read_ranges(declared: Mapping[str, Mapping[str, Any]]) -> dict[str, Range]:
    """{"lr": {"low": 1e-3, "high": 1, "log": true}, "nesterov": {"choices": [true, false], "when": {...}}}.

    A range with whole ends takes whole numbers. Refused with the range's name where it cannot be meant.
    """
    ranges: dict[str, Range] = {}
    for name, given in declared.items():
        unknown = next((key for key in given if key not in KEYS), None)
        if unknown is not None:
            raise Refused(f"range {name!r} has no key {unknown!r}: it takes {', '.join(KEYS)}")
        when = given.get("when", {})
        late = next((other for other in when if other not in ranges), None)
        if late is not None:
            raise Refused(f"range {name!r} depends on {late!r}, which is not declared before it")
        ranges[name] = Range(_distribution(name, given), when)
    return ranges


def holds(d: BaseDistribution, value: Any) -> bool:
    """Whether `d` could have suggested `value`."""
    if isinstance(d, CategoricalDistribution):
        return any(value is choice or (value == choice and type(value) is type(choice)) for choice in d.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (isinstance(d, FloatDistribution) or isinstance(value, int)) and bool(d._contains(float(value)))


def suggest_ranges(ranges: Mapping[str, Range], trial: BaseTrial) -> dict[str, Any]:
    """The parameters of one trial; a range whose `when` does not hold is left out."""
    found: dict[str, Any] = {}
    for name, each in ranges.items():
        if each.asked(found):
            found[name] = suggest(trial, name, each.distribution)
    return found


def suggest(trial: BaseTrial, name: str, d: BaseDistribution) -> Any:
    if isinstance(d, CategoricalDistribution):
        return trial.suggest_categorical(name, d.choices)
    if isinstance(d, IntDistribution):
        return trial.suggest_int(name, d.low, d.high, step=d.step, log=d.log)
    assert isinstance(d, FloatDistribution)
    return trial.suggest_float(name, d.low, d.high, step=d.step, log=d.log)


def _distribution(name: str, given: Mapping[str, Any]) -> BaseDistribution:
    if "choices" in given:
        choices = given["choices"]
        plain = isinstance(choices, list) and all(c is None or isinstance(c, str | int | float) for c in choices)
        if not plain or not choices or set(given) - {"choices", "when"}:
            raise Refused(f"range {name!r}: choices is a list of texts, numbers or booleans, and stands alone")
        return CategoricalDistribution(choices)
    if "low" not in given or "high" not in given:
        raise Refused(f"range {name!r} takes low and high, or choices; it has {', '.join(given) or 'nothing'}")
    low, high, step, log = given["low"], given["high"], given.get("step"), given.get("log", False)
    if any(not isinstance(end, int | float) or isinstance(end, bool) for end in (low, high)):
        raise Refused(f"range {name!r} takes numbers, not {low!r} to {high!r}")
    if low > high:
        raise Refused(f"range {name!r} is upside down: low {low} is above high {high}")
    if log and (low <= 0 or step is not None):
        raise Refused(f"range {name!r}: log takes a low above 0 and no step, not low {low}, step {step}")
    if isinstance(low, int) and isinstance(high, int):
        if step is not None and (not isinstance(step, int) or step < 1):
            raise Refused(f"range {name!r} is of whole numbers: step takes 1 or more, not {step!r}")
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(float(low), float(high), log=log, step=step)
