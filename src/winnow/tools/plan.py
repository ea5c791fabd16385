"""What a search will cost, measured on a few steps before it starts."""

import contextlib
import copy
import math
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from winnow.config.methods import selection, trainer
from winnow.config.params import Params
from winnow.config.plans import tried
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.data.loaders import Batches, Split, in_order
from winnow.measure.memory import FOOTPRINT, footprint
from winnow.proxies import score
from winnow.proxies.sizes import Sizes, later, sizes_of
from winnow.run.controls import check_comparison
from winnow.run.dry import try_search
from winnow.run.federation import check_clients
from winnow.run.limits import Limits
from winnow.run.networks import outlined
from winnow.run.work import augmentation, choose_device, facts, final_space, opened, search_space, where
from winnow.search.bench import Bench
from winnow.search.costs import Costs
from winnow.search.extremes import cheapest, dearest
from winnow.search.objective import objective
from winnow.search.strategy import INITIALISED, TRIALS
from winnow.tasks import task_named
from winnow.train.building import fresh, laid
from winnow.train.criteria import criterion_of
from winnow.train.evaluate import Batch, measured
from winnow.train.fit import fit
from winnow.train.seeds import generator, rng
from winnow.train.watch import Watch

TRACED = 20  # of them whose memory is traced
SAMPLE = 100  # architectures behind the quantiles of params and MACs

Splits = Mapping[str, Split]


@dataclass(frozen=True)
class Size:
    """How large the space is and its networks are, in retraining form; counts are exact, medians are of a sample."""

    architectures: int
    decisions: int
    params: tuple[int, int, int]  # of the smallest network, the median, and of the largest
    macs: tuple[int, int, int]
    memory: dict[str, tuple[float, float, float]]  # ram_kib and flash_kib of `TRACED` random ones: least, median, most
    limits: str  # as `Limits` describes them
    within: int  # of `SAMPLE` random children, those that keep them, but for `measured`
    measured: str  # those of them that whole networks are measured or looked up for, in words; "" without any
    data: str  # how large the splits are, and where they are read from


@dataclass(frozen=True)
class Bill(Size):
    """Seconds are measured on this machine and extrapolated."""

    unit: str  # what the search counts: "steps" of a supernet, "trials", or "scores" of untrained networks
    step_seconds: float  # one of them
    search_steps: int
    seconds: dict[str, float]  # expected, by stage
    peak_mib: float  # memory while searching: of the device where it is a GPU, else of the process


