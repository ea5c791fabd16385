"""Stage evaluate: reads retrained models, opens `test` once; writes model.safetensors, evaluate.json, report.html."""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

import math
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import sample
from winnow.core.space import Space
from winnow.data.loaders import Batches, Split
from winnow.measure import compare, cost
from winnow.measure.latency import latency_ms
from winnow.pipelines.retrain import train_child, training_split
from winnow.stage import files
from winnow.stage.checkpoint import checkpoints
from winnow.stage.draw import draw_architecture
from winnow.stage.look.style import to_bytes
from winnow.stage.model import load_model
from winnow.stage.params import Params
from winnow.stage.progress import Shown
from winnow.stage.report import write_report
from winnow.stage.work import Work, final_space, working
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import derived, rng


def main(params: Params, folder: Path) -> None:
    upstream = ("prepare", "search", "select", "tune", *(f"retrain-{seed}" for seed in params.retrain.seeds))
    with (
        working("evaluate", params, folder, splits=("test",), upstream=upstream) as work,
        checkpoints(work, files.ARCHITECTURE, files.RECIPE) as keeper,
    ):
        space = final_space(params, folder)
        arch = files.read_architecture(folder / files.ARCHITECTURE, space, params.space.name)
        models = [_retrained(work, arch, seed) for seed in params.retrain.seeds]
        controls = _controls(work, arch, keeper)
        test = work.split("test")  # opened here, after everything is trained
        chances = [_probabilities(model, test, params.evaluate.batch) for model in models]
        accuracies = [_accuracy(p, test) for p in chances]
        against = [_accuracy(_probabilities(model, test, params.evaluate.batch), test) for model in controls]
        result = {
            **_scores(accuracies, against),
            **_costs(models[0], test, work),
            **_per_class(chances, test),
            "architecture": arch.digest,
        }
        _write(work, to_bytes(draw_architecture(space, arch), "svg").decode(), result, chances, test)


def _retrained(work: Work, arch: Architecture, seed: int) -> nn.Module:
    model, about = load_model(work.folder / files.retrained(seed), work.params.space.name)
    if about["digest"] != arch.digest:
        raise files.Refused(
            f"{files.retrained(seed)} is of architecture {about['digest']}, {files.ARCHITECTURE} holds {arch.digest}: "
            f"run `winnow retrain --seed {seed}` again"
        )
    return model.to(work.device, memory_format=torch.channels_last)


def _controls(work: Work, arch: Architecture, keeper: Keeper) -> list[nn.Module]:
    """Random architectures of the space, each other than the found one, retrained by the same recipe and seeds."""
    params, count = work.params, work.params.evaluate.controls
    space, draw = final_space(params, work.folder), rng(derived(params.seed, "evaluate"), "controls")
    drawn = [sample(space, draw, lambda other: other.digest != arch.digest) for _ in range(count)]
    training, weights = training_split(work) if count else None, []
    with Shown() as watch:
        for i in keeper.rounds(count, "control", weights=weights):
            seed = params.retrain.seeds[i % len(params.retrain.seeds)]
            model = train_child(work, drawn[i], training, seed, watch, f"control {i + 1} of {count}", keeper)
            weights.append({name: tensor.cpu() for name, tensor in model.state_dict().items()})
            work.say(f"  control {i + 1} of {count}: {drawn[i].digest} trained")
    return [_control(work, space, *each) for each in zip(drawn, weights, strict=True)]


def _control(work: Work, space: Space, arch: Architecture, weights: Mapping[str, Tensor]) -> nn.Module:
    """The trained network, from its weights."""
    model = space.derive(arch).to_empty(device=work.device)
    model.load_state_dict(weights)
    return model.to(memory_format=torch.channels_last).eval()


@torch.no_grad()
def _probabilities(model: nn.Module, split: Split, batch: int) -> Tensor:
    """Class probabilities (images, classes) in float32 on the CPU, in the split's order."""
    batches = Batches(split, batch, generator=torch.Generator(), shuffle=False, drop_last=False, channels_last=True)
    return torch.cat([model(x).float().softmax(1).cpu() for x, _ in batches])


def _accuracy(probabilities: Tensor, split: Split) -> float:
    return 100 * float((probabilities.argmax(1) == split.labels.cpu()).double().mean())


def _scores(accuracies: list[float], against: list[float]) -> dict[str, Any]:
    mean = compare.mean_interval(accuracies)
    scores: dict[str, Any] = {
        "accuracy_mean": mean.mean,
        "accuracy_sd": _sd(accuracies),
        "n": len(accuracies),
        "accuracy_ci_low": _finite(mean.low),
        "accuracy_ci_high": _finite(mean.high),
        "accuracies": accuracies,
        "control_accuracy_mean": statistics.fmean(against) if against else None,
        "control_accuracy_sd": _sd(against),
        "control_n": len(against),
        "control_accuracies": against,
    }
    gap = compare.difference(accuracies, against) if against else None
    scores["difference"] = gap.mean if gap else None
    scores["difference_ci_low"] = _finite(gap.low) if gap else None
    scores["difference_ci_high"] = _finite(gap.high) if gap else None
    return {**scores, **verdict(gap, len(accuracies), len(against))}


