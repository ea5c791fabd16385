"""What a task is made of: functions and names, as plain data."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from winnow.core.example import Example
from winnow.data.inputs import Inputs
from winnow.data.loaders import Split
from winnow.data.source import Columns, Source
from winnow.data.splits import Deal

Facts = Mapping[str, Any]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Metric:
    """A number that `measure` gives: where it is best, in which unit it is shown, between which bounds it lies."""

    goal: Literal["maximize", "minimize"] = "maximize"
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf

    def text(self, value: float) -> str:
        """As people read it: "93.10 %", "0.4123"."""
        return f"{value:.2f} {self.unit}" if self.unit else f"{value:.4g}"

    def shown(self, value: float) -> float:
        """A sum or mean over rows in the unit: percent are of one."""
        return 100 * value if self.unit == "%" else value

    def gap(self, value: float) -> str:
        """A difference as people read it: "+1.25 points", "-0.031"."""
        return f"{value:+.2f} points" if self.unit == "%" else f"{value:+.4g}"

    @property
    def bounds(self) -> tuple[float, float]:
        """Turned so that more is better."""
        return (self.low, self.high) if self.sign > 0 else (-self.high, -self.low)

    @property
    def sign(self) -> int:
        """What makes more of it better."""
        return 1 if self.goal == "maximize" else -1


PERCENT = Metric("maximize", "%", 0.0, 100.0)
CALIBRATION = ("ece", Metric("minimize", "points", 0.0))


@dataclass(frozen=True)
class Picture:
    """Of what went wrong: `rows(outputs, answers, facts)`, one tensor of outputs a model, written as reports/NAME.csv
    and drawn by `chart` of `winnow.look.charts`. `rows` takes the `columns` that are named too, one by one. `said` is
    what one who looks at it must know.
    """

    rows: Callable[..., Rows]
    chart: str
    columns: tuple[str, ...] = ()
    said: str = ""

    def of(self, outputs: Sequence[Tensor], split: Split) -> Rows:
        """The rows of what models answered to all of `split`."""
        more = (split.held(name, "this chart").cpu() for name in self.columns)
        return self.rows(outputs, split.answers.cpu(), split.facts, *more)


@dataclass(frozen=True)
class Returned:
    """What a network must return, to try one before it is trained: `shape` a row (None: any size), in words `said`.

    `answers(n)` are made-up answers to n rows; `odd(outputs)`: what is wrong with those that look right.
    """

    shape: tuple[int | None, ...]
    said: str
    answers: Callable[[int], Tensor]
    odd: Callable[[Tensor], str] = lambda outputs: ""

    def fits(self, rows: int, shape: Sequence[int]) -> bool:
        wanted = (rows, *self.shape)
        return len(wanted) == len(shape) and all(want in (None, size) for want, size in zip(wanted, shape, strict=True))


@dataclass(frozen=True)
class Task:
    """The seam between data, networks and judgement. Outputs are what a network returns for a batch, in float32.

    Of an output that is a tuple (a second classifier, members of an ensemble) each part is trained; the first counts.
    """

    name: str
    reads: tuple[str, ...]  # the columns that a network is given
    target: str  # the column that it is to tell
    metrics: Mapping[str, Metric]  # the first one decides: controls, interval, verdict, trials
    check: Callable[[Source], Source]  # Refused where the source is not one of this task
    learnt: Callable[[Sequence[Columns], Facts], Facts]  # of the columns of weights and arch: a mean, say
    deal: Deal  # which row goes into which split
    facts: Callable[[Facts], dict[str, Any]]  # of the data's facts, what a space's builder takes
    example: Callable[[Facts], Example]  # of what the builder took: one input
    returned: Callable[[Facts], Returned]  # of what the builder took
    inputs: Callable[..., Inputs]  # (facts, augment=None): without augmentation, or with what `augment` made
    augment: Callable[..., Any]  # (facts, *, its options): as data.augment says, the usual where it says nothing
    criterion: Callable[..., nn.Module]  # (facts, seed, **options): the loss, mean over a batch; may have parameters
    imitate: Callable[[Tensor, Tensor], Tensor]  # the loss of outputs against a teacher's, least where they are equal
    answer: Callable[[Tensor], Tensor]  # outputs as people read them: chances, ratings
    measure: Callable[[Sequence[Tensor], Sequence[Tensor]], dict[str, float]]  # outputs and answers, batch by batch
    each: Callable[[Tensor, Tensor], Tensor] | None = None  # by row; its mean is the first metric, percent of one
    decided: Callable[[Tensor], Tensor] | None = None  # of all outputs what is decided of each row, where something is
    taught: Callable[[Split], Facts] = lambda split: split.facts  # what the criterion is told of the rows of training
    described: Callable[[Facts], str] = lambda facts: ""  # the data in words
    noted: Callable[[Mapping[str, Columns], Facts], Sequence[str]] = lambda tables, facts: ()  # of the splits, by name
    told: Callable[[Sequence[Tensor], Tensor, Facts], dict[str, Any]] = lambda outputs, answers, facts: {}
    shown: Mapping[str, tuple[str, Metric]] = field(default_factory=dict)  # in words; keys of `told`, "floor/ap" inside
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    reduced: Callable[..., Split] | None = None  # (split, resolution, samples, generator): cheaper training data

    @property
    def metric(self) -> str:
        """The name of the first metric."""
        return next(iter(self.metrics))

    @property
    def words(self) -> str:
        """The first metric on a page: "recall 1"."""
        return self.metric.replace("_", " ")

    @property
    def first(self) -> Metric:
        return self.metrics[self.metric]

    def texts(self, measured: Mapping[str, float]) -> str:
        """The first metric that is there, in words: "accuracy 93.10 %"."""
        name = self.metric if self.metric in measured else "loss"
        return f"{name} {self.metrics.get(name, Metric()).text(measured[name])}"

    def score(self, measured: Mapping[str, float]) -> float:
        """The first metric, turned so that more is better."""
        return self.first.sign * measured[self.metric]
