"""Stage search: reads splits weights and arch; writes artifacts/search and curves.

A strategy that trains a supernet leaves supernet.safetensors and logits.json there, strategy trials trials.parquet.
"""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

import shutil
from pathlib import Path

from winnow.config.methods import trainer
from winnow.config.params import Params
from winnow.run import files
from winnow.run.checkpoint import checkpoints
from winnow.run.controls import check_comparison
from winnow.run.dry import try_search
from winnow.run.federation import check_clients
from winnow.run.front import check_front
from winnow.run.limits import check_limits
from winnow.run.processes import together
from winnow.run.progress import Shown
from winnow.run.search_trials import search_by_trials
from winnow.run.start import check_start
from winnow.run.supernet import WEIGHTS, trained, write_supernet
from winnow.run.trials import CURVE
from winnow.run.work import Work, working
from winnow.system.launched import Launch
from winnow.train.checkpoint import Keeper


def main(params: Params, folder: Path, launch: Launch | None = None) -> None:
    with working("search", params, folder, splits=("weights", "arch"), upstream=("prepare",)) as work:
        try_search(params, folder, work.device)
        check_limits(params, folder)
        check_front(params, folder)
        check_start(params, folder)
        check_comparison(params, folder, work.say)
        check_clients(params, work.split)
        shutil.rmtree(folder / files.SEARCH, ignore_errors=True)  # what another strategy left
        for name, columns in (("search", ("epoch", "train_loss")), ("weights", WEIGHTS), ("trials", CURVE)):
            files.write_rows(folder / files.REPORTS / f"{name}.csv", [], columns)  # a strategy fills those that it has
        with checkpoints(work) as keeper:
            files.write_json(folder / files.REPORTS / "search.json", _found(work, keeper, launch))
        work.say(f"  wrote {files.SEARCH}; next: winnow select")


def _found(work: Work, keeper: Keeper, launch: Launch | None) -> dict[str, float | str]:
    """Do what the strategy does; its numbers."""
    metrics = _searched(work, keeper, launch)
    if trainer(work.params)[0] != work.params.search.strategy:  # whose trials inherit from what was trained
        metrics |= search_by_trials(work)
    return metrics


def _searched(work: Work, keeper: Keeper, launch: Launch | None) -> dict[str, float | str]:
    """Search the space by the strategy that trains, and write what it found; the numbers of its last epoch."""
    with Shown(work.run) as shown, together(work, keeper, launch=launch):
        found, watch = trained(work, shown, keeper)
    name = trainer(work.params)[0]
    if not found.trained:
        if not found.metrics:
            work.say(f"strategy {name} trains nothing: selection scores untrained networks")
        return dict(found.metrics)
    write_supernet(work, found, shown)
    last = shown.rows[-1] if shown.rows else {}
    metrics = {key: value for key, value in last.items() if key not in ("epoch", "lr")} | dict(found.metrics)
    told = ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())
    work.say(f"trained a supernet of {work.params.space.name} with {name}: {told}")
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
