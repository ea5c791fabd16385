"""What a trial is worth: by a short training, by a supernet's weights, by a proxy, by a table, by a predictor.

Each is made once a process and called with one `Job`; what it returns are the metrics of the trials table. Those that
have a space always return params and macs of the network that would be retrained, and ram_kib, flash_kib and latency_ms
where the plan asks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.example import Example
from winnow.core.space import Space
from winnow.data.inputs import Inputs
from winnow.data.loaders import Batches, Split, in_order
from winnow.measure import cost
from winnow.measure.latency import latency_ms
from winnow.measure.memory import FOOTPRINT, footprint
from winnow.predictors import predictor
from winnow.predictors.encode import ENCODINGS
from winnow.predictors.tg_nas import tensors
from winnow.proxies import score
from winnow.proxies.common import Batch
from winnow.proxies.scorer import check_names
from winnow.spaces.graphs import graphs, graphs_of
from winnow.tasks.task import Task
from winnow.train.building import fresh, laid
from winnow.train.evaluate import calibrated, measured
from winnow.train.fit import fit
from winnow.train.recipes import Recipe
from winnow.train.seeds import derived, generator
from winnow.train.watch import Diverged, Watch
from winnow.trials.lookup import Table
from winnow.trials.outcome import Infeasible, Job
from winnow.trials.plan import Plan
from winnow.trials.segments import Segments

LATENCY = "latency_ms"


@dataclass
class Cost:
    """Params, MACs and, where the plan names them, memory and latency of what would be retrained, of an `outline`.

    Latency is measured on `device` while other trials run beside: leave them one worker where it decides.
    """

    space: Space
    example: Example
    plan: Plan
    device: torch.device
    _known: dict[str, dict[str, float]] = field(default_factory=dict)

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Raises Infeasible where these alone pass a limit: nothing needs training to know that."""
        if arch.digest not in self._known:
            child = self.space.derive(arch).eval()
            found = {"params": float(cost.params(child)), "macs": float(cost.macs(child, self.example))}
            asked = {*self.plan.objectives, *self.plan.constraints}
            if asked & set(FOOTPRINT):
                found |= footprint(child, self.example)
            if LATENCY in asked:
                model = fresh(self.space, arch, self.device, 0).eval()
                found[LATENCY] = latency_ms(model, self.example, device=self.device).median
            self._known[arch.digest] = found
        known = self._known[arch.digest]
        if any(excess > 0 for excess in self.plan.excess(known, partly=True).values()):
            raise Infeasible(known)
        return dict(known)


@dataclass
class Training:
    """Trains the child of the job's architecture, or of `architecture`, and reports after every epoch.

    `space` is an `outline` of the form that is trained: `cost.space`, or smaller. Parameters of a job that are
    fields of a recipe take the place of those of `recipe`. `inherit` may change the initialised child; `keep` gets the
    number, what was trained, and its seed. With `segments`, a trial trains until the epoch that its fidelity says,
    going on from the trial that it continues; what answers all rows alike after one epoch is given no more.
    """

    task: Task
    space: Space
    cost: Cost
    train: Split
    valid: Split
    recipe: Recipe
    augment: Callable[[Recipe], Inputs]
    batch: int  # rows judged at a time
    device: torch.device
    architecture: Architecture | None = None
    inherit: Callable[[nn.Module, Job], nn.Module] = lambda model, job: model
    keep: Callable[[int, Architecture, nn.Module, int], None] = lambda number, arch, model, seed: None
    segments: Segments | None = None
    besides: Callable[[nn.Module], dict[str, float]] = lambda model: {}  # more metrics, of what was trained

    def __call__(self, job: Job) -> dict[str, float]:
        arch = job.architecture or self.architecture
        assert arch is not None
        known = self.cost(arch)
        recipe = tuned(self.recipe, job.parameters)
        model = laid(self.inherit(fresh(self.space, arch, self.device, derived(job.seed, "initialise")), job))
        batches = Batches(
            self.train,
            recipe.batch,
            augment=self.augment(recipe),
            generator=generator(job.seed, "batches"),
            channels_last=True,
        )
        judged = in_order(self.valid, self.batch)

        def after_epoch(epoch: int, kept: nn.Module) -> None:
            known.update(measured(self.task, kept.eval(), judged))
            if epoch == 0 and self.segments is not None and blind(kept, next(iter(judged))[0]):
                raise Infeasible(known)
            if known.keys() >= self.cost.plan.objectives.keys():  # else one is told at the end alone
                job.report(epoch, *self.cost.plan.values(known))

        try:
            trained = fit(
                model,
                batches,
                recipe,
                self.task,
                seed=job.seed,
                watch=Watch(),
                facts=self.task.taught(self.train),
                after_epoch=after_epoch,
                keeper=None if self.segments is None else self.segments.keeper(job),
                until=None if self.segments is None else int(job.fidelity["epochs"]),
            )
        except Diverged as diverged:  # this trial's parameters, not the study
            raise FloatingPointError(str(diverged)) from diverged
        self.keep(job.number, arch, trained, job.seed)
        return known | self.besides(trained)


