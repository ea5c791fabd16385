"""Stage select: reads the supernet and splits; writes artifacts/architecture.json, selections.json, evidence.parquet.

The first of `select.methods` decides. Every method starts from the same frozen supernet; a table shows where they
differ.
"""

if __name__ == "__main__":  # a script's folder heads the path, where this file would hide Python's own `select`
    import sys

    sys.path.pop(0)

import contextlib
import itertools
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from winnow.core.architecture import Architecture
from winnow.data.loaders import Batches, in_order, join
from winnow.measure import cost
from winnow.search.evolve import evolution
from winnow.search.mixture import resume_mixture
from winnow.search.objective import cross_entropy
from winnow.search.relax import Logits, softmax
from winnow.search.select import magnitude, masks, perturbation
from winnow.stage import files
from winnow.stage.draw import draw_architecture, save
from winnow.stage.params import Params
from winnow.stage.progress import Shown
from winnow.stage.table import true_accuracy
from winnow.stage.work import Work, augmentation, final_space, search_space, working
from winnow.train.evaluate import accuracy_and_loss, batch_statistics, calibrate
from winnow.train.seeds import derived, generator, rng, seeded
from winnow.trials.front import best
from winnow.trials.table import as_rows, read_table

EVIDENCE = pa.schema(
    [
        ("method", pa.string()),
        ("event", pa.int32()),  # projection (perturbation) or generation (evolution)
        ("decision", pa.string()),
        ("option", pa.string()),  # the option masked, or the digest of the architecture evaluated
        ("accuracy", pa.float64()),  # percent
        ("loss", pa.float64()),
        ("kept", pa.bool_()),
    ]
)
SPLITS = ("weights", "arch", "select")


def main(params: Params, folder: Path) -> None:
    with working("select", params, folder, splits=SPLITS, upstream=("prepare", "search")) as work:
        bench = Bench(work)
        found: dict[str, Architecture] = {}
        evidence: list[dict[str, Any]] = []
        for method in params.select.methods:
            bench.restore()
            seed = derived(params.seed, "select", method)
            with seeded(seed):
                found[method], rows = METHODS[method](bench, seed)
            evidence += [{"method": method, **row} for row in rows]
        bench.restore()
        _write(work, bench, found, evidence)


