"""Stage search: reads splits weights and arch; writes artifacts/search and curves.

A strategy that trains a supernet leaves supernet.safetensors and logits.json there, strategy trials trials.parquet.
"""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

import shutil
from pathlib import Path

from winnow.pipelines.search_trials import search_by_trials
from winnow.pipelines.supernet import about, trained
from winnow.stage import files
from winnow.stage.params import Params
from winnow.stage.progress import Shown
from winnow.stage.study import CURVE
from winnow.stage.work import Work, working

WEIGHTS = ("epoch", "decision", "option", "weight")


def main(params: Params, folder: Path) -> None:
    with working("search", params, folder, splits=("weights", "arch"), upstream=("prepare",)) as work:
        shutil.rmtree(folder / files.SEARCH, ignore_errors=True)  # what another strategy left
        inherits = params.search.strategy == "trials" and params.search.trials.evaluator == "inherited"
        metrics: dict[str, float | str] = {}
        if params.search.strategy != "trials" or inherits:
            metrics = train_supernet(work, "spos" if inherits else params.search.strategy)
        else:
            files.write_rows(folder / files.REPORTS / "search.csv", [], ("epoch", "train_loss"))
            files.write_rows(folder / files.REPORTS / "weights.csv", [], WEIGHTS)
        if params.search.strategy == "trials":
            metrics |= search_by_trials(work)
        else:
            files.write_rows(folder / files.REPORTS / "trials.csv", [], CURVE)
        files.write_json(folder / files.REPORTS / "search.json", metrics)
        work.say(f"  wrote {files.SEARCH}; next: winnow select")


def train_supernet(work: Work, strategy: str) -> dict[str, float | str]:
    """Train a supernet of the space by `strategy` and write it; the numbers of its last epoch."""
    folder, params = work.folder, work.params
    with Shown(work.run) as shown:
        space, logits, watch = trained(work, strategy, shown)
    files.write_tensors(folder / files.SUPERNET, space.state_dict(), about(params, space, strategy))
    vectors = {} if logits is None else {name: vector.tolist() for name, vector in logits.items()}
    options = {name: list(space.decisions[name].options) for name in vectors}
    files.write_json(folder / files.LOGITS, {"options": options, "logits": vectors})
    files.write_rows(folder / files.REPORTS / "search.csv", shown.rows)
    rows = [
        {"epoch": row["epoch"], "decision": row["decision"], "option": option, "weight": weight}
        for row in shown.weights
        for option, weight in zip(space.decisions[row["decision"]].options, row["weights"], strict=True)
    ]
    files.write_rows(folder / files.REPORTS / "weights.csv", rows, WEIGHTS)
    metrics = {name: value for name, value in shown.rows[-1].items() if name not in ("epoch", "lr")}
    for path in (files.SUPERNET, files.LOGITS, files.REPORTS / "search.csv", files.REPORTS / "weights.csv"):
        work.run.artifact(folder / path)
    if shown.weights:
        work.picture("mixture_weights", "weights_over_time", rows)
    told = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    work.say(f"trained a supernet of {params.space.name} with {strategy}: {told}")
    collapse = f"{watch.alarm}, since epoch {watch.since}" if watch is not None and watch.alarm else ""
    if collapse:
        work.run.tag("winnow.collapse", collapse)
        work.say(f"[bold red]  collapse: {collapse}[/bold red]; select with perturbation, or search with beta_darts")
    return {**metrics, "collapse": collapse}


if __name__ == "__main__":
    from winnow.cli import run_stage

    run_stage("search")
