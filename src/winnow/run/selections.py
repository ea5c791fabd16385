"""How each of select.methods finds an architecture on the frozen supernet, or among finished trials."""

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from winnow.config.plans import plan_of_search
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.data.loaders import Batches, in_order, join
from winnow.measure import cost
from winnow.run import files
from winnow.run.limits import Limits
from winnow.run.progress import Shown
from winnow.run.untrained import choose
from winnow.run.work import Work, augmentation, final_space, search_space
from winnow.search.evolve import evolution
from winnow.search.mixture import resume_mixture
from winnow.search.objective import cross_entropy
from winnow.search.relax import Logits, gates, softmax
from winnow.search.selections.likeliest import likeliest
from winnow.search.selections.magnitude import magnitude
from winnow.search.selections.perturbation import masks, perturbation, tuning
from winnow.search.selections.threshold import threshold
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import accuracy_and_loss, batch_statistics, calibrate
from winnow.train.seeds import derived, generator, rng, seeded
from winnow.trials.front import best
from winnow.trials.table import Row, as_rows, read_table

SPLITS = ("weights", "arch", "select")
Selection = tuple[Architecture, list[dict[str, Any]]]  # and rows of evidence


def read_logits(
    space: Space, vectors: Mapping[str, Any], moments: Mapping[str, Mapping[str, Any]] | None = None
) -> Logits | None:
    """The logits of a search by decision; None where it has none. KeyError, RuntimeError, ... where they do not fit.

    `moments` are those of Adam; None where the file is older than these.
    """
    if not vectors:
        return None
    logits = Logits(space, torch.Generator(), subsets=any(space.decisions[name].several for name in vectors))
    with torch.no_grad():
        for name, vector in vectors.items():
            values = torch.tensor(vector)
            if values.shape != logits[name].shape or not values.isfinite().all():
                raise ValueError(f"logits of {name!r}: {len(vector)} values, it takes {len(logits[name])} numbers")
            logits[name].copy_(values)
    for name, told in (moments or {}).items():
        step, *means = (torch.tensor(told[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
        if step.dim() or any(m.shape != logits[name].shape or not m.isfinite().all() for m in means):
            raise ValueError(f"moments of {name!r} do not fit its {len(logits[name])} logits")
        logits.moments[name] = {"step": told["step"], "exp_avg": told["exp_avg"], "exp_avg_sq": told["exp_avg_sq"]}
    return logits


class Bench:
    """The supernet, its logits and the batches that selections work with, and what keeps their state."""

    def __init__(self, work: Work, keeper: Keeper):
        self.keeper = keeper
        self.work, self.params, self.folder = work, work.params, work.folder
        self.tensors = self._supernet()
        self.space = search_space(self.params, self.folder, work.device)
        self.final = final_space(self.params, self.folder)
        self.splits = {name: work.split(name) for name in SPLITS}
        self.judged = join([self.splits[name] for name in self.params.select.splits])
        self.limits = Limits.of(self.params, self.folder, self.final)
        self.costs: dict[str, tuple[int, int]] = {}
        self.older = False  # whether logits.json lacks what Adam remembers

    def _supernet(self) -> dict[str, torch.Tensor] | None:
        """None where strategy trials evaluates without one, and where nothing is trained."""
        search = self.params.search
        if search.strategy == "training_free":
            return None
        if search.strategy == "trials" and search.trials.evaluator != "inherited":
            return None
        return files.read_tensors(self.folder / files.SUPERNET, "search")[0]

    def restore(self) -> None:
        """The supernet and the logits as the search left them, where there is one."""
        if self.tensors is None:
            return
        files.load_state(self.space, self.tensors, self.folder / files.SUPERNET)
        content = files.read_json(self.folder / files.LOGITS, "search")
        try:
            self.logits = read_logits(self.space, content["logits"], content.get("moments"))
            self.older = "moments" not in content
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise Refused(f"{files.LOGITS} does not fit the space: run `winnow search` again") from error
        if self.logits is not None:
            self.logits.to(self.work.device)

    def weights(self) -> dict[str, torch.Tensor]:
        """The mixture weights of the search, or how far its gates are open: above one half where their logit is > 0."""
        relax = gates(1.0, 1.0) if self.params.search.strategy == "subset" else softmax
        with torch.no_grad():
            return relax(self.logits)

    def cost(self, arch: Architecture) -> tuple[int, int]:
        """Parameters and MACs of the network that would be retrained, which is built for it."""
        if arch.digest not in self.costs:
            child = self.final.derive(arch).eval()
            shape = tuple(self.judged.images.shape[1:])
            self.costs[arch.digest] = (cost.params(child), cost.macs(child, shape))
        return self.costs[arch.digest]

    def inherited_accuracy(self, arch: Architecture) -> float | None:
        """Percent correct on the judging splits with the supernet's weights and BatchNorm statistics of its own.

        None without a supernet.
        """
        if self.tensors is None:
            return None
        settings = self.params.select
        child = self.space.derive(arch)
        images = min(settings.evolution.calibration_images, len(self.splits["weights"]))
        batch = min(settings.batch, images)
        batches = in_order(self.splits["weights"], batch)
        calibrate(child, itertools.islice(batches, math.ceil(images / batch)))
        return accuracy_and_loss(child, in_order(self.judged, settings.batch))[0]

    def known_accuracy(self, arch: Architecture, scores: dict[str, float]) -> float:
        """The same, read from `scores` by its digest where it is there: the memory of a selection that was stopped."""
        if arch.digest not in scores:
            self.keeper.due()
            scores[arch.digest] = self.inherited_accuracy(arch)
        return scores[arch.digest]


def by_magnitude(bench: Bench, seed: int) -> Selection:
    return magnitude(bench.space, bench.weights()), []


def by_perturbation(bench: Bench, seed: int) -> Selection:
    params, settings, space = bench.params, bench.params.select.perturbation, bench.space
    if params.space.name == "darts" and params.space.darts.candidates == "darts" and params.space.darts.none:
        bench.work.say("  perturbation was published on seven operations: search with space.darts.none: false for that")
    if bench.older and settings.tune_epochs and params.search.strategy != "blank":
        raise Refused(
            f"{files.LOGITS} is of an older winnow and lacks the state of the logits' optimiser, with which "
            "perturbation trains on: run `winnow search` again, or set select.perturbation.tune_epochs to 0"
        )
    augment = augmentation(params, bench.splits["weights"])
    train, valid = (
        Batches(
            bench.splits[name],
            params.search.batch,
            augment=augment,
            generator=generator(seed, name),
            channels_last=True,
        )
        for name in ("weights", "arch")
    )
    judged = in_order(bench.judged, params.select.batch)
    prepared = list(judged)  # the same pixels for every mask: normalised once

    def evaluate(setting):
        space.eval()
        statistics = batch_statistics(space) if settings.batch_norm == "batch" else contextlib.nullcontext()
        with statistics, seeded(derived(seed, "noise")):  # candidates that draw noise draw the same under every mask
            return accuracy_and_loss(lambda x: space(x, setting), prepared)

    with Shown(bench.work.run, "select_") as watch:
        tune = _tuned_between(bench, train, valid, seed)
        watch.start("select (perturbation)", masks(space, settings.none))
        bench.keeper.add(watch=watch)
        arch, rows = perturbation(
            space,
            bench.weights,
            evaluate=evaluate,
            tune=tune,
            rng=rng(seed, "order"),
            criterion=settings.criterion,
            none=settings.none,
            watch=watch.step,
            keeper=bench.keeper,
        )
    return arch, [{**asdict(row), "option": str(row.option)} for row in rows]


def _tuned_between(bench: Bench, train: Batches, valid: Batches, seed: int) -> Callable[..., None]:
    """Training of the supernet that goes on between decisions, by the strategy's own steps."""
    params, settings, sdarts = bench.params, bench.params.select.perturbation, bench.params.search.sdarts
    objective, keeper = cross_entropy(bench.space, params.search.precision), bench.keeper
    parts = tuning(
        params.search.strategy,
        bench.space,
        objective,
        seed,
        noise=sdarts.noise,
        epsilon=sdarts.epsilon,
        keeper=keeper,
    )
    return resume_mixture(
        bench.space,
        bench.logits,
        train,
        valid,
        objective=objective,
        epochs=settings.tune_epochs,
        lr=settings.tune_lr,
        momentum=params.search.momentum,
        weight_decay=params.search.weight_decay,
        clip=params.search.clip,
        logits_lr=params.search.logits_lr,
        logits_weight_decay=params.search.logits_weight_decay,
        parts=parts,
        keeper=keeper,
    )


def by_evolution(bench: Bench, seed: int) -> Selection:
    """By inherited accuracy; by the proxies of strategy training_free where nothing was trained."""
    if bench.params.search.strategy == "training_free":
        return choose(bench.work, bench.limits, "evolution", seed, bench.keeper)
    settings = bench.params.select.evolution
    scores: dict[str, float] = {}
    with Shown(bench.work.run) as watch, bench.keeper.piece(scores=scores):
        watch.start("select (evolution)", settings.population * (settings.generations + 1))

        def score(arch: Architecture) -> float:
            watch.step()
            return bench.known_accuracy(arch, scores)

        ranked = evolution(
            bench.space,
            score,
            rng=rng(seed, "evolution"),
            population=settings.population,
            generations=settings.generations,
            parents=settings.parents,
            mutation=settings.mutation,
            allowed=bench.limits.allows,
        )
    rows = [_child(each.generation, each.architecture.digest, each.score, each is ranked[0]) for each in ranked]
    return ranked[0].architecture, rows


def _child(event: int, digest: str, accuracy: float | None, kept: bool) -> dict[str, Any]:
    """Evidence of an architecture evaluated as a whole."""
    return {"event": event, "decision": "", "option": digest, "accuracy": accuracy, "loss": None, "kept": kept}


def by_best(bench: Bench, seed: int) -> Selection:
    """Of the study's front, the trial with the best first objective; of those within the limits of section select."""
    rows = as_rows(read_table(bench.folder / files.TRIALS))
    winner = best(plan_of_search(bench.params), _within(bench, rows))
    shown = [
        {
            "event": row.number,
            "decision": "",
            "option": row.digest,
            "accuracy": row.metrics.get("accuracy"),
            "loss": row.metrics.get("loss"),
            "kept": row.number == winner.number,
        }
        for row in rows
    ]
    return Architecture.from_json(str(winner.architecture)), shown


def _within(bench: Bench, rows: list[Row]) -> list[Row]:
    """The trials without those that would be feasible and are beyond a limit. Refused where that leaves none feasible.

    A trial that took over the result of another has an architecture of its own, which is what counts.
    """
    feasible = [row for row in rows if row.feasible]
    beyond = {row.number for row in feasible if not bench.limits.allows(Architecture.from_json(str(row.architecture)))}
    if feasible and len(beyond) == len(feasible):
        raise Refused(
            f"none of {len(feasible)} finished trials is within {bench.limits}: raise what stands in the way, or set "
            "search.trials.constraints, under which trials look for smaller ones"
        )
    return [row for row in rows if row.number not in beyond]


def by_threshold(bench: Bench, seed: int) -> Selection:
    gates_of_half = 0.5 if bench.params.search.strategy == "subset" else None
    least = bench.params.select.threshold.least
    return threshold(bench.space, bench.weights(), gates_of_half if least is None else least), []


def by_likeliest(bench: Bench, seed: int) -> Selection:
    """The best by inherited accuracy of those within the limits that the logits make likeliest (SETN)."""
    count = bench.params.select.likeliest.count
    architectures = likeliest(bench.space, bench.weights(), count, rng(seed, "likeliest"), bench.limits.allows)
    known: dict[str, float] = {}
    with Shown(bench.work.run) as watch, bench.keeper.piece(known=known):
        watch.start("select (likeliest)", len(architectures))
        scores = []
        for arch in architectures:
            scores.append(bench.known_accuracy(arch, known))
            watch.step()
    winner = max(range(len(scores)), key=scores.__getitem__)  # of equals the likelier
    rows = [_child(rank, arch.digest, scores[rank], rank == winner) for rank, arch in enumerate(architectures)]
    return architectures[winner], rows


def by_random(bench: Bench, seed: int) -> Selection:
    """The best of select.random.samples by the proxies."""
    return choose(bench.work, bench.limits, "random", seed, bench.keeper)


def by_prune(bench: Bench, seed: int) -> Selection:
    """What is left of a supernet pruned at initialisation (FreeNAS)."""
    return choose(bench.work, bench.limits, "prune", seed, bench.keeper)


SELECTIONS: dict[str, Callable[[Bench, int], Selection]] = {
    "magnitude": by_magnitude,
    "threshold": by_threshold,
    "likeliest": by_likeliest,
    "perturbation": by_perturbation,
    "evolution": by_evolution,
    "best": by_best,
    "random": by_random,
    "prune": by_prune,
}
