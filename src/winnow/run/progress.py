"""Progress for people: a bar with rate and time left on a terminal, plain lines elsewhere; curves go to the tracker."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from winnow.train.watch import Watch

console = Console(highlight=False, soft_wrap=True)
PLAIN_EVERY = 10.0  # seconds between two lines where there is no terminal


def duration(seconds: float) -> str:
    """For people: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Shown(Watch):
    """Shows a loop and keeps its curves: `rows` for a CSV, `weights` for the picture of the logits over time.

    With `run`, each epoch's metrics are logged under `prefix`. Use as a context manager, so that the bar ends.
    """

    def __init__(self, run: Any = None, prefix: str = ""):
        self.run, self.prefix = run, prefix
        self.rows: list[dict[str, float]] = []
        self.weights: list[dict[str, Any]] = []
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[last]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task: Any = None

    def __enter__(self) -> "Shown":
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def start(self, label: str, steps: int) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.label, self.steps, self.done, self.last = label, steps, 0, ""
        self.before = 0  # steps that were done before this process
        self.began = self.spoke = time.monotonic()
        self.task = self.bar.add_task(label, total=steps, rate="", last="")

    def step(self, steps: int = 1) -> None:
        self.done += steps
        rate = (self.done - self.before) / max(time.monotonic() - self.began, 1e-9)
        self.bar.update(self.task, advance=steps, rate=f"{rate:.3g}/s")
        if not console.is_terminal and time.monotonic() - self.spoke > PLAIN_EVERY:
            self.spoke = time.monotonic()
            left = max(self.steps - self.done, 0) / rate
            console.print(f"  {self.label}: {self.done}/{self.steps}, {rate:.3g}/s, {left:.0f} s left{self.last}")

    def epoch(self, epoch: int, metrics: Mapping[str, float], weights: Mapping[str, Tensor] | None = None) -> None:
        self.rows.append({"epoch": epoch, **metrics})
        self.last = "  " + "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.bar.update(self.task, last=self.last)
        if self.run is not None:
            self.run.metrics({self.prefix + name: value for name, value in metrics.items()}, step=epoch)
        for decision, vector in (weights or {}).items():
            self.weights.append({"epoch": epoch, "decision": decision, "weights": vector.tolist()})

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows, "weights": self.weights, "done": self.done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The curves so far go to the run again: it is another one than that of the process that was stopped."""
        self.rows, self.weights = state["rows"], state["weights"]
        for row in self.rows if self.run is not None else ():
            values = {self.prefix + name: value for name, value in row.items() if name != "epoch"}
            self.run.metrics(values, step=int(row["epoch"]))
        self.before, self.done = state["done"], state["done"]
        self.bar.update(self.task, completed=self.done)
