"""The same events into Weights & Biases, replayed once the run has ended; imported only where params.yaml asks."""

import netrc
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from winnow.stage.tracking.spool import Reader, state_of


def logged_in() -> bool:
    """Whether there is a key in WANDB_API_KEY or ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def mirror(reader: Reader, run_id: str, parent_id: str) -> None:
    """One wandb run with the id of the MLflow run, in the group of its pipeline run; offline without a login."""
    import wandb

    start = reader.start()
    state = state_of(reader.folder)
    run = wandb.init(
        id=run_id, name=start["stage"], group=start["title"], job_type=start["stage"], project=start["experiment"],
        config=start["params"], tags=[start["pipeline_id"]], dir=str(state), save_code=False,
        mode=os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline"),
        settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
    )  # fmt: skip
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    run.config.update({"mlflow_run_id": run_id, "mlflow_parent_run_id": parent_id, "environment": start["environment"]})
    status = "KILLED"
    for _, event in reader.since(0):
        _say(run, event, reader.folder)
        status = event["status"] if event["kind"] == "end" else status
    run.finish(exit_code=0 if status == "FINISHED" else 1)


def _say(run: Any, event: dict[str, Any], folder: Path) -> None:
    if event["kind"] == "metrics":
        run.log({**event["values"], "epoch": event["step"]})
    elif event["kind"] == "summary":
        run.summary.update(event["values"])
        run.notes = event["note"] or run.notes
    elif event["kind"] == "tags":
        run.config.update(
            {re.sub(r"\W", "_", name): value for name, value in event["values"].items()}, allow_val_change=True
        )
    elif event["kind"] == "artifact":
        place = Path(run.dir) / event["folder"]  # wandb would only link to the spool, which goes away
        place.mkdir(parents=True, exist_ok=True)
        run.save(shutil.copy(folder / event["file"], place), base_path=run.dir, policy="now")
