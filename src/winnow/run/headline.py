"""What leads the report: the verdicts, the picture of score against cost, and the numbers."""

import functools
import operator
from collections.abc import Mapping
from typing import Any

from winnow.look import page
from winnow.measure.latency import busy
from winnow.run.beside import over_seeds
from winnow.run.verdict import verdicts
from winnow.system.machine import usable_cores
from winnow.tasks.task import Metric, Task

STYLES = {"yes": "yes", "no": "no", "cannot tell": "open"}  # of a verdict, in the style of the page


def headline(result: Mapping[str, Any], task: Task, picture: str) -> str:
    """`picture` is an SVG."""
    numbers = {
        f"test {task.words} (n = {result['n']})": spread(task.first, result),
        "parameters": f"{result['params']:,}",
        "million multiply-accumulates": f"{result['macs'] / 1e6:.2f}",
        f"ms an input, {result['latency_device']}": _latency(result),
    }
    if result.get("ram_kib") is not None:
        numbers["KiB of activations (RAM), of weights (flash), float32"] = _memory(result)
    for name, (key, metric) in task.shown.items():
        value: Any = functools.reduce(operator.getitem, key.split("/"), result)
        numbers[name] = metric.text(value)
    shown = "".join(f"<div><b>{page.text(value)}</b>{page.text(name)}</div>" for name, value in numbers.items())
    said = "".join(f"<p class='verdict {STYLES[how]}'>{page.text(what)}</p>" for how, what in verdicts(result))
    parts = [f"<h1>Architecture {page.text(result['architecture'])}</h1>", said]
    if result["control_n"] or result["against"] or result["front"]:
        parts += [page.inline(picture), _beside(result, task)]
    return "".join([*parts, f"<div class='numbers'>{shown}</div>"])


def spread(metric: Metric, result: Mapping[str, Any]) -> str:
    """The mean over seeds with its standard deviation: "99.16 ± 0.28 %"."""
    mean, sd = metric.text(result["score_mean"]), result["score_sd"]
    if sd is None:
        return mean
    return f"{mean.removesuffix(f' {metric.unit}')} ± {metric.text(sd)}"


def _beside(result: Mapping[str, Any], task: Task) -> str:
    """The found network, the front and rivals, trained alike, row by row; nothing without the last two."""
    if not result["against"] and not result["front"]:
        return ""
    metric = task.first
    found = {**result, "name": "found", **over_seeds(result["found_scores"], metric)}
    rows, threads = [], result["latency_threads"]
    for row in (found, *result["front"], *result["against"]):
        gap = None if row is found else row.get("difference")
        ends: list[Any] = [row[f"difference_ci_{end}"] for end in ("low", "high")] if gap is not None else [None]
        interval = "" if None in ends else " [{}, {}]".format(*(metric.gap(e).removesuffix(" points") for e in ends))
        alone = row["latency_one_thread_ms"]
        one = [] if threads == 1 else ["–" if alone is None else f"{alone:.2f}"]
        scores = f"{spread(metric, row)} (n = {row['n']})"
        beside = "" if gap is None else f"{metric.gap(gap)}{interval}"
        rows.append(
            [
                row["name"],
                f"{row['params']:,}",
                f"{row['macs'] / 1e6:.2f}",
                _memory(row),
                scores,
                beside,
                _latency(row),
                *one,
            ]
        )
    several = f"ms an input, {threads} thread{'s' if threads > 1 else ''}"
    heads = ["network", "params", "M MACs", "RAM, flash (KiB)", f"test {task.words}", "found beside it", several]
    heads += [] if threads == 1 else ["one thread"]
    remark = busy(result["latency_load"], threads, usable_cores())
    note = (
        "Trained alike, by the recipe as it stands in params.yaml. Latency was measured by turns, on "
        f"{result['latency_device']}{f', under {remark}' if remark else ''}."
    )
    return page.table(heads, rows) + f"<p class='quiet'>{page.text(note)}</p>"


def _memory(row: Mapping[str, Any]) -> str:
    return "–" if row.get("ram_kib") is None else f"{row['ram_kib']:.1f}, {row['flash_kib']:.1f}"


def _latency(row: Mapping[str, Any]) -> str:
    return f"{row['latency_ms']:.2f} [{row['latency_low']:.2f}, {row['latency_high']:.2f}]"
