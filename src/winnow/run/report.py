"""reports/report.html: one page with everything there is to look at; no server, no network, no script."""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from winnow.config.methods import selection
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.look import charts, page, trials
from winnow.look.bounds import bounds
from winnow.measure.judgement import NO, YES
from winnow.run import files
from winnow.run.bounds import bounds_drawn
from winnow.run.headline import headline
from winnow.run.int8 import winner_in_eight_bits
from winnow.run.lineage import of_this_run, record_of, runs_of
from winnow.run.progress import duration
from winnow.run.spent import COUNTED, spent
from winnow.search.problems import SCORES, TIMES
from winnow.tasks import task_named
from winnow.tasks.task import Task
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import as_rows, read_table

PARAMETER_FREE = ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "noise")
WORST = 10  # classes that are shown before all of them, where there are more than twice as many


def write_report(params: Params, folder: Path, drawing: str, picture: str, out: Path) -> None:
    """Build the page from what the stages left in `folder`.

    `drawing` is the SVG of the found architecture, `picture` that of score against cost.

    Shown is this run and no other: which files, `params` say, and the record of the stage that wrote them, whether they
    are still those (`lineage.of_this_run`). A part whose files are missing or of another run says so in its place.
    """
    result, task = _json(folder / "reports/evaluate.json"), task_named(params.task)

    def of(run: str, build: Callable[[Path], str]) -> Callable[[], str]:
        why = of_this_run(folder, run)
        return lambda: f"<p class='quiet'>{page.text(why)}.</p>" if why else build(folder)

    sections: list[tuple[str, Callable[[], str]]] = [
        ("What was found", lambda: page.inline(drawing, _told(folder)) + _collapse(folder, result)),
        ("Did the search help?", lambda: _help(result, task)),
        ("Selection", of("select", lambda folder: _selection(folder, task))),
        ("Evidence", of("select", lambda folder: _evidence(folder, task))),
        ("Search", of("search", lambda folder: _search(folder, task))),
        ("Tuning", of("tune", lambda folder: _tuning(folder, params))),
        ("Retraining", lambda: _retraining(folder, params)),
        ("Where it errs", lambda: _errors(folder, result, task)),
        ("Data", of("prepare", _data)),
        ("Cost", lambda: _cost(folder, params)),
        ("Lineage", lambda: _lineage(folder, params)),
    ]
    body = "".join(f"<h2>{title}</h2>\n{_or_missing(build)}\n" for title, build in sections)
    files.write_text(out, page.document("winnow report", f"{headline(result, task, picture)}\n{body}"))


def _told(folder: Path) -> str:
    """The found architecture in words, for those who do not see its drawing."""
    choices = _json(folder / files.ARCHITECTURE)["choices"]
    kept = ((name, " + ".join(map(str, v)) if isinstance(v, list) else v) for name, v in choices.items())
    return "Drawing of the found architecture: " + "; ".join(f"{name} {value}" for name, value in kept)


def collapsed(choices: Mapping[str, Any]) -> float | None:
    """The share of an architecture's operations that have no parameters (skip, pool, none, noise); None without any.

    Counted over decisions whose answer is one named operation; subsets of inputs are not operations. A name that winnow
    does not know has parameters, if decisions of its kind (the same name but for numbers) have operations it knows.
    """
    operations = {name: value for name, value in choices.items() if isinstance(value, str)}
    kinds = {_kind(name) for name, value in operations.items() if value in PARAMETER_FREE or "conv" in value}
    counted = [value for name, value in operations.items() if _kind(name) in kinds]
    return sum(value in PARAMETER_FREE for value in counted) / len(counted) if counted else None


def _kind(name: str) -> str:
    return re.sub(r"\d+", "", name)


def _collapse(folder: Path, result: Mapping[str, Any]) -> str:
    """Few operations with parameters are a collapse only as long as nothing shows that such networks win here."""
    share = collapsed(_json(folder / files.ARCHITECTURE)["choices"])
    if share is None:
        return ""
    text = f"{share:.0%} of the operations have no parameters (skip, pooling, none)"
    if share < 2 / 3:
        return f"<p class='quiet'>{text}.</p>"
    if result["control_n"] and result["outcome"] == YES:
        return f"<p class='quiet'>{text}. It beats random networks with them: that is what wins here, no collapse.</p>"
    word = "Collapsed" if result["control_n"] and result["outcome"] == NO else "Perhaps collapsed"
    shown = f"{text}, and nothing shows it to be better than random networks"
    return f"<p class='alarm'>{word}: {shown}. A supernet that trains well can still be read this way.</p>"