class Bench:
    """The supernet, its logits and the batches that selections work with."""

    def __init__(self, work: Work):
        self.work, self.params, self.folder = work, work.params, work.folder
        self.tensors = self._supernet()
        self.space = search_space(self.params, self.folder).to(work.device, memory_format=torch.channels_last)
        self.final = final_space(self.params, self.folder)
        self.splits = {name: work.split(name) for name in SPLITS}
        self.judged = join([self.splits[name] for name in self.params.select.splits])
        self.costs: dict[str, tuple[int, int]] = {}

    def _supernet(self) -> dict[str, torch.Tensor] | None:
        """None where strategy trials evaluates without one."""
        search = self.params.search
        if search.strategy == "trials" and search.trials.evaluator != "inherited":
            return None
        return files.read_tensors(self.folder / files.SUPERNET, "search")[0]

    def restore(self) -> None:
        """The supernet and the logits as the search left them, where there is one."""
        if self.tensors is None:
            return
        files.load_state(self.space, self.tensors, self.folder / files.SUPERNET)
        vectors = files.read_json(self.folder / files.LOGITS, "search")["logits"]
        self.logits = Logits(self.space, torch.Generator())
        with torch.no_grad():
            for name, vector in vectors.items():
                self.logits[name].copy_(torch.tensor(vector))
        self.logits.to(self.work.device)

    def weights(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return softmax(self.logits)

    def cost(self, arch: Architecture) -> tuple[int, int]:
        """Parameters and MACs of the network that would be retrained."""
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


def by_magnitude(bench: Bench, seed: int) -> tuple[Architecture, list[dict[str, Any]]]:
    return magnitude(bench.space, bench.weights()), []


def by_perturbation(bench: Bench, seed: int) -> tuple[Architecture, list[dict[str, Any]]]:
    params, settings, space = bench.params, bench.params.select.perturbation, bench.space
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
        tune = resume_mixture(
            space,
            bench.logits,
            train,
            valid,
            objective=cross_entropy(space, params.search.precision),
            epochs=settings.tune_epochs,
            lr=settings.tune_lr,
            momentum=params.search.momentum,
            weight_decay=params.search.weight_decay,
            clip=params.search.clip,
            logits_lr=params.search.logits_lr,
            logits_weight_decay=params.search.logits_weight_decay,
        )
        watch.start("select (perturbation)", masks(space))
        arch, rows = perturbation(
            space,
            bench.weights,
            evaluate=evaluate,
            tune=tune,
            rng=rng(seed, "order"),
            criterion=settings.criterion,
            watch=watch.step,
        )
    return arch, [
        {
            "event": row.event,
            "decision": row.decision,
            "option": str(row.option),
            "accuracy": row.accuracy,
            "loss": row.loss,
            "kept": row.kept,
        }
        for row in rows
    ]


def by_evolution(bench: Bench, seed: int) -> tuple[Architecture, list[dict[str, Any]]]:
    settings = bench.params.select.evolution
    limits = (settings.max_params or math.inf, settings.max_macs or math.inf)

    def allowed(arch: Architecture) -> bool:
        return limits == (math.inf, math.inf) or all(
            value <= limit for value, limit in zip(bench.cost(arch), limits, strict=True)
        )

    with Shown(bench.work.run) as watch:
        watch.start("select (evolution)", settings.population * (settings.generations + 1))

        def score(arch: Architecture) -> float:
            watch.step()
            return bench.inherited_accuracy(arch)

        ranked = evolution(
            bench.space,
            score,
            rng=rng(seed, "evolution"),
            population=settings.population,
            generations=settings.generations,
            parents=settings.parents,
            mutation=settings.mutation,
            allowed=allowed,
        )
    rows = [
        {
            "event": each.generation,
            "decision": "",
            "option": each.architecture.digest,
            "accuracy": each.score,
            "loss": None,
            "kept": each is ranked[0],
        }
        for each in ranked
    ]
    return ranked[0].architecture, rows


def by_best(bench: Bench, seed: int) -> tuple[Architecture, list[dict[str, Any]]]:
    """Of the study's front, the trial with the best first objective."""
    rows = as_rows(read_table(bench.folder / files.TRIALS))
    winner = best(bench.params.plan_of_search(), rows)
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


METHODS = {"magnitude": by_magnitude, "perturbation": by_perturbation, "evolution": by_evolution, "best": by_best}


def disagreements(found: dict[str, Architecture]) -> list[dict[str, Any]]:
    """One row a decision that any method reached; a decision out of a method's reach is empty."""
    names = sorted(set().union(*found.values()))
    rows = []
    for name in names:
        answers = {method: arch.get(name, "") for method, arch in found.items()}
        shown = {m: "+".join(map(str, a)) if isinstance(a, tuple) else str(a) for m, a in answers.items()}
        rows.append({"decision": name, **shown, "agree": len(set(shown.values())) == 1})
    return rows


def _write(work: Work, bench: Bench, found: dict[str, Architecture], evidence: list[dict[str, Any]]) -> None:
    folder, params = work.folder, work.params
    chosen = params.select.methods[0]
    methods = {}
    for method, arch in found.items():
        params_count, macs = bench.cost(arch)
        methods[method] = {
            "digest": arch.digest,
            "inherited_accuracy": bench.inherited_accuracy(arch),
            "params": params_count,
            "macs": macs,
            "table": true_accuracy(folder / params.select.table, arch) if params.select.table else None,
            "choices": dict(arch.choices),
        }
    rows = disagreements(found)
    arch = found[chosen]
    files.write_architecture(folder / files.ARCHITECTURE, arch, bench.space, params.space.name)
    files.write_json(folder / files.SELECTIONS, {"chosen": chosen, "methods": methods, "disagreements": rows})
    files.write_table(folder / files.EVIDENCE, evidence, EVIDENCE)
    files.write_rows(folder / files.REPORTS / "select.csv", rows)
    agreement = 100 * sum(row["agree"] for row in rows) / len(rows)
    metrics = {"agreement": agreement}
    for method, row in methods.items():
        metrics[method] = {key: row[key] for key in ("inherited_accuracy", "params", "macs")} | (row["table"] or {})
    files.write_json(folder / files.REPORTS / "select.json", metrics)
    drawing = folder / files.REPORTS / "architecture.svg"
    save(draw_architecture(bench.space, arch), drawing)
    flat = {
        f"{m}.{k}": v for m, row in metrics.items() if isinstance(row, dict) for k, v in row.items() if v is not None
    }
    work.run.metrics({"agreement": agreement, **flat})
    for path in (files.ARCHITECTURE, files.SELECTIONS, files.EVIDENCE, files.REPORTS / "select.csv"):
        work.run.artifact(folder / path)
    work.run.artifact(drawing, "drawings")
    for method, row in methods.items():
        table = "".join(f", {name} {value:.2f}" for name, value in (row["table"] or {}).items())
        known = row["inherited_accuracy"] is not None
        inherited = f"inherited accuracy {row['inherited_accuracy']:.2f} %, " if known else ""
        mark = "→" if method == chosen else " "
        work.say(
            f"{mark} {method:<13} {row['digest']}  {inherited}"
            f"{row['params']:,} params, {row['macs'] / 1e6:.2f} M MACs{table}"
        )
    differing = [row["decision"] for row in rows if not row["agree"]]
    if len(found) > 1:
        work.say(
            f"  {len(differing)} of {len(rows)} decisions differ" + (f": {', '.join(differing)}" if differing else "")
        )
    work.say(f"  wrote {files.ARCHITECTURE}; next: winnow tune")


if __name__ == "__main__":
    from winnow.cli import run_stage

    run_stage("select")
