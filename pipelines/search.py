"""Stage search: reads splits weights and arch; writes artifacts/search and curves.

A strategy that trains a supernet leaves supernet.safetensors and logits.json there, strategy trials trials.parquet.
"""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

import shutil
from pathlib import Path

from winnow.config.params import Params
from winnow.proxies import proxy
from winnow.run import files
from winnow.run.checkpoint import checkpoints
from winnow.run.controls import check_comparison
from winnow.run.dry import try_search
from winnow.run.limits import check_limits
from winnow.run.progress import Shown
from winnow.run.search_trials import search_by_trials
from winnow.run.supernet import about, trained
from winnow.run.trials import CURVE
from winnow.run.work import Work, working
from winnow.train.checkpoint import Keeper

WEIGHTS = ("epoch", "decision", "option", "weight")


def main(params: Params, folder: Path) -> None:
    with working("search", params, folder, splits=("weights", "arch"), upstream=("prepare",)) as work:
        try_search(params, folder, work.device)
        check_limits(params, folder)
        check_comparison(params, folder, work.say)
        shutil.rmtree(folder / files.SEARCH, ignore_errors=True)  # what another strategy left
        for name, columns in (("search", ("epoch", "train_loss")), ("weights", WEIGHTS), ("trials", CURVE)):
            files.write_rows(folder / files.REPORTS / f"{name}.csv", [], columns)  # a strategy fills those that it has
        with checkpoints(work) as keeper:
            metrics = _found(work, keeper)
            files.write_json(folder / files.REPORTS / "search.json", metrics)
        work.say(f"  wrote {files.SEARCH}; next: winnow select")


def _found(work: Work, keeper: Keeper) -> dict[str, float | str]:
    """Do what the strategy does; its numbers."""
    search = work.params.search
    if search.strategy == "training_free":
        return _nothing_trained(work)
    if search.strategy != "trials":
        return train_supernet(work, search.strategy, keeper)
    inherited = train_supernet(work, "spos", keeper) if search.trials.evaluator == "inherited" else {}
    return inherited | search_by_trials(work)


def _nothing_trained(work: Work) -> dict[str, float | str]:
    settings = work.params.search.training_free
    for name in settings.proxies:
        proxy(name)  # refused here rather than in the next stage
    files.write_json(work.folder / files.SEARCH / "untrained.json", settings.model_dump())
    work.say("strategy training_free trains nothing: selection scores untrained networks")
    return {}


def train_supernet(work: Work, strategy: str, keeper: Keeper) -> dict[str, float | str]:
    """Train a supernet of the space by `strategy` and write it; the numbers of its last epoch."""
    folder, params = work.folder, work.params
    with Shown(work.run) as shown:
        space, logits, watch = trained(work, strategy, shown, keeper)
    files.write_tensors(folder / files.SUPERNET, space.state_dict(), about(params, space, strategy))
    vectors = {} if logits is None else {name: vector.tolist() for name, vector in logits.items()}
    options = {name: list(space.decisions[name].options) for name in vectors}
    moments = {} if logits is None else logits.moments
    files.write_json(folder / files.LOGITS, {"options": options, "logits": vectors, "moments": moments})
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
    if watch is not None and watch.unmeasured:
        work.say(f"  no eigenvalue among the signs of collapse: {watch.unmeasured}")
    collapse = f"{watch.alarm}, since epoch {watch.since}" if watch is not None and watch.alarm else ""
    if collapse:
        work.run.tag("winnow.collapse", collapse)
        work.say(f"[bold red]  collapse: {collapse}[/bold red]; select with perturbation, or search with beta_darts")
    return {**metrics, "collapse": collapse}


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("search")