def _help(result: Mapping[str, Any], task: Task) -> str:
    if not result["control_n"]:
        none = "<p class='quiet'>No random networks were asked for: that stays open.</p>"
        return none + (_bounds(result, task) if result["against"] else "")
    several = len(result["finds"]) > 1
    found = (
        "what each search found, once" if several else "the found architecture, once a seed, of which the first counts"
    )
    limits = f" within the same limits ({page.text(result['limits'])})" if result["limits"] else ""
    explained = (
        f"<p class='quiet'>Each point is a network trained from {page.text(result['begins'])} and tested once, all "
        f"alike: by the recipe as it stands in params.yaml, which was tuned on none of them. There is {found}, and "
        f"random architectures{limits}. A yes would come by chance in at most one case of twenty. The "
        f"{task.words} above is that of the delivered model, which the tuned recipe trained.</p>"
    )
    rival = result["random_search"]
    beside = f"<p>Random search: {page.text(rival['verdict'])}.</p>" if rival else ""
    sizes = zip(result["controls"], result["control_params"], result["control_macs"], strict=True)
    rows = [
        [digest, f"{params:,}", f"{macs / 1e6:.2f}", task.first.text(score)]
        for (digest, params, macs), score in zip(sizes, result["control_scores"], strict=True)
    ]
    table = page.table(["random architecture", "params", "M MACs", task.words], rows)
    folded = f"<details><summary>The random architectures</summary>{table}</details>"
    return explained + _bounds(result, task) + beside + folded


def _bounds(result: Mapping[str, Any], task: Task) -> str:
    return page.svg(bounds(*bounds_drawn(result, task.first, task.metric)))


def _selection(folder: Path, task: Task) -> str:
    selections = _json(folder / files.SELECTIONS)
    methods = selections["methods"]
    tables = {name: row.get("table") or {} for name, row in methods.items()}
    columns = list(dict.fromkeys(column for table in tables.values() for column in table))
    rows = [
        [
            f"{name} (decides)" if name == selections["chosen"] else name,
            row["digest"],
            "–" if row["inherited_accuracy"] is None else task.first.text(row["inherited_accuracy"]),
            f"{row['params']:,}",
            f"{row['macs'] / 1e6:.2f}",
            *(f"{tables[name][column]:.2f}" for column in columns),
        ]
        for name, row in methods.items()
    ]
    heads = ["method", "architecture", f"inherited {task.words}", "params", "M MACs", *columns]
    decisions = selections["disagreements"]
    differ = [not row["agree"] for row in decisions]
    answers = [[row["decision"], *(row[name] for name in methods)] for row in decisions]
    note = f"<p>{sum(differ)} of {len(differ)} decisions differ.</p>" if len(methods) > 1 else ""
    return page.table(heads, rows) + note + page.table(["decision", *methods], answers, differ)


SHOWN = 20  # coefficients of a model in the report


def _evidence(folder: Path, task: Task) -> str:
    metric = task.metric + (", percent" if task.first.unit == "%" else ""), task.first.sign
    rows = pq.read_table(folder / files.EVIDENCE).to_pylist()
    masked, children, fitted = (
        [row for row in rows if _drawn(row["method"]) == kind] for kind in ("masks", "children", "model")
    )
    children += [row for row in fitted if not row["decision"]]
    parts = []
    if masked:
        parts.append("<p class='quiet'>The option without which the supernet is worst was kept (blue).</p>")
        parts.append(page.svg(charts.masks(masked, *metric)))
    if children:
        parts.append(page.svg(charts.evaluated(children, *metric)))
    for event, what in ((SCORES, "What pays"), (TIMES, "What takes milliseconds")):
        told = [row for row in fitted if row["decision"] and row["event"] == event]
        cells = [[row["decision"], row["option"], f"{row['score']:+.3f}"] for row in told[:SHOWN]]
        if cells:
            parts.append(f"<p class='quiet'>{what}: coefficients in standard deviations, the largest first.</p>")
            parts.append(page.table(["stage or decision", "term or option", "standardised coefficient"], cells))
    other = "trials" if (folder / files.TRIALS).is_file() else "mixture weights"
    return "".join(parts) or f"<p class='quiet'>The selection looked at the {other} alone, below.</p>"


def _drawn(method: str) -> str:
    """As what the evidence of a selection is drawn; "" also for one that this winnow does not know."""
    try:
        return selection(method).evidence
    except Refused:
        return ""