@dataclass
class Inherited:
    """Children cut from a trained supernet, with BatchNorm statistics of their own (Guo et al. 2020, section 3.4)."""

    task: Task
    supernet: Space
    cost: Cost
    calibration: Split
    rows: int  # of `calibration`
    valid: Split
    batch: int
    besides: Callable[[nn.Module], dict[str, float]] = lambda model: {}  # more metrics, of the child

    def __call__(self, job: Job) -> dict[str, float]:
        assert job.architecture is not None
        known = self.cost(job.architecture)
        child = calibrated(self.supernet.derive(job.architecture), self.calibration, self.rows, self.batch)
        return {**known, **measured(self.task, child, in_order(self.valid, self.batch)), **self.besides(child)}


@dataclass
class ByProxy:
    """Zero-cost proxies by their names, of children initialised alike; what is not finite fails the trial."""

    names: Sequence[str]
    space: Space  # an `outline`
    cost: Cost
    batch: Batch
    seed: int
    device: torch.device

    def __post_init__(self) -> None:
        check_names(self.names, self.batch)

    def __call__(self, job: Job) -> dict[str, float]:
        assert job.architecture is not None
        known = self.cost(job.architecture)
        model = fresh(self.space, job.architecture, self.device, derived(self.seed, "initialise"))
        return {**known, **{n: score(n, model, self.batch, generator(self.seed, n)) for n in self.names}}


@dataclass
class ByTable:
    """What a trials table says at one fidelity: every metric that it has there."""

    table: Table
    fidelity: Mapping[str, float]
    cost: Cost

    def __call__(self, job: Job) -> dict[str, float]:
        assert job.architecture is not None
        known = self.cost(job.architecture)
        row = self.table.row(job.architecture)
        at = tuple(sorted(self.fidelity.items()))
        said = {m: float(self.table.column(m, self.fidelity)[row]) for m, f in self.table.columns if f == at}
        return {**known, **{name: value for name, value in said.items() if math.isfinite(value)}}


@dataclass
class ByPredictor:
    """What a predictor says of an architecture, as metric `predicted`; `of` answers for a list of them."""

    of: Callable[[Sequence[Architecture]], Sequence[float]]
    cost: Cost

    def __call__(self, job: Job) -> dict[str, float]:
        assert job.architecture is not None
        return {**self.cost(job.architecture), "predicted": float(self.of([job.architecture])[0])}


def fitted(
    name: str, space: Space, table: Table, metric: str, fidelity: Mapping[str, float], seed: int
) -> Callable[[Sequence[Architecture]], Sequence[float]]:
    """Predictor `name`, fitted to a column of `table`, of architectures of `space`.

    Descriptions may be of another space's architectures, whose graphs are then drawn by the names of its decisions;
    else Refused where the table is not of this space.
    """
    chosen, values = predictor(name), table.column(metric, fidelity)
    archs = [Architecture(choices) for choices, value in zip(table.rows, values, strict=True) if value == value]
    encode = ENCODINGS[chosen.encoding](space.decisions, graphs_of(space))
    foreign = not set(table.names) <= set(space.decisions)
    if foreign and chosen.encoding != "described":
        raise Refused(
            f"predictor {name!r} is fitted to architectures of the space that it scores, and the table's answer "
            f"{', '.join(table.names[:3])}…: take tg_nas, which reads descriptions, or another table"
        )
    source = tensors([graphs(arch) for arch in archs]).numpy() if foreign else encode(archs)
    predict = chosen.fit(source, values[values == values], seed)
    return lambda others: predict(encode(others)).mean.tolist()


def blind(model: nn.Module, x: Tensor) -> bool:
    """Whether `model`, in evaluation mode, answers every row of `x` alike, as cells of `none` do."""
    with torch.no_grad():
        answers = model(x)
    return len(x) > 1 and bool((answers == answers[:1]).all())


def tuned(recipe: Recipe, parameters: Mapping[str, Any]) -> Recipe:
    """The recipe with those of the parameters that are fields of it."""
    return replace(recipe, **{name: value for name, value in parameters.items() if name in Recipe.__dataclass_fields__})
