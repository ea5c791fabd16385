"""Stage evaluate: reads retrained models, opens `test` once; writes model.safetensors, evaluate.json, report.html.

The retrained models are what is delivered. Whether the search helped is told by networks of their own, found and random
ones trained alike: `controls` trains them, `verdict` compares.
"""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor, nn

from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.data.loaders import Split
from winnow.look.style import to_bytes
from winnow.measure import cost
from winnow.measure.judgement import mean_interval
from winnow.measure.latency import busy, latency_over_time
from winnow.pipelines import search, select
from winnow.run import files, tested
from winnow.run.answers import packed
from winnow.run.children import initial
from winnow.run.compared import compared
from winnow.run.controls import check_comparison, controls
from winnow.run.draw import draw_architecture
from winnow.run.limits import Limits
from winnow.run.model import load_model
from winnow.run.report import write_report
from winnow.run.searches import other_finds, random_find
from winnow.run.verdict import Alike, nothing_compared, rival, verdict
from winnow.run.work import Work, final_space, working
from winnow.system.machine import usable_cores
from winnow.train.building import fresh, laid

COLOURS = {"yes": "green", "no": "red", "cannot tell": "yellow"}


def main(params: Params, folder: Path) -> None:
    upstream = ("prepare", "search", "select", "tune", *(f"retrain-{seed}" for seed in params.retrain.seeds))
    with working("evaluate", params, folder, splits=("test",), upstream=upstream) as work:
        check_comparison(params, folder, work.say)
        space = final_space(params, folder)
        arch = files.read_architecture(folder / files.ARCHITECTURE, space, params.space.name)
        models = [_retrained(work, arch, seed) for seed in params.retrain.seeds]
        told, test = _compared(work, space, arch)
        chances = [tested.probabilities(model, test, params.evaluate.batch) for model in models]
        result = {
            **_accuracy([tested.right(each, test) for each in chances]),
            **told,
            **_costs(models[0], test, work),
            "ece": tested.reliability(chances, test)[0],
            "eces": [tested.reliability([each], test)[0] for each in chances],
            "classes": test.facts["classes"],
            "per_class": tested.per_class(chances, test),
            "architecture": arch.digest,
        }
        _write(work, to_bytes(draw_architecture(space, arch), "svg").decode(), result, chances, test)


def _retrained(work: Work, arch: Architecture, seed: int) -> nn.Module:
    model, about = load_model(work.folder / files.retrained(seed), work.params.space.code, work.params.task)
    if about["digest"] != arch.digest:
        raise files.Refused(
            f"{files.retrained(seed)} is of architecture {about['digest']}, {files.ARCHITECTURE} holds {arch.digest}: "
            f"run `winnow retrain --seed {seed}` again"
        )
    return laid(model.to(work.device))


def _compared(work: Work, space: Space, arch: Architecture) -> tuple[dict[str, Any], Split]:
    """Found and random networks, trained alike and tested, as reports/evaluate.json has them; and the test split.

    The test split is opened here, after everything is trained.
    """
    params, seeds = work.params, work.params.retrain.seeds
    others = other_finds(work, arch, search.main, select.main)
    random = controls(params, work.folder, (arch, *others))
    if not random:
        return {**nothing_compared(), **_controls(work, space, [], [])}, work.split("test")
    sought = random_find(work, search.main, select.main)
    groups = {
        "found": [(arch, seed) for seed in seeds],
        "others": [(other, seeds[0]) for other in others],
        "controls": [(control, seeds[0]) for control in random],
        "rival": [] if sought is None else [(sought, seed) for seed in seeds],
    }
    trained = list(dict.fromkeys(network for group in groups.values() for network in group))
    with compared(work, trained) as paths:
        test = work.split("test")
        pairs = zip(trained, paths, strict=True)
        answers = {network: _answers(work, space, *network, path, test) for network, path in pairs}
    told = {name: [answers[network] for network in group] for name, group in groups.items()}
    percents = {name: [tested.percent(each) for each in group] for name, group in told.items()}
    limits = Limits.of(params, work.folder, space)
    alike = Alike(
        percents["found"],
        percents["others"],
        percents["controls"],
        torch.stack([*told["found"], *told["others"], *told["controls"]]).numpy(),
    )
    result = {
        **verdict(alike, params.evaluate.searches, limits.describe() if limits else ""),
        "found_accuracies": percents["found"],
        "finds": [each.digest for each in (arch, *others)],
        "find_accuracies": alike.finds,
        "limits": limits.describe() if limits else None,
        **_controls(work, space, random, percents["controls"]),
        "random_search": None if sought is None else rival(sought.digest, percents, told),
    }
    return result, test


def _answers(work: Work, space: Space, arch: Architecture, seed: int, weights: Path, test: Split) -> Tensor:
    """Which test images the network of these weights tells rightly."""
    model = fresh(space, arch, work.device, initial(seed))
    files.load_state(model, files.read_tensors(weights, "evaluate")[0], weights)
    model = laid(model).eval()
    return tested.right(tested.probabilities(model, test, work.params.evaluate.batch), test)