def _search(folder: Path, task: Task) -> str:
    tried = _trials(folder, task)
    rows = _csv(folder / "reports/search.csv")
    if not rows:
        return tried
    metrics = [name for name in rows[0] if name not in ("epoch",)]
    weights = _csv(folder / "reports/weights.csv")
    none = "<p class='quiet'>A path supernet has no weights.</p>"
    shown = page.svg(charts.weights_over_time(weights)) if weights else none
    said = _json(folder / "reports/search.json").get("collapse")
    alarm = f"<p class='alarm'>The mixture collapsed: {page.text(said)}.</p>" if said else ""
    return tried + alarm + page.svg(charts.curves({"search": rows}, metrics)) + "<h3>Mixture weights</h3>" + shown


def _trials(folder: Path, task: Task) -> str:
    """The study of strategy trials: its history, its front, its best; nothing where there was none."""
    if not (folder / files.TRIALS).is_file():
        return ""
    rows, curve = as_rows(read_table(folder / files.TRIALS)), _csv(folder / "reports/trials.csv")
    leading = {int(row["trial"]) for row in curve if row["front"] == "True"}
    complete = [row for row in rows if row.state == COMPLETE]
    objectives = list(complete[0].objectives)
    points = [
        {**row.objectives, "number": row.number, "feasible": row.feasible, "front": row.number in leading}
        for row in complete
    ]
    shown = [row for row in rows if row.number in leading]
    metrics = [name for name in shown[0].metrics if name not in objectives]
    heads = ["trial", "architecture", *(name.replace("_", " ") for name in (*objectives, *metrics))]
    cells = [
        [
            str(r.number),
            r.digest,
            *(_number(r.objectives[n]) for n in objectives),
            *(_number(r.metrics[n]) for n in metrics),
        ]
        for r in shown
    ]
    seconds = sum(row.seconds for row in rows)
    beyond = sum(any(excess > 0 for excess in row.constraints.values()) for row in rows)
    note = (
        f"<p>{len(rows)} trials, {sum(row.copy_of is not None for row in rows)} of them repeats, not evaluated "
        f"again, {beyond} beyond a limit; {seconds:,.0f} s of evaluation.</p>"
    )
    if changed := winner_in_eight_bits(task, rows):
        note += f"<p class='alarm'>{page.text(changed)}.</p>"
    pareto = page.svg(trials.pareto(points, objectives)) if len(objectives) > 1 else ""
    return note + page.svg(trials.history(curve, objectives[0])) + pareto + page.table(heads, cells)


def _number(value: float) -> str:
    """Counts in full: 1,438,848, not 1.43885e+06."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"


def _tuning(folder: Path, params: Params) -> str:
    metrics, recipe = _json(folder / "reports/tune.json"), _json(folder / files.RECIPE)
    if not metrics["trials"]:
        return "<p class='quiet'>tune.trials was 0: retraining went by the recipe as it stands.</p>"
    metric = metrics["metric"]
    standing, text = metrics[f"{metric}_as_it_stands"], task_named(params.task).first.text
    against = "" if standing is None else f", {text(standing)} with the recipe as it stands (trial 0)"
    note = f"<p>Best of {metrics['trials']} trials is {metrics['best_trial']}: {text(metrics[metric])}{against}.</p>"
    changed = [
        [name, str(recipe["base"][name]), f"{value:.4g}" if isinstance(value, float) else str(value)]
        for name, value in recipe["tuned"].items()
    ]
    shares = {row["parameter"]: float(row["importance"]) for row in _csv(folder / "reports/importance.csv")}
    bars = page.svg(trials.importances(shares)) if shares else ""
    return (
        note
        + page.svg(trials.history(_csv(folder / "reports/tune.csv"), f"{metric} on select"))
        + page.table(["field", "as it stands", "used"], changed)
        + bars
    )


def _retraining(folder: Path, params: Params) -> str:
    seeds = params.retrain.seeds
    others = {seed: why for seed in seeds if (why := of_this_run(folder, f"retrain-{seed}"))}
    groups = {f"seed {s}": _csv(folder / f"reports/retrain/{s}.csv") for s in seeds if s not in others}
    told = "".join(f"<p class='quiet'>Seed {seed}: {page.text(why)}.</p>" for seed, why in others.items())
    told += f"<p>Training began from {params.begins}.</p>"
    told += page.svg(charts.curves(groups, _curves(groups))) if groups else ""
    federated = [seed for seed in seeds if seed not in others] if params.retrain.federation is not None else []
    return told + "".join(_rounds(folder, seed, task_named(params.task)) for seed in federated[:1])


def _rounds(folder: Path, seed: int, task: Task) -> str:
    """What clients did from one seed."""
    rows, about = pq.read_table(folder / files.rounds(seed)).to_pylist(), _json(folder / f"reports/retrain/{seed}.json")
    skew = f", of label skew {about['skew']:.3f} (mean KS statistic)" if "skew" in about else ""
    told = f"<p>{about['clients']} clients of {min(about['rows'])} to {max(about['rows'])} rows{skew}; seed {seed}.</p>"
    return told + page.svg(charts.rounds(rows, task.metric))


def _curves(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What was told of every epoch."""
    return [name for name in next(iter(groups.values()))[0] if name != "epoch"]


