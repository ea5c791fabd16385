"""What a replay is to find, as it is written on a command line: objectives, limits, and on whose device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winnow.core.errors import Refused
from winnow.trials.lookup import Table
from winnow.trials.plan import DIRECTIONS
from winnow.trials.replay import Replay, task

CELLS = 423_624  # of NAS-Bench-101, which have several answers each


@dataclass(frozen=True)
class Sought:
    """`of(**more)` makes the task; `title` reads after "regret of"; `remarks` are sentences about the table."""

    table: Table
    metric: str
    direction: str
    besides: dict[str, str]
    limits: dict[str, float]
    title: str
    remarks: list[str]

    def of(self, look_back: int, options: dict[str, Any]) -> Replay:
        return task(self.table, self.metric, self.direction, look_back, options, self.besides, self.limits)


def sought(
    table: Table, metric: str, direction: str, besides: Sequence[str], limits: Sequence[str], devices: Sequence[str]
) -> Sought:
    """Find `metric` and what `besides` names ("latency_ms=minimize") under `limits` ("latency_ms=10").

    A metric that the table has by device is that of each of `devices`. Refused where a text reads otherwise, the table
    lacks a device or a metric, or a device is named for nothing.
    """
    (main, *others), used = _columns(table, metric, devices)
    objectives = dict.fromkeys(others, direction)
    for text in besides:
        name, _, way = text.partition("=")
        if way not in DIRECTIONS:
            raise Refused(f"--objective takes NAME=maximize or NAME=minimize, not {text!r}")
        columns, by_device = _columns(table, name, devices)
        objectives |= dict.fromkeys(columns, way)
        used |= by_device
    most: dict[str, float] = {}
    for text in limits:
        name, _, value = text.partition("=")
        columns, by_device = _columns(table, name, devices)
        most |= dict.fromkeys(columns, _number(text, value))
        used |= by_device
    if devices and not used:
        raise Refused(f"--device {devices[0]} says whose latency, and none is asked for: add --objective or --limit")
    asked = task(table, main, direction, 1, {}, objectives, most)
    title = main if not objectives else f"the front of {' and '.join(asked.objectives)}"
    if most:
        title += f" with {' and '.join(f'{name} at most {value:g}' for name, value in most.items())}"
    return Sought(table, main, direction, objectives, most, title, _remarks(table, asked.table))


def _columns(table: Table, name: str, devices: Sequence[str]) -> tuple[list[str], bool]:
    """The table's metrics that `name` means, and whether devices say which."""
    known = {metric for metric, _ in table.columns}
    by_device = [metric.partition("/")[2] for metric in sorted(known) if metric.startswith(f"{name}/")]
    if name in known or not by_device:
        return [name], False
    if not devices:
        raise Refused(f"the table has {name} by device: say --device, one of {', '.join(by_device)}")
    for device in devices:
        if device not in by_device:
            raise Refused(f"the table has no {name} of device {device!r}; it has those of {', '.join(by_device)}")
    return [f"{name}/{device}" for device in dict.fromkeys(devices)], True


def _number(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise Refused(f"--limit takes NAME=NUMBER, not {text!r}") from error


def _remarks(table: Table, known: Table) -> list[str]:
    remarks = []
    if len(known) < len(table):
        remarks.append(f"{len(table) - len(known):,} of {len(table):,} architectures lack a number and are left out")
    all_, what = (CELLS, "cells") if known.of_nb101 else (known.combinations, "combinations")
    if not known.whole and len(known) < all_:
        remarks.append(
            f"the table has {len(known):,} of {all_:,} {what}: a strategy that asks for another is "
            "given the nearest one that it has not had"
        )
    return remarks