def _controls(work: Work, space: Space, random: list[Architecture], accuracies: list[float]) -> dict[str, Any]:
    """The random networks as they were drawn, with their sizes."""
    children = [space.derive(each).eval() for each in random]
    params, macs = [cost.params(child) for child in children], [cost.macs(child, space.image) for child in children]
    return {
        "control_accuracy_mean": statistics.fmean(accuracies) if accuracies else None,
        "control_accuracy_sd": _sd(accuracies),
        "control_n": len(accuracies),
        "control_accuracies": accuracies,
        "controls": [each.digest for each in random],
        "control_params": params,
        "control_macs": macs,
        "control_params_mean": statistics.fmean(params) if params else None,
        "control_macs_mean": statistics.fmean(macs) if macs else None,
    }


def _accuracy(answers: Sequence[Tensor]) -> dict[str, Any]:
    """Of what is delivered, one value a seed, on the test images."""
    accuracies = [tested.percent(each) for each in answers]
    interval = mean_interval(accuracies)
    return {
        "accuracy_mean": statistics.fmean(accuracies),
        "accuracy_sd": _sd(accuracies),
        "n": len(accuracies),
        "accuracy_ci_low": interval.low if interval else None,
        "accuracy_ci_high": interval.high if interval else None,
        "accuracies": accuracies,
        "test_images": len(answers[0]),
        "right": packed(each.tolist() for each in answers),
    }


def _costs(model: nn.Module, test: Split, work: Work) -> dict[str, Any]:
    settings, cpu = work.params.evaluate, work.device.type == "cpu"
    example = work.task.example(work.task.facts(test.facts))
    threads = torch.get_num_threads()
    counts = sorted({threads, 1}, reverse=True) if cpu else [threads]  # on a GPU they make no difference
    repeats, seconds = settings.latency_repeats, settings.latency_seconds
    time, *_ = found = latency_over_time(model, example, counts, device=work.device, repeats=repeats, seconds=seconds)
    if remark := busy(time.load, threads, usable_cores()):
        work.say(f"  latency: {remark}")
    return {
        "params": cost.params(model),
        "macs": cost.macs(model, example),
        "latency_ms": time.median,
        "latency_low": time.low,
        "latency_high": time.high,
        "latency_device": time.device,
        "latency_threads": threads,
        "latency_one_thread_ms": found[-1].median if cpu else None,
        "latency_one_thread_low": found[-1].low if cpu else None,
        "latency_one_thread_high": found[-1].high if cpu else None,
        "latency_load": time.load,
    }


def _write(work: Work, drawing: str, result: dict[str, Any], chances: list[Tensor], test: Split) -> None:
    folder, params, reports = work.folder, work.params, files.REPORTS
    first = params.retrain.seeds[0]
    with files.atomic(folder / files.MODEL) as temporary:  # the first seed's: to choose by test accuracy is to cheat
        shutil.copyfile(folder / files.retrained(first), temporary)
    files.write_json(folder / reports / "evaluate.json", result)
    files.write_rows(folder / reports / "calibration.csv", tested.reliability(chances, test)[1])
    files.write_rows(folder / reports / "confusion.csv", tested.confusion(chances, test))
    write_report(params, folder, drawing, folder / reports / "report.html")
    numbers = {k: v for k, v in result.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    work.run.summary(numbers, note=result["verdict"], tags={"winnow.verdict": result["outcome"]})
    work.run.tag("winnow.architecture", result["architecture"])
    for name in ("evaluate.json", "calibration.csv", "confusion.csv", "report.html"):
        work.run.artifact(folder / reports / name)
    work.picture("confusion", "confusion", tested.confusion(chances, test))
    if result["control_n"]:
        found = result["find_accuracies" if len(result["finds"]) > 1 else "found_accuracies"]
        work.picture("found_against_random", "against_controls", found, result["control_accuracies"])
    work.run.model(
        "winnow.run.model:logged_model",
        [folder / files.MODEL],
        list(test.facts["shape"]),
        arguments={"file": files.MODEL.name, "space": params.space.code, "task": params.task},
    )
    spread = f" ± {result['accuracy_sd']:.2f}" if result["accuracy_sd"] is not None else ""
    work.say(f"test accuracy {result['accuracy_mean']:.2f}{spread} % (n = {result['n']}), ECE {result['ece']:.2f}")
    work.say(
        f"  {result['params']:,} params, {result['macs'] / 1e6:.2f} M MACs, {result['latency_ms']:.2f} ms "
        f"[{result['latency_low']:.2f}, {result['latency_high']:.2f}] an image on {result['latency_device']}"
    )
    work.say(f"[bold {COLOURS[result['outcome']]}]{escape(result['verdict'])}[/]")
    if result.get("random_search"):
        work.say(f"  {escape(result['random_search']['verdict'])}")
    work.say(f"  wrote {files.MODEL} (seed {first}), {reports}/evaluate.json and {reports}/report.html; next: make ui")


def _sd(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("evaluate")
