"""Finished runs side by side: what differs in their parameters, what came out, what it took.

A run is a folder of a project (reports/ and, where they are there, artifacts/ and data/splits/), a folder of files that
came from MLflow (evaluate.json and params.json), or the name of a pipeline run in the tracking store.
"""

import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from winnow.config.params import ORIGINAL
from winnow.config.reading import read_params
from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.measure.judgement import difference
from winnow.measure.latency import busy
from winnow.run import files
from winnow.run.beside import told, turned
from winnow.run.headline import spread
from winnow.run.imports import on_path
from winnow.run.lineage import of_this_run, record_of
from winnow.run.revision import LOCK, outs_of, read_lock
from winnow.run.spent import Spent, spent
from winnow.run.tradeoff import YOURS
from winnow.tasks import task_named
from winnow.tasks.task import Metric, Task
from winnow.tracking.facts import flatten

NEEDED = (  # of reports/evaluate.json; a run that lacks one is of an older winnow
    *("metric", "goal", "score_mean", "score_sd", "n", "scores", "outcome", "verdict", "control_n", "control_scores"),
    *("control_macs", "control_score_mean", "control_score_sd", "against", "front", "limits", "params", "macs"),
    *("latency_ms", "latency_low", "latency_high", "latency_device", "latency_threads", "architecture", "test_images"),
)
FINDING = ("search", "select")  # the stages that look for an architecture
UNSAID = "–"
BESIDE = ("tracking.", "study.", "gate.")  # parameters that make no part of a run's result
TEST = files.SPLITS / "test.parquet"


@dataclass(frozen=True)
class Finished:
    """A run that has ended; what its files do not tell is empty."""

    name: str
    result: Mapping[str, Any]  # of reports/evaluate.json
    params: Mapping[str, str]  # dotted keys and texts, as MLflow has them
    test: Mapping[str, str] = field(default_factory=dict)  # digests of the test split, by what they are of
    choices: Mapping[str, Any] = field(default_factory=dict)
    took: Mapping[str, Spent] = field(default_factory=dict)  # by stage
    drawing: str = ""  # SVG
    recorded: bool = True  # whether `params` are those of the run for certain


def read_run(folder: Path, name: str) -> Finished:
    """Refused where the run is not finished, changed since, or of an older winnow."""
    project = folder / files.REPORTS / "evaluate.json"
    path = project if project.is_file() else folder / "evaluate.json"
    if not path.is_file():
        raise Refused(f"{name} is not finished: there is no {files.REPORTS}/evaluate.json in it; run `dvc repro` there")
    result = files.read_json(path, "evaluate")
    lacking = [key for key in NEEDED if not isinstance(result, dict) or key not in result]
    if lacking:
        raise Refused(f"{path} is of an older winnow, it lacks {lacking[0]!r}: run `winnow evaluate` there again")
    if path != project:
        return Finished(name, result, _flat(folder / "params.json", name))
    record = record_of(folder, "evaluate")
    if record.get("read") and (why := of_this_run(folder, "evaluate")):
        raise Refused(f"{name} is not finished: {why}")
    drawing = folder / files.REPORTS / "architecture.svg"
    return Finished(
        name,
        result,
        record["params"] if "params" in record else _as_it_stands(folder, name),
        _test(folder),
        _choices(folder / files.ARCHITECTURE, result),
        spent(folder, FINDING),
        drawing.read_text(encoding="utf-8") if drawing.is_file() else "",
        "params" in record,
    )


def _as_it_stands(folder: Path, name: str) -> dict[str, str]:
    """Of params.yaml, where no record tells what the run had."""
    on_path(folder)  # names of one's own
    try:
        return flatten(read_params(folder / "params.yaml").model_dump())
    except Refused as refusal:
        raise Refused(f"{name}: {refusal}") from refusal


def _flat(path: Path, name: str) -> dict[str, str]:
    content = files.read_json(path, "evaluate")
    if not isinstance(content, dict) or "task" not in content:
        raise Refused(f"{path} does not name the task of {name}: it is of an older winnow, or of something else")
    return {key: str(value) for key, value in content.items()}


