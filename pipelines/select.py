"""Stage select: reads the supernet and splits; writes architecture.json, what networks begin with, and evidence.

The first of `select.methods` decides. Every method starts from the same frozen supernet; a table shows where they
differ. For each entry of `select.front` the first decides once more, within the limits of that entry.
"""

if __name__ == "__main__":  # a script's folder heads the path, where this file would hide Python's own `select`
    import sys

    sys.path.pop(0)

from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.config.methods import selection
from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.measure import cost
from winnow.run import files
from winnow.run.benches import SPLITS, Benches
from winnow.run.checkpoint import checkpoints
from winnow.run.draw import draw_architecture, save
from winnow.run.front import front_limits, said
from winnow.run.limits import Limits
from winnow.run.outside import resolved
from winnow.run.start import write_start
from winnow.run.table import true_accuracy
from winnow.run.work import Work, working
from winnow.train.seeds import derived, seeded

EVIDENCE = pa.schema(
    [
        ("method", pa.string()),
        ("event", pa.int32()),  # projection (perturbation) or generation (evolution)
        ("decision", pa.string()),
        ("option", pa.string()),  # the option masked, or the digest of the architecture evaluated
        ("accuracy", pa.float64()),  # percent
        ("loss", pa.float64()),
        ("score", pa.float64()),  # of untrained networks; comparable within one method
        ("kept", pa.bool_()),
    ]
)


def main(params: Params, folder: Path) -> None:
    with (
        working("select", params, folder, splits=SPLITS, upstream=("prepare", "search")) as work,
        checkpoints(work, files.SUPERNET, files.LOGITS, files.TRIALS) as keeper,
    ):
        benches = Benches(work, keeper)
        benches.limits.check()
        menu = front_limits(params, folder, benches.final)
        choices, evidence = _select(benches, menu)
        found = {method: Architecture.of(chosen) for method, chosen in choices.items()}
        entries = [found.pop(_named(params, i)) for i in range(len(menu))]
        _write(work, benches, found, evidence)
        _write_front(work, benches, list(zip(entries, menu, strict=True)))
        work.say(f"  wrote {files.ARCHITECTURE}; next: winnow tune")


