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
from winnow.core.example import row_of
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
from winnow.run.report import spread, write_report
from winnow.run.searches import other_finds, random_find
from winnow.run.verdict import Alike, nothing_compared, rival, verdict
from winnow.run.work import Work, final_space, working
from winnow.system.machine import usable_cores
from winnow.train.building import fresh, laid

ACCURACY = {  # names of reports/evaluate.json where the metric is accuracy
    **{f"score_{name}": f"accuracy_{name}" for name in ("mean", "sd", "ci_low", "ci_high")},
    "scores": "accuracies",
    "found_scores": "found_accuracies",
    "find_scores": "find_accuracies",
    "control_score_mean": "control_accuracy_mean",
    "control_score_sd": "control_accuracy_sd",
    "control_scores": "control_accuracies",
}
COLOURS = {"yes": "green", "no": "red", "cannot tell": "yellow"}


def main(params: Params, folder: Path) -> None:
    upstream = ("prepare", "search", "select", "tune", *(f"retrain-{seed}" for seed in params.retrain.seeds))
    with working("evaluate", params, folder, splits=("test",), upstream=upstream) as work:
        check_comparison(params, folder, work.say)
        space = final_space(params, folder)
        arch = files.read_architecture(folder / files.ARCHITECTURE, space, params.space.name)
        models = [_retrained(work, arch, seed) for seed in params.retrain.seeds]
        told, test = _compared(work, space, arch)
        found = [tested.outputs(model, test, params.evaluate.batch) for model in models]
        result = {
            **_scores(work, found, test),
            **told,
            **_costs(models[0], test, work),
            **work.task.told(found, test.answers.cpu(), test.facts),
            "architecture": arch.digest,
            "begins": params.begins,
        }
        _write(work, to_bytes(draw_architecture(space, arch), "svg").decode(), named(result), found, test)


def named(result: dict[str, Any]) -> dict[str, Any]:
    """`result` and, where its metric is accuracy, the same under the names that such reports had before tasks."""
    if result["metric"] != "accuracy":
        return result
    told = result | {old: result[name] for name, old in ACCURACY.items() if name in result}
    if sought := result.get("random_search"):
        told["random_search"] = sought | {"accuracies": sought["scores"]}
    return told


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
        judged = {network: _judged(work, space, *network, path, test) for network, path in pairs}
    scores = {name: [judged[network][0] for network in group] for name, group in groups.items()}
    counted = {name: [judged[network][1] for network in group] for name, group in groups.items()}
    limits, metric = Limits.of(params, work.folder, space), work.task.first
    answers = _stacked([*counted["found"], *counted["others"], *counted["controls"]])
    alike = Alike(scores["found"], scores["others"], scores["controls"], answers, metric)
    sides = (_stacked(counted["found"]), _stacked(counted["rival"])) if sought is not None else (None, None)
    both = None if sides[0] is None else sides
    result = {
        **verdict(alike, params.evaluate.searches, limits.describe() if limits else ""),
        "found_scores": scores["found"],
        "finds": [each.digest for each in (arch, *others)],
        "find_scores": alike.finds,
        "limits": limits.describe() if limits else None,
        **_controls(work, space, random, scores["controls"]),
        "random_search": None
        if sought is None
        else rival(sought.digest, scores["found"], scores["rival"], both, metric),
    }
    return result, test


def _stacked(counted: Sequence[Tensor | None]) -> Any:
    """(networks, rows), or None where the metric is no mean over rows."""
    kept = [each for each in counted if each is not None]
    return torch.stack(kept).numpy() if kept else None


def _judged(
    work: Work, space: Space, arch: Architecture, seed: int, weights: Path, test: Split
) -> tuple[float, Tensor | None]:
    """The score of the network of these weights, and what each test row counts in it."""
    model = fresh(space, arch, work.device, initial(seed))
    files.load_state(model, files.read_tensors(weights, "evaluate")[0], weights)
    found = tested.outputs(laid(model).eval(), test, work.params.evaluate.batch)
    return tested.score(work.task, found, test), tested.counted(work.task, found, test)


def _controls(work: Work, space: Space, random: list[Architecture], scores: list[float]) -> dict[str, Any]:
    """The random networks as they were drawn, with their sizes."""
    children = [space.derive(each).eval() for each in random]
    params, macs = [cost.params(child) for child in children], [cost.macs(child, space.example) for child in children]
    return {
        "control_score_mean": statistics.fmean(scores) if scores else None,
        "control_score_sd": _sd(scores),
        "control_n": len(scores),
        "control_scores": scores,
        "controls": [each.digest for each in random],
        "control_params": params,
        "control_macs": macs,
        "control_params_mean": statistics.fmean(params) if params else None,
        "control_macs_mean": statistics.fmean(macs) if macs else None,
    }


def _scores(work: Work, found: Sequence[Tensor], test: Split) -> dict[str, Any]:
    """Of what is delivered, one value a seed, on the test rows."""
    task = work.task
    scores = [tested.score(task, each, test) for each in found]
    interval = mean_interval(scores, (task.first.low, task.first.high))
    counted = [tested.counted(task, each, test) for each in found]
    right = [each.tolist() for each in counted if each is not None and each.dtype == torch.bool]
    return {
        "metric": task.metric,
        "goal": task.first.goal,
        "score_mean": statistics.fmean(scores),
        "score_sd": _sd(scores),
        "n": len(scores),
        "score_ci_low": interval.low if interval else None,
        "score_ci_high": interval.high if interval else None,
        "scores": scores,
        "test_images": len(test),
        **({"right": packed(right)} if right else {}),
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


def _write(work: Work, drawing: str, result: dict[str, Any], found: list[Tensor], test: Split) -> None:
    folder, params, reports = work.folder, work.params, files.REPORTS
    first = params.retrain.seeds[0]
    with files.atomic(folder / files.MODEL) as temporary:  # the first seed's: to choose by test accuracy is to cheat
        shutil.copyfile(folder / files.retrained(first), temporary)
    files.write_json(folder / reports / "evaluate.json", result)
    shutil.rmtree(folder / files.ERRORS, ignore_errors=True)  # pictures of another task
    pictures = work.task.pictures
    rows = {name: each.rows(found, test.answers.cpu(), test.facts) for name, each in pictures.items()}
    (folder / files.ERRORS).mkdir(parents=True)
    for name, table in rows.items():
        files.write_rows(folder / files.ERRORS / f"{name}.csv", table)
    write_report(params, folder, drawing, folder / reports / "report.html")
    numbers = {k: v for k, v in result.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    work.run.summary(numbers, note=result["verdict"], tags={"winnow.verdict": result["outcome"]})
    work.run.tag("winnow.architecture", result["architecture"])
    for path in (*(files.ERRORS / f"{name}.csv" for name in rows), reports / "evaluate.json", reports / "report.html"):
        work.run.artifact(folder / path)
    for name, table in rows.items():
        work.picture(name, pictures[name].chart, table)
    if result["control_n"]:
        points = result["find_scores" if len(result["finds"]) > 1 else "found_scores"]
        work.picture("found_against_random", "against_controls", points, result["control_scores"], work.task.metric)
    work.run.model(
        "winnow.run.model:logged_model",
        [folder / files.MODEL],
        list(test.facts["shape"]),
        example=row_of(work.task.example(work.task.facts(test.facts))),
        arguments={"file": files.MODEL.name, "space": params.space.code, "task": params.task},
    )
    calibration = f", ECE {result['ece']:.2f}" if "ece" in result else ""
    work.say(f"test {result['metric']} {spread(work.task.first, result)} (n = {result['n']}){calibration}")
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