def verdict(gap: compare.Estimate | None, found: int, controls: int) -> dict[str, Any]:
    """Did the search help? In words, and as true, false or null (cannot tell)."""
    if gap is None:
        return {"verdict": "nobody knows whether the search helped: evaluate.controls is 0", "helped": None}
    points = f"{gap.mean:+.2f} points against random architectures"
    if not math.isfinite(gap.low):
        sentence = (
            f"cannot tell whether the search helped: {points}; an interval takes two retrain.seeds and two controls"
        )
        return {"verdict": sentence, "helped": None}
    detail = f"{points}, 95 % CI [{gap.low:+.2f}, {gap.high:+.2f}] (n = {found} and {controls})"
    if gap.low > 0:
        return {"verdict": f"the search helped: {detail}", "helped": True}
    if gap.high < 0:
        return {"verdict": f"the search did harm: {detail}", "helped": False}
    return {"verdict": f"the search did not measurably help: {detail}", "helped": False}


def _costs(model: nn.Module, test: Split, work: Work) -> dict[str, Any]:
    shape = tuple(test.images.shape[1:])
    time = latency_ms(model, shape, device=work.device, repeats=work.params.evaluate.latency_repeats)
    return {
        "params": cost.params(model),
        "macs": cost.macs(model, shape),
        "latency_ms": time.median,
        "latency_low": time.low,
        "latency_high": time.high,
        "latency_device": time.device,
    }


def _per_class(chances: list[Tensor], test: Split) -> dict[str, Any]:
    """Means over the retrained models: accuracy of each class, and calibration over all their predictions."""
    labels = test.labels.cpu()
    right = torch.stack([p.argmax(1) == labels for p in chances]).double()
    per_class = [
        100 * float(right[:, labels == i].mean()) if (labels == i).any() else None for i in range(len(test.classes))
    ]
    error, _ = _reliability(chances, test)
    return {"ece": error, "classes": list(test.classes), "per_class": per_class}


def _reliability(chances: list[Tensor], test: Split) -> tuple[float, list[dict[str, float]]]:
    confidence = torch.cat([p.max(1).values for p in chances])
    right = torch.cat([p.argmax(1) == test.labels.cpu() for p in chances])
    return compare.reliability(confidence, right)


def _write(work: Work, drawing: str, result: dict[str, Any], chances: list[Tensor], test: Split) -> None:
    folder, params, reports = work.folder, work.params, files.REPORTS
    first = params.retrain.seeds[0]
    with files.atomic(folder / files.MODEL) as temporary:  # the first seed's: to choose by test accuracy is to cheat
        shutil.copyfile(folder / files.retrained(first), temporary)
    files.write_json(folder / reports / "evaluate.json", result)
    files.write_rows(folder / reports / "calibration.csv", _reliability(chances, test)[1])
    files.write_rows(folder / reports / "confusion.csv", _confusion(chances, test))
    write_report(folder, drawing, folder / reports / "report.html")
    numbers = {k: v for k, v in result.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    work.run.summary(numbers, note=result["verdict"])
    work.run.tag("winnow.architecture", result["architecture"])
    for name in ("evaluate.json", "calibration.csv", "confusion.csv", "report.html"):
        work.run.artifact(folder / reports / name)
    work.picture("confusion", "confusion", _confusion(chances, test))
    work.picture("found_against_random", "against_controls", result["accuracies"], result["control_accuracies"])
    work.run.model(
        "winnow.pipelines.retrain:logged_model",
        [folder / files.MODEL],
        list(test.images.shape[1:]),
        arguments={"file": files.MODEL.name, "space": params.space.name},
    )
    spread = f" ± {result['accuracy_sd']:.2f}" if result["accuracy_sd"] is not None else ""
    work.say(f"test accuracy {result['accuracy_mean']:.2f}{spread} % (n = {result['n']}), ECE {result['ece']:.2f}")
    work.say(
        f"  {result['params']:,} params, {result['macs'] / 1e6:.2f} M MACs, {result['latency_ms']:.2f} ms "
        f"[{result['latency_low']:.2f}, {result['latency_high']:.2f}] an image on {result['latency_device']}"
    )
    work.say(f"  {result['verdict']}")
    work.say(f"  wrote {files.MODEL} (seed {first}), {reports}/evaluate.json and {reports}/report.html; next: make ui")


def _confusion(chances: list[Tensor], test: Split) -> list[dict[str, Any]]:
    """Counts over all retrained models, one row a pair of true and predicted class."""
    size, labels = len(test.classes), test.labels.cpu()
    counts = sum(torch.bincount(labels * size + p.argmax(1), minlength=size * size) for p in chances).view(size, size)
    return [
        {"actual": test.classes[i], "predicted": test.classes[j], "count": int(counts[i, j])}
        for i in range(size)
        for j in range(size)
    ]


def _sd(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    from winnow.cli import run_stage

    run_stage("evaluate")