def _test(folder: Path) -> dict[str, str]:
    """Digests of the test split: of its rows where it is here, and of its file where dvc.lock names it."""
    lock = folder / LOCK
    outs = outs_of(read_lock(lock.read_text(encoding="utf-8", errors="replace"))) if lock.is_file() else {}
    digests = {"file": outs[TEST.as_posix()]} if TEST.as_posix() in outs else {}
    if (folder / files.SPLITS / "manifest.json").is_file():
        digests["rows"] = read_manifest(folder / files.SPLITS)["splits"]["test"]["digest"]
    return digests


def _choices(path: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Of the architecture that was tested; nothing where the file is not there, or of another."""
    if not path.is_file():
        return {}
    content = files.read_json(path, "select")
    mine = isinstance(content, dict) and content.get("digest") == result["architecture"]
    return dict(content["choices"]) if mine else {}


def check_alike(runs: Sequence[Finished]) -> None:
    """Refused where scores are not of one task and metric, or there is nothing to compare."""
    if len(runs) < 2:
        raise Refused(f"compare takes two runs or more, not {len(runs)}: winnow compare . ../other")
    first = runs[0]
    for run in runs[1:]:
        if [each.name for each in runs].count(run.name) > 1:
            raise Refused(f"{run.name} is named twice")
        for what, mine, its in (
            ("task", first.params.get("task"), run.params.get("task")),
            ("metric", first.result["metric"], run.result["metric"]),
        ):
            if mine != its:
                raise Refused(f"{first.name} is of {what} {mine}, {run.name} of {its}: their scores do not compare")


def task_of(runs: Sequence[Finished]) -> Task:
    return task_named(runs[0].params["task"])


def differing(runs: Sequence[Finished]) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of the parameters in which the runs differ: the key, and its value in each.

    First those that all have, then those that only some do, as the options of a strategy that runs in one.
    """
    keys = dict.fromkeys(key for run in runs for key in run.params if not key.startswith(BESIDE))
    rows = [[key, *(run.params.get(key, UNSAID) for run in runs)] for key in keys]
    shared = [row for row in rows if UNSAID not in row and len(set(row[1:])) > 1]
    return shared, [row for row in rows if UNSAID in row]


def came_out(runs: Sequence[Finished]) -> list[list[str]]:
    """Rows of what came out: the words, and what is told of each run."""
    first = runs[0]
    metric = task_of(runs).first
    rows = {
        "better than random?": [run.result["outcome"] if run.result["control_n"] else UNSAID for run in runs],
        **{f"as good as {_called(name)}?": [_against(run, name) for run in runs] for name in _rivals(runs)},
        f"test {first.result['metric']}": [f"{spread(metric, r.result)} (n = {r.result['n']})" for r in runs],
        f"beside {first.name}": ["this is it", *(_gap(metric, run, first) for run in runs[1:])],
        "random networks": [_random(metric, run) for run in runs],
        "M MACs": [f"{run.result['macs'] / 1e6:.2f}" for run in runs],
        "params": [f"{run.result['params']:,}" for run in runs],
        "ms an input": [
            "{latency_ms:.2f} [{latency_low:.2f}, {latency_high:.2f}]".format(**run.result) for run in runs
        ],
        "architecture": [run.result["architecture"] for run in runs],
        **{f"{stage} took": [str(run.took.get(stage, UNSAID)) for run in runs] for stage in FINDING},
    }
    return [[words, *values] for words, values in rows.items()]


def _rivals(runs: Sequence[Finished]) -> list[str]:
    return list(dict.fromkeys(row["name"] for run in runs for row in run.result["against"]))


def _called(name: str) -> str:
    return YOURS if name == ORIGINAL else name


def _against(run: Finished, name: str) -> str:
    return next((row["outcome"] for row in run.result["against"] if row["name"] == name), UNSAID)


def _random(metric: Metric, run: Finished) -> str:
    count = run.result["control_n"]
    of_random = {name: run.result[f"control_{name}"] for name in ("score_mean", "score_sd")}
    return f"{spread(metric, of_random)} (n = {count})" if count else UNSAID


def _gap(metric: Metric, run: Finished, first: Finished) -> str:
    """The difference of what is delivered, with Welch's 95 % interval over seeds."""
    mine, its = (each.result["scores"] for each in (run, first))
    low, high = told(metric, difference(turned(metric, mine), turned(metric, its), bounds=metric.bounds))
    words = metric.gap(statistics.fmean(mine) - statistics.fmean(its))
    if low is None or high is None:
        return words
    return f"{words} [{', '.join(metric.gap(end).removesuffix(' points') for end in (low, high))}]"


def remarks(runs: Sequence[Finished]) -> list[str]:
    """What keeps the runs from being compared without a thought; the first is on the test rows."""
    said = [_on_test(runs)]
    if devices := _several(f"{run.result['latency_device']}" for run in runs):
        said.append(f"Latency was measured on {devices}: milliseconds do not compare.")
    loads = {r.name: r.result.get("latency_load") for r in runs}
    if loaded := [f"{r.name} {loads[r.name]:.1f}" for r in runs if busy(loads[r.name], 0, 0)]:
        said.append(f"While latency was measured, others loaded the machine ({', '.join(loaded)}): less is quicker.")
    if stands := [run.name for run in runs if not run.recorded]:
        said.append(f"Parameters of {', '.join(stands)} are those of params.yaml as it stands: no record tells them.")
    if limits := _several(str(run.result["limits"] or "none") for run in runs):
        said.append(f"Limits differ ({limits}): random networks keep those of their run.")
    fewest = min(run.result["n"] for run in runs)
    if fewest < 3:
        said.append(f"No interval from fewer than three retrain.seeds; here are runs with {fewest}.")
    if len(runs) > 2:
        said.append(
            f"Each interval beside {runs[0].name} is by itself: of many, one in twenty shows a difference by chance."
        )
    return said


def same_test(runs: Sequence[Finished]) -> bool | None:
    """Whether all were tested on equal rows; None where that is not known of all."""
    for kind in ("rows", "file"):
        digests = [run.test.get(kind) for run in runs]
        if all(digests):
            return len(set(digests)) == 1
    return None


def _on_test(runs: Sequence[Finished]) -> str:
    same, counts = same_test(runs), [run.result["test_images"] for run in runs]
    if same is False or len(set(counts)) > 1:
        names = ", ".join(f"{run.name} {count:,}" for run, count in zip(runs, counts, strict=True))
        return f"The test rows differ ({names}): a difference of scores may be one of test sets."
    if same is None:
        return f"Whether all were tested on the same {counts[0]:,} rows is not known: no digest of some test sets here."
    return f"All were tested on the same {counts[0]:,} rows."


def _several(values: Iterable[str]) -> str:
    """The different ones, or nothing where all are equal."""
    different = list(dict.fromkeys(values))
    return "; ".join(different) if len(different) > 1 else ""


def choices_of(run: Finished) -> str:
    """What was found, in words."""
    kept = ((name, " + ".join(map(str, v)) if isinstance(v, list) else v) for name, v in run.choices.items())
    return "; ".join(f"{name} {value}" for name, value in kept)


def runs_named(names: Sequence[str], project: Path) -> list[Finished]:
    """Folders, and what is none by its name in the tracking store of `project`."""
    return [_run_named(name, project) for name in names]


def _run_named(name: str, project: Path) -> Finished:
    if Path(name).is_dir():
        return read_run(Path(name), Path(name).resolve().name if Path(name) == Path() else name.rstrip("/"))
    if not (project / "params.yaml").is_file():
        raise Refused(f"no folder {name!r}, and no params.yaml in {project} that says which tracking store has it")
    from winnow.tracking.fetch import fetched  # MLflow takes seconds to import

    tracking = read_params(project / "params.yaml", methods=False).tracking
    with tempfile.TemporaryDirectory() as passing:
        about = fetched(project, tracking, name, Path(passing))
        run = read_run(Path(passing), name)
        choices = _choices(Path(passing) / files.ARCHITECTURE.name, run.result)
        picture = Path(passing) / "architecture.svg"
        drawing = picture.read_text(encoding="utf-8") if picture.is_file() else ""
        took = {stage: Spent(seconds) for stage, seconds in about["seconds"].items() if stage in FINDING}
        return replace(run, test=about["test"], choices=choices, took=took, drawing=drawing)