def plan(
    params: Params,
    folder: Path,
    say: Callable[[str], None] = lambda text: None,
    show: Callable[[Size], None] = lambda size: None,
) -> Bill:
    """`show` gets the first half before the second is measured.

    Refused where `prepare` has not run: what a step costs depends on the data. After `show`, also where no network of
    the space keeps the limits, or too few do to be compared with.
    """
    device = choose_device(params)
    try_search(params, folder, device)
    space = search_space(params, folder, device)
    final = final_space(params, folder)
    say(f"counting, and sampling {SAMPLE} architectures")
    limits, draw = Limits.of(params, folder, final), rng(params.seed, "plan")
    drawn = [space.decide(uniform(draw)) for _ in range(SAMPLE)]
    assert final.example is not None
    sizes = sizes_of(final, final.example)
    size = Size(
        architectures=space.count(),
        decisions=len(space.decisions),
        params=_range(final, sizes, "params", drawn),
        macs=_range(final, sizes, "macs", drawn),
        memory=_memory(final, drawn[:TRACED]),
        limits=str(limits),
        within=sum(map(limits.counted.allows, drawn)),
        measured=limits.whole,
        data=where(params, folder),
    )
    show(size)
    limits.check(params.select.methods)
    check_comparison(params, folder, say)
    say("timing a few steps")
    splits = {
        name: opened(params, folder, name, stage="select", device=device, say=say)
        for name in ("weights", "arch", "select")
    }
    check_clients(params, splits.__getitem__)
    child = fresh(final, drawn[SAMPLE // 2], "cpu", 0)
    row = _row_seconds(params, child, splits, device)
    untrained = outlined(params.space.name, params.space.chosen(), facts(params, folder))  # as proxies score it
    scored = fresh(untrained, drawn[SAMPLE // 2], "cpu", 0)
    unit, step, steps, beforehand = _search(params, space, scored, splits, row, device)
    recipe, rows = params.retrain.recipe(), sum(len(splits[name]) for name in params.retrain.splits)
    seconds = {
        "search": beforehand + step * steps,
        "select": _select_seconds(params, space, splits, step),
        "tune": params.tune.trials * (params.tune.epochs or recipe.epochs) * row * _training_rows(splits, "arch"),
        "retrain": _passes(params, recipe.epochs) * row * rows * len(params.retrain.seeds),
    }
    seconds["evaluate"] = _evaluate_seconds(params, seconds)
    seconds["retrain"] *= share(len(params.retrain.seeds), params.runtime.workers)
    return Bill(
        **vars(size),
        unit=unit,
        step_seconds=step,
        search_steps=steps,
        seconds=seconds,
        peak_mib=_peak_mib(device),
    )


def _passes(params: Params, epochs: int, rounds: int | None = None) -> float:
    """How often a training looks at all rows: its epochs, or by clients, as if these took no more than their rows."""
    federation = params.retrain.federation
    if federation is None:
        return epochs
    return (rounds or federation.rounds) * federation.local_epochs * federation.participation


def share(jobs: int, workers: int) -> float:
    """The time that equal jobs take by `workers`, of what they take one after another; as if each ran as fast as alone.

    Rounds are whole: three jobs by two workers take as long as two jobs.
    """
    return math.ceil(jobs / workers) / jobs if jobs else 1.0


def _evaluate_seconds(params: Params, seconds: Mapping[str, float]) -> float:
    """Found and random networks and rivals, trained once more alike, and further searches; without random search.

    As if all had the found network's size.
    """
    settings, seeds = params.evaluate, len(params.retrain.seeds)
    others = len(settings.rivals) + len(params.select.front)
    if not settings.randoms and not others:
        return 0.0
    networks = settings.randoms + seeds * (1 + others) + settings.searches - 1
    again = (settings.searches - 1) * (seconds["search"] + seconds["select"])
    again *= share(settings.searches - 1, params.runtime.workers)
    return again + networks * seconds["retrain"] / seeds


class _Enough(Exception):
    """So many steps have been timed."""


class _Stopwatch(Watch):
    """Seconds between steps; ends the work after `most` of them."""

    def __init__(self, device: torch.device, most: float = math.inf):
        self.device, self.most = device, most
        self.times: list[float] = []
        self.step()

    def step(self, steps: int = 1) -> None:
        torch.get_device_module(self.device).synchronize()
        self.times.append(time.perf_counter())
        if len(self.times) > self.most:
            raise _Enough

    def median(self) -> float:
        """Of all but the first, which pays for what happens once."""
        gaps = [after - before for before, after in zip(self.times[1:], self.times[2:], strict=False)]
        return statistics.median(gaps)


def _few(batches: Batches, count: int) -> list[Batch]:
    stream = iter(batches)
    return [next(stream) for _ in range(min(count, len(batches)))]


def _training_rows(splits: Splits, *besides: str) -> int:
    return sum(len(splits[name]) for name in ("weights", *besides))


def _search(
    params: Params, space: Space, child: torch.nn.Module, splits: Splits, row: float, device: torch.device
) -> tuple[str, float, int, float]:
    """What is counted, the seconds of one, how many there are, and the seconds of what comes before."""
    search, rows = params.search, _training_rows(splits)
    name, training, options = trainer(params)
    if INITIALISED in training.leaves:
        return "scores", _score_seconds(options["proxies"], child, splits, options["batch"]), 0, 0.0
    steps = search.epochs * (rows // search.batch)
    step = 0.0 if TRIALS in training.leaves else _search_step(params, space, splits["weights"], device)
    if name == search.strategy and TRIALS not in training.leaves:
        return "steps", step, steps, 0.0
    trials = tried(params)
    if trials.evaluator == "training":
        epochs = trials.sampler_options.get("segment", trials.training.epochs)
        seconds = epochs * row * rows * trials.training.samples
        return "trials", seconds * 2 ** -(trials.training.channels + trials.training.resolution), trials.count, 0.0
    if trials.evaluator == "federated":
        return "trials", _passes(params, 0, trials.federated.rounds) * row * rows, trials.count, 0.0
    if trials.evaluator == "proxy":
        return "trials", _score_seconds(trials.proxy.names, child, splits, trials.proxy.batch), trials.count, 0.0
    if trials.evaluator in ("table", "predictor"):
        return "trials", 0.0, trials.count, 0.0
    judged = len(splits["arch"]) + trials.inherited.calibration_images
    arch = space.decide(lambda d: d.values[-1])
    return "trials", judged * _seconds_a_row(params, space, splits, arch), trials.count, steps * step


def _score_seconds(names: Sequence[str], child: torch.nn.Module, splits: Splits, batch: int) -> float:
    """Of all proxies together, of one network."""
    model = copy.deepcopy(child)
    given = next(iter(in_order(splits["weights"], batch)))
    began = time.perf_counter()
    for name in names:
        score(name, model, given, generator(0, name))
    return time.perf_counter() - began


def _seconds_a_row(params: Params, space: Space, splits: Splits, setting: Setting) -> float:
    batch = next(iter(Batches(splits["select"], params.select.batch, generator=generator(0), drop_last=False)))
    space.eval()
    measured(task_named(params.task), lambda x: space(x, setting), [batch])
    began = time.perf_counter()
    measured(task_named(params.task), lambda x: space(x, setting), [batch])
    return (time.perf_counter() - began) / len(batch[1])


def _search_step(params: Params, space: Space, split: Split, device: torch.device) -> float:
    batches = _few(
        Batches(
            split,
            params.search.batch,
            augment=augmentation(params, split),
            generator=generator(0, "plan"),
            channels_last=True,
        ),
        4,
    )
    watch = _Stopwatch(device, 5)
    _, strategy, options = trainer(params)
    task = task_named(params.task)
    loss = objective(space, criterion_of(task, split.facts, 0), params.search.precision, params.search.recompute)
    example = space.example
    assert example is not None
    sizes = later(lambda: sizes_of(space, example))
    bench = Bench(space, 0, task, objective=loss, train=batches, valid=batches, watch=watch, sizes=sizes)
    with contextlib.suppress(_Enough):  # its schedule is that of the whole search
        strategy.run(bench, params.search.recipe(), {**options, **strategy.short})
    return watch.median()


def _select_seconds(params: Params, space: Space, splits: Splits, step: float) -> float:
    """As each selection expects it; `step` is one of the search's, or a score where nothing is trained."""
    singles = [d for d in space.decisions.values() if not d.several]
    device = splits["select"].device
    even = {d.name: torch.full((len(d.options),), 1 / len(d.options), device=device) for d in singles}
    costs = Costs(
        space,
        judged=sum(len(splits[name]) for name in params.select.splits),
        calibration=params.select.calibration_images,
        epoch=len(splits["weights"]) // params.search.batch,
        step=step,
        mixture_row=lambda: _seconds_a_row(params, space, splits, even),
        child_row=lambda: _seconds_a_row(params, space, splits, space.decide(lambda d: d.values[-1])),
        score=step if INITIALISED in trainer(params)[1].leaves else None,
        rows=len(splits["weights"]),
    )
    select = params.select
    runs = [*select.methods, *select.methods[:1] * len(select.front)]  # of an entry at most: some scores are known
    return sum(selection(method).expected(costs, select.chosen(method)) for method in runs)


def _row_seconds(params: Params, child: torch.nn.Module, splits: Splits, device: torch.device) -> float:
    """Seconds that an image takes in an epoch of retraining."""
    recipe = params.retrain.recipe()
    model = laid(copy.deepcopy(child).to(device))
    batch = min(recipe.batch, len(splits["weights"]))
    batches = _few(Batches(splits["weights"], batch, generator=generator(0), channels_last=True), 4)
    watch = _Stopwatch(device)
    recipe = replace(recipe, epochs=-(-4 // len(batches)))
    task = task_named(params.task)
    fit(model, batches, recipe, task, seed=0, watch=watch, facts=task.taught(splits["weights"]))
    return watch.median() / batch


def _range(space: Space, sizes: Sizes, metric: str, drawn: Sequence[Architecture]) -> tuple[int, int, int]:
    def size(arch: Architecture) -> int:
        return int(sizes(arch)[metric])

    seen = sorted(map(size, drawn))
    smallest, largest = (size(extreme(space, size)) for extreme in (cheapest, dearest))
    return min(smallest, seen[0]), seen[len(seen) // 2], max(largest, seen[-1])


def _memory(space: Space, drawn: Sequence[Architecture]) -> dict[str, tuple[float, float, float]]:
    """The least, median and most of those drawn; nothing of networks that the meta device does not run."""
    assert space.example is not None
    try:
        rows = [footprint(space.derive(arch), space.example) for arch in drawn]
    except Refused:
        return {}
    return {name: (min(v), statistics.median(v), max(v)) for name in FOOTPRINT if (v := [row[name] for row in rows])}


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