def _select(benches: Benches, menu: list[Limits]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The choices of each method, and of the first once more within each of `menu`; and all their evidence.

    The first draws from the same seed each time: an entry is what a run with those limits alone would choose.
    """
    choices: dict[str, dict[str, Any]] = {}
    evidence: list[dict[str, Any]] = []
    known: dict[str, float] = {}  # of the first
    select, first = benches.params.select, benches.params.select.methods[0]
    runs: list[tuple[str, str, Limits | None]] = [(method, method, None) for method in select.methods]
    runs += [(_named(benches.params, i), first, limits) for i, limits in enumerate(menu)]
    for number in benches.keeper.rounds(len(runs), "method", choices=choices, evidence=evidence, known=known):
        name, method, limits = runs[number]
        seed = derived(benches.params.seed, "select", method)
        bench = benches.bench(seed, limits, known if method == first else None)
        with seeded(seed):
            arch, rows = selection(method).run(bench, select.chosen(method))
        choices[name] = dict(arch.choices)
        evidence += [{"method": name, **row} for row in rows]
    return choices, evidence


def _named(params: Params, entry: int) -> str:
    """What an entry of the front is called among methods."""
    return f"{params.select.methods[0]}, {said(params.select.front[entry])}"


def _write_front(work: Work, benches: Benches, menu: list[tuple[Architecture, Limits]]) -> None:
    bench, metric, rows = benches.bench(work.params.seed), work.task.first, []
    wide = max((len(said(entry)) for entry in work.params.select.front), default=0)
    for entry, (arch, limits) in zip(work.params.select.front, menu, strict=True):
        size = benches.cost(arch)
        limits.refuse(f"{said(entry)}: {arch.digest} was chosen, which", size, arch)
        score = metric.sign * bench.score(arch) if benches.tensors is not None else None
        row = {"digest": arch.digest, "inherited_accuracy": score, **size}
        told = {"limits": entry, "within": limits.describe(), "bounds": limits.record()}
        rows.append({**told, **row, "choices": dict(arch.choices)})
        known = "" if score is None else f"inherited {work.task.metric} {metric.text(score)}, "
        work.say(f"  {said(entry):<{wide}}  {arch.digest}  {known}{cost.said(size)}")
        for remark in limits.remarks():
            work.say(f"    {remark}")
    files.write_json(work.folder / files.FRONT, rows)
    work.run.artifact(work.folder / files.FRONT)


def disagreements(found: dict[str, Architecture]) -> list[dict[str, Any]]:
    """One row a decision that any method reached; a decision out of a method's reach is empty."""
    names = sorted(set().union(*found.values()))
    rows = []
    for name in names:
        answers = {method: arch.get(name, "") for method, arch in found.items()}
        shown = {m: "+".join(map(str, a)) if isinstance(a, tuple) else str(a) for m, a in answers.items()}
        rows.append({"decision": name, **shown, "agree": len(set(shown.values())) == 1})
    return rows


def _table(work: Work, arch: Architecture) -> dict[str, float] | None:
    path = work.params.select.table
    return None if path is None else true_accuracy(resolved(work.folder, path, "select.table"), arch)


def _write(work: Work, benches: Benches, found: dict[str, Architecture], evidence: list[dict[str, Any]]) -> None:
    folder, params = work.folder, work.params
    chosen, bench, metric = params.select.methods[0], benches.bench(params.seed), work.task.first
    methods: dict[str, dict[str, Any]] = {}
    for method, arch in found.items():
        size = benches.cost(arch)
        benches.limits.refuse(f"{method} chose {arch.digest}, which", size, arch)
        methods[method] = {
            "digest": arch.digest,
            "inherited_accuracy": metric.sign * bench.score(arch) if benches.tensors is not None else None,
            **size,
            "table": _table(work, arch),
            "choices": dict(arch.choices),
        }
    rows = disagreements(found)
    arch = found[chosen]
    files.write_architecture(folder / files.ARCHITECTURE, arch, benches.space, params.space.name)
    write_start(params, folder, benches.tensors)
    files.write_json(folder / files.SELECTIONS, {"chosen": chosen, "methods": methods, "disagreements": rows})
    files.write_table(folder / files.EVIDENCE, evidence, EVIDENCE)
    files.write_rows(folder / files.REPORTS / "select.csv", rows)
    agreement = 100 * sum(row["agree"] for row in rows) / len(rows)
    metrics = {"agreement": agreement} | ({"limits": benches.limits.record()} if benches.limits else {})
    for method, row in methods.items():
        told = {key: row[key] for key in ("inherited_accuracy", "params", "macs", "bitops") if key in row}
        metrics[method] = told | (row["table"] or {})
    files.write_json(folder / files.REPORTS / "select.json", metrics)
    drawing = folder / files.REPORTS / "architecture.svg"
    save(draw_architecture(benches.space, arch), drawing)
    flat = {
        f"{m}.{k}": v for m, row in metrics.items() if isinstance(row, dict) for k, v in row.items() if v is not None
    }
    work.run.metrics({"agreement": agreement, **flat})
    work.run.tag("winnow.architecture", arch.digest)
    for path in (files.ARCHITECTURE, files.SELECTIONS, files.EVIDENCE, files.REPORTS / "select.csv"):
        work.run.artifact(folder / path)
    work.run.artifact(drawing, "drawings")
    if benches.limits:
        for line in (f"limits: {benches.limits}", *benches.limits.remarks()):
            work.say(f"  {line}")
    for method, row in methods.items():
        true = {name: value for name, value in (row["table"] or {}).items() if not name.endswith("_beats")}
        table = "".join(
            f", {name} {value:.2f} (beats {row['table'][f'{name}_beats']:.1f} % of cells)"
            for name, value in true.items()
        )
        known = row["inherited_accuracy"] is not None
        inherited = f"inherited {work.task.metric} {metric.text(row['inherited_accuracy'])}, " if known else ""
        mark = "→" if method == chosen else " "
        work.say(f"{mark} {method:<13} {row['digest']}  {inherited}{cost.said(row)}{table}")
    differing = [row["decision"] for row in rows if not row["agree"]]
    if len(found) > 1:
        work.say(
            f"  {len(differing)} of {len(rows)} decisions differ" + (f": {', '.join(differing)}" if differing else "")
        )


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("select")
