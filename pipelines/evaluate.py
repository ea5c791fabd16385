"""Stage evaluate: reads retrained models, opens `test` once; writes model.safetensors, evaluate.json, report.html.

The retrained models are what is delivered. Whether the search helped, and what it lost against a baseline, is told by
networks of their own, trained alike: `run.judged` compares them.
"""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor, nn

from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.example import Example, row_of
from winnow.data.loaders import Split
from winnow.look.style import to_bytes
from winnow.look.tradeoff import tradeoff
from winnow.measure import cost
from winnow.measure.latency import busy, latency_over_time
from winnow.measure.memory import FOOTPRINT, footprint
from winnow.pipelines import search, select
from winnow.run import files, tested
from winnow.run.answers import packed
from winnow.run.beside import over_seeds
from winnow.run.bounds import bounds_drawn
from winnow.run.children import initial, training_split
from winnow.run.controls import check_comparison
from winnow.run.draw import draw_architecture, save
from winnow.run.headline import spread
from winnow.run.judged import judged
from winnow.run.model import load_model
from winnow.run.report import write_report
from winnow.run.tradeoff import cost_of, points
from winnow.run.verdict import verdicts
from winnow.run.work import Work, about_model, facts, final_space, working
from winnow.system.machine import usable_cores
from winnow.train.building import laid
from winnow.trust.provenance import provenance

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
        compared = judged(work, arch, search.main, select.main)
        told, test = compared.told, compared.test
        found = [tested.outputs(model, test, params.evaluate.batch) for model in models]
        costs = _latencies([models[0], *compared.models], test, work)
        rows = [*told["front"], *told["against"]]
        for row, latency in zip(rows, costs[1 : len(rows) + 1], strict=True):
            row |= latency
        drawn = [each["latency_ms"] for each in costs[len(rows) + 1 :]]  # random ones, where milliseconds are limited
        _deliver(work, told["front"], compared.models)
        result = {
            **_scores(work, found, test),
            **told,
            **cost.sizes(models[0], work.task.example(work.task.facts(test.facts))),
            **costs[0],
            **({"control_latency_ms": drawn} if drawn else {}),
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


def _deliver(work: Work, front: Sequence[dict[str, Any]], models: Sequence[nn.Module]) -> None:
    """The networks of the front, of the first seed, as files like that of the found one."""
    params, folder = work.params, work.folder
    shutil.rmtree(folder / files.MENU, ignore_errors=True)  # of another menu
    (folder / files.MENU).mkdir(parents=True)
    for row, model in zip(front, models, strict=False):  # those of rivals follow
        seed, arch = params.retrain.seeds[0], Architecture.of(row["choices"])
        about = about_model(params, facts(params, folder), arch, training_split(work), seed, initial=initial(seed))
        threads, recipe = params.evaluate.threads, params.retrain.recipe()
        about["provenance"] = provenance(params, folder, recipe, work.device, work.outside, threads)
        files.write_tensors(folder / files.menu(arch.digest), model.state_dict(), about)


def _scores(work: Work, found: Sequence[Tensor], test: Split) -> dict[str, Any]:
    """Of what is delivered, one value a seed, on the test rows."""
    task = work.task
    scores = [tested.score(task, each, test) for each in found]
    counted = [tested.counted(task, each, test) for each in found]
    right = [each.tolist() for each in counted if each is not None and each.dtype == torch.bool]
    return {
        "metric": task.metric,
        "goal": task.first.goal,
        **over_seeds(scores, task.first),
        "test_images": len(test),
        **({"right": packed(right)} if right else {}),
    }


def _latencies(models: Sequence[nn.Module], test: Split, work: Work) -> list[dict[str, Any]]:
    """Of each of `models`, measured by turns."""
    settings, cpu = work.params.evaluate, work.device.type == "cpu"
    example = work.task.example(work.task.facts(test.facts))
    threads = torch.get_num_threads()
    counts = sorted({threads, 1}, reverse=True) if cpu else [threads]  # on a GPU they make no difference
    repeats, seconds = settings.latency_repeats, settings.latency_seconds
    found = latency_over_time(models, example, counts, device=work.device, repeats=repeats, seconds=seconds)
    if remark := busy(found[0][0].load, threads, usable_cores()):
        work.say(f"  latency: {remark}")
    return [
        {
            **_memory(model, example),
            "latency_ms": time.median,
            "latency_low": time.low,
            "latency_high": time.high,
            "latency_device": time.device,
            "latency_threads": threads,
            "latency_one_thread_ms": readings[-1].median if cpu else None,
            "latency_one_thread_low": readings[-1].low if cpu else None,
            "latency_one_thread_high": readings[-1].high if cpu else None,
            "latency_load": time.load,
        }
        for model, readings in zip(models, found, strict=True)
        for time in readings[:1]
    ]


def _memory(model: nn.Module, example: Example) -> dict[str, float | None]:
    """None of a network that cannot be traced without values."""
    try:
        return dict(footprint(model, example))
    except files.Refused:
        return dict.fromkeys(FOOTPRINT)


def _write(work: Work, drawing: str, result: dict[str, Any], found: list[Tensor], test: Split) -> None:
    folder, params, reports = work.folder, work.params, files.REPORTS
    first = params.retrain.seeds[0]
    with files.atomic(folder / files.MODEL) as temporary:  # the first seed's: to choose by test accuracy is to cheat
        shutil.copyfile(folder / files.retrained(first), temporary)
    files.write_json(folder / reports / "evaluate.json", result)
    shutil.rmtree(folder / files.ERRORS, ignore_errors=True)  # pictures of another task
    pictures = work.task.pictures
    rows = {name: each.of(found, test) for name, each in pictures.items()}
    (folder / files.ERRORS).mkdir(parents=True)
    for name, table in rows.items():
        files.write_rows(folder / files.ERRORS / f"{name}.csv", table)
    cost = cost_of(params)
    picture = (points(result, cost, work.task.first), work.task.metric, cost)
    save(tradeoff(*picture), folder / files.TRADEOFF)
    shown = (folder / files.TRADEOFF).read_text(encoding="utf-8")
    write_report(params, folder, drawing, shown, folder / reports / "report.html")
    _track(work, result)
    for path in (*(files.ERRORS / f"{name}.csv" for name in rows), reports / "evaluate.json", reports / "report.html"):
        work.run.artifact(folder / path)
    work.picture("pareto", "tradeoff", *picture)
    for name, table in rows.items():
        work.picture(name, pictures[name].chart, table)
    if result["control_n"] or result["against"]:
        work.picture("found_against_others", "bounds", *bounds_drawn(result, work.task.first, work.task.metric))
    work.run.model(
        "winnow.run.model:logged_model",
        [folder / files.MODEL],
        list(test.facts["shape"]),
        example=row_of(work.task.example(work.task.facts(test.facts))),
        arguments={"file": files.MODEL.name, "space": params.space.code, "task": params.task},
    )
    _say(work, result)


def _track(work: Work, result: dict[str, Any]) -> None:
    """The numbers as metrics of the run; of rivals as against.NAME.difference and so on."""
    rivals = {re.sub(r"[^\w.\-/ ]", "_", row["name"]): row for row in result["against"]}  # MLflow's names have no colon
    told = {**result, **{f"against.{name}.{key}": value for name, row in rivals.items() for key, value in row.items()}}
    numbers = {k: v for k, v in told.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    said = verdicts(result)
    outcomes = {f"winnow.against.{name}": row["outcome"] for name, row in rivals.items()}
    note = "\n\n".join(text for _, text in said)
    work.run.summary(numbers, note=note, tags={"winnow.verdict": said[0][0], **outcomes})
    work.run.tag("winnow.architecture", result["architecture"])


def _say(work: Work, result: dict[str, Any]) -> None:
    calibration = f", ECE {result['ece']:.2f}" if "ece" in result else ""
    work.say(f"test {result['metric']} {spread(work.task.first, result)} (n = {result['n']}){calibration}")
    work.say(
        f"  {cost.said(result)}, {result['latency_ms']:.2f} ms "
        f"[{result['latency_low']:.2f}, {result['latency_high']:.2f}] an input on {result['latency_device']}"
    )
    if result["ram_kib"] is not None:
        work.say(
            f"  {result['ram_kib']:.1f} KiB of activations at most, {result['flash_kib']:.1f} KiB of weights, float32"
        )
    for outcome, text in verdicts(result):
        work.say(f"[bold {COLOURS[outcome]}]{escape(text)}[/]")
    if result.get("random_search"):
        work.say(f"  {escape(result['random_search']['verdict'])}")
    wide = max((len(row["name"]) for row in result["front"]), default=0)
    for row in result["front"]:
        size = f"{row['params']:,} params, {row['macs'] / 1e6:.2f} M MACs, {row['latency_ms']:.2f} ms"
        work.say(f"  {row['name']:<{wide}}  {spread(work.task.first, row)}, {size}: {files.menu(row['architecture'])}")
    first = work.params.retrain.seeds[0]
    work.say(f"  wrote {files.MODEL} (seed {first}), {files.REPORTS}/evaluate.json and report.html; next: make ui")


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("evaluate")
