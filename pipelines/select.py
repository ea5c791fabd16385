"""Stage select: reads the supernet and splits; writes architecture.json, what networks begin with, and evidence.

The first of `select.methods` decides. Every method starts from the same frozen supernet; a table shows where they
differ.
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
from winnow.run import files
from winnow.run.benches import SPLITS, Benches
from winnow.run.checkpoint import checkpoints
from winnow.run.draw import draw_architecture, save
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
        choices, evidence = _select(benches)
        _write(work, benches, {method: Architecture.of(chosen) for method, chosen in choices.items()}, evidence)


def _select(benches: Benches) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The choices of each method, and all their evidence."""
    choices: dict[str, dict[str, Any]] = {}
    evidence: list[dict[str, Any]] = []
    select = benches.params.select
    methods = select.methods
    for number in benches.keeper.rounds(len(methods), "method", choices=choices, evidence=evidence):
        method = methods[number]
        seed = derived(benches.params.seed, "select", method)
        bench = benches.bench(seed)
        with seeded(seed):
            arch, rows = selection(method).run(bench, select.chosen(method))
        choices[method] = dict(arch.choices)
        evidence += [{"method": method, **row} for row in rows]
    return choices, evidence


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
    methods = {}
    for method, arch in found.items():
        params_count, macs = benches.cost(arch)
        benches.limits.refuse(f"{method} chose {arch.digest}, which", {"params": params_count, "macs": macs})
        methods[method] = {
            "digest": arch.digest,
            "inherited_accuracy": metric.sign * bench.score(arch) if benches.tensors is not None else None,
            "params": params_count,
            "macs": macs,
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
        metrics[method] = {key: row[key] for key in ("inherited_accuracy", "params", "macs")} | (row["table"] or {})
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
        work.say(f"  limits: {benches.limits}")
    for method, row in methods.items():
        true = {name: value for name, value in (row["table"] or {}).items() if not name.endswith("_beats")}
        table = "".join(
            f", {name} {value:.2f} (beats {row['table'][f'{name}_beats']:.1f} % of cells)"
            for name, value in true.items()
        )
        known = row["inherited_accuracy"] is not None
        inherited = f"inherited {work.task.metric} {metric.text(row['inherited_accuracy'])}, " if known else ""
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
    from winnow.cli.main import run_stage

    run_stage("select")
