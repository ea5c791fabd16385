"""What a search will cost, measured on a few steps before it starts."""

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from winnow.core.space import Space
from winnow.data.loaders import Batches, open_split
from winnow.measure import cost
from winnow.search.methods import METHODS
from winnow.search.objective import cross_entropy
from winnow.search.select import masks
from winnow.stage import files
from winnow.stage.params import Params
from winnow.stage.work import augmentation, choose_device, facts, final_space, search_space
from winnow.train.evaluate import Batch, accuracy_and_loss
from winnow.train.fit import fit
from winnow.train.seeds import generator, materialise, rng, seeded
from winnow.train.watch import Watch

SAMPLE = 100  # architectures behind the quantiles of params and MACs


@dataclass(frozen=True)
class Plan:
    """Counts are exact, costs of children are of a sample, seconds are measured on this machine and extrapolated."""

    architectures: int
    decisions: int
    params: tuple[int, int, int]  # smallest, median, largest of the sampled children, in retraining form
    macs: tuple[int, int, int]
    step_seconds: float  # one step of the search
    search_steps: int
    seconds: dict[str, float]  # expected, by stage
    peak_mib: float  # memory while searching: of the device where it is a GPU, else of the process


def plan(params: Params, folder: Path, say: Callable[[str], None] = lambda text: None) -> Plan:
    """Refused where `prepare` has not run: what a step costs depends on the images."""
    device = choose_device(params)
    with seeded(params.seed):
        space = search_space(params, folder).to(device, memory_format=torch.channels_last)
    final = final_space(params, folder)
    fact = facts(folder)
    shape = (fact["image_channels"], fact["image_size"], fact["image_size"])
    say(f"sampling {SAMPLE} architectures")
    draw = rng(params.seed, "plan")
    children = [final.derive(space.decide(lambda d: draw.choice(d.values))) for _ in range(SAMPLE)]
    sizes, macs = (
        sorted(values)
        for values in zip(*((cost.params(child), cost.macs(child, shape)) for child in children), strict=True)
    )
    say("timing a few steps")
    splits = {
        name: open_split(folder / files.SPLITS, name, stage="select", device=device)
        for name in ("weights", "arch", "select")
    }
    step = _search_step(params, space, splits["weights"], device)
    steps = params.search.epochs * (len(splits["weights"]) // params.search.batch)
    seconds = {
        "search": step * steps,
        "select": _select_seconds(params, space, splits, step),
        "retrain": _retrain_seconds(params, children[SAMPLE // 2], splits, device),
    }
    seconds["evaluate"] = seconds["retrain"] / len(params.retrain.seeds) * params.evaluate.controls
    return Plan(
        architectures=space.count(),
        decisions=len(space.decisions),
        params=_range(sizes),
        macs=_range(macs),
        step_seconds=step,
        search_steps=steps,
        seconds=seconds,
        peak_mib=_peak_mib(device),
    )


class _Stopwatch(Watch):
    """Seconds between steps."""

    def __init__(self, device: torch.device):
        self.device, self.times = device, []
        self.step()

    def step(self, steps: int = 1) -> None:
        torch.get_device_module(self.device).synchronize()
        self.times.append(time.perf_counter())

    def median(self) -> float:
        """Of all but the first, which pays for what happens once."""
        gaps = [after - before for before, after in zip(self.times[1:], self.times[2:], strict=False)]
        return statistics.median(gaps)


def _few(batches: Batches, count: int) -> list[Batch]:
    stream = iter(batches)
    return [next(stream) for _ in range(min(count, len(batches)))]


def _search_step(params: Params, space: Space, split, device: torch.device) -> float:
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
    watch = _Stopwatch(device)
    # a step of SGAS is one of DARTS, but its schedule asks for a whole search; logits move from the first epoch on
    strategy = "darts" if params.search.strategy == "sgas" else params.search.strategy
    recipe = params.search.model_copy(update={"strategy": strategy}).recipe()
    recipe |= {"epochs": -(-4 // len(batches)), **({"warmup": 0} if "warmup" in recipe else {})}
    METHODS[strategy](
        space,
        batches,
        batches,
        objective=cross_entropy(space, params.search.precision),
        seed=0,
        watch=watch,
        **recipe,
    )
    return watch.median()


def _select_seconds(params: Params, space: Space, splits, step: float) -> float:
    """Masks or children evaluated, and steps of fine-tuning."""
    judged = sum(len(splits[name]) for name in params.select.splits)
    batch = next(iter(Batches(splits["select"], params.select.batch, generator=generator(0), drop_last=False)))
    arch = space.decide(lambda d: d.values[-1])
    even = {d.name: torch.full((len(d.options),), 1 / len(d.options)) for d in space.decisions.values() if d.pick == 1}
    even = {name: weights.to(batch[0].device) for name, weights in even.items()}
    space.eval()

    def seconds_an_image(setting) -> float:
        accuracy_and_loss(lambda x: space(x, setting), [batch])
        began = time.perf_counter()
        accuracy_and_loss(lambda x: space(x, setting), [batch])
        return (time.perf_counter() - began) / len(batch[1])

    total = 0.0
    if "perturbation" in params.select.methods:
        events = sum(1 for d in space.decisions.values() if len(d.values) > 1)
        groups = len({d.group for d in space.decisions.values()})
        tuned = params.select.perturbation.tune_epochs * (len(splits["weights"]) // params.search.batch)
        total += masks(space) * judged * seconds_an_image(even) + events / groups * tuned * step
    if "evolution" in params.select.methods:
        settings = params.select.evolution
        images = judged + settings.calibration_images
        total += settings.population * (settings.generations + 1) * images * seconds_an_image(arch)
    return total


def _retrain_seconds(params: Params, child: torch.nn.Module, splits, device: torch.device) -> float:
    recipe = params.retrain.recipe()
    images = sum(len(splits[name]) for name in params.retrain.splits)
    model = materialise(child, device, 0).to(memory_format=torch.channels_last)
    batch = min(recipe.batch, len(splits["weights"]))
    batches = _few(Batches(splits["weights"], batch, generator=generator(0), channels_last=True), 4)
    watch = _Stopwatch(device)
    fit(model, batches, type(recipe)(**{**recipe.__dict__, "epochs": -(-4 // len(batches))}), seed=0, watch=watch)
    return watch.median() * recipe.epochs * (images // recipe.batch) * len(params.retrain.seeds)


def _range(values: list[int]) -> tuple[int, int, int]:
    return values[0], values[len(values) // 2], values[-1]


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