def _errors(folder: Path, result: Mapping[str, Any], task: Task) -> str:
    """The pictures of the task, and accuracy by class where it tells of that."""
    drawn = [
        (f"<p class='quiet'>{page.text(picture.said)}</p>" if picture.said else "")
        + page.svg(getattr(charts, picture.chart)(_csv(folder / files.ERRORS / f"{name}.csv")))
        for name, picture in task.pictures.items()
    ]
    told = list(zip(result.get("classes", ()), result.get("per_class", ()), strict=True))
    return (_by_class(told, f"{task.words}, percent") if told else "") + "".join(drawn)


def _by_class(told: Sequence[tuple[str, float | None]], words: str) -> str:
    """A row a class; of many the worst first, and all of them folded."""
    rows = [[name, "–" if value is None else f"{value:.2f}"] for name, value in told]
    table = page.table(["class", words], rows)
    if len(rows) <= 2 * WORST:
        return table
    known = sorted((value, place) for place, (_, value) in enumerate(told) if value is not None)
    worst = page.table([f"the worst of {len(rows)} classes", words], [rows[place] for _, place in known[:WORST]])
    return f"{worst}<details><summary>All {len(rows)} classes</summary>{table}</details>"


def _data(folder: Path) -> str:
    manifest = _json(folder / files.SPLITS / "manifest.json")
    rows = [[name, f"{split['rows']:,}", split["digest"]] for name, split in manifest["splits"].items()]
    dropped = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in manifest["duplicates"].items())
    told = task_named(manifest["task"]).described(manifest["facts"])
    what = f"{manifest['source']}: {told}; duplicates: {dropped}."
    if left_out := manifest.get("left_out"):
        what += f" Left out: {', '.join(f'{count} {reason}' for reason, count in left_out.items())}."
    what = " ".join([what, *(f"{note}." for note in manifest.get("notes", []))])
    return f"<p>{page.text(what)}</p>" + page.table(["split", "rows", "digest of the content"], rows)


def _cost(folder: Path, params: Params) -> str:
    """Energy is a column where any of the runs counted it."""
    took = spent(folder, _before(params))
    if not took:
        return "<p class='quiet'>The stages kept no time.</p>"
    counted = any(each.joules for each in took.values())
    rows = [[name, duration(each.seconds), *([each.energy or "–"] if counted else [])] for name, each in took.items()]
    note = COUNTED if counted else "No counter of energy could be read where they ran."
    return page.table(["stage", "time", *(["energy"] if counted else [])], rows) + f"<p class='quiet'>{note}</p>"


def _before(params: Params) -> list[str]:
    """The runs of this result but for evaluate, which is still running."""
    return [name for name in runs_of(params) if name != "evaluate"]


def _lineage(folder: Path, params: Params) -> str:
    records = {name: record_of(folder, name) for name in _before(params)}
    rows = [[name, _run(record), record.get("tracking_uri") or ""] for name, record in records.items() if record]
    outside = {key: digest for record in records.values() for key, digest in record.get("outside", {}).items()}
    brought = page.table(["from outside", "digest of the content"], [[k, d[:12]] for k, d in outside.items()])
    written = folder / "params.yaml"
    text = (
        yaml.safe_dump(yaml.safe_load(written.read_text(encoding="utf-8")), sort_keys=False)
        if written.is_file()
        else "no params.yaml"
    )
    folded = f"<details><summary>Parameters</summary><pre>{page.text(text)}</pre></details>"
    return page.table(["stage", "MLflow run", "store"], rows) + (brought if outside else "") + folded


def _run(record: Mapping[str, Any]) -> str:
    """The id of a stage's run; a store that was slow to answer gave none when the stage ended."""
    return record.get("run_id") or (
        "not there yet when the stage ended" if record.get("tracking_uri") else "not tracked"
    )


def _or_missing(build: Callable[[], str]) -> str:
    try:
        return build()
    except FileNotFoundError as error:
        return f"<p class='quiet'>There is no {page.text(error.filename or error)}: its stage has not run here.</p>"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
