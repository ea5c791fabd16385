"""The same events into Weights & Biases, replayed once the run has ended; imported only where params.yaml asks."""

import http.client
import netrc
import os
import re
import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from winnow.system.addresses import read_address
from winnow.tracking.spool import Reader, state_of

MODES = ("online", "offline", "shared", "disabled", "dryrun", "run")  # the last two are old names of the first two
AT_HOME = ("offline", "dryrun", "disabled")
PATIENCE = 3.0  # seconds for wandb's server to answer at all


def logged_in() -> bool:
    """Whether there is a key in WANDB_API_KEY or ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = read_address(_server(), "WANDB_BASE_URL").host.partition(":")[0]
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def mirror(reader: Reader, run_id: str, parent_id: str) -> str:
    """One wandb run with the id of the MLflow run, in the group of its pipeline run; offline without a login.

    Returns what went otherwise than asked, in a sentence: "" where nothing did.
    """
    mode = os.environ.get("WANDB_MODE", "").strip() or ("online" if logged_in() else "offline")
    if mode not in MODES:
        return f"WANDB_MODE takes {', '.join(MODES)}, not {mode!r}: the run was not mirrored to wandb"
    told = ""
    if mode not in AT_HOME and (why := _away()):
        told = f"wandb does not answer ({why}): the run is in .winnow/wandb, send it with `wandb sync`"
        mode = "offline"
    _replay(reader, run_id, parent_id, mode)
    return told


def _away() -> str | None:
    """Why wandb's server cannot be reached; wandb itself would try for a minute and a half at each stage."""
    try:
        with urllib.request.urlopen(_server(), timeout=PATIENCE):
            return None
    except urllib.error.HTTPError:
        return None  # it is there
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):  # wandb has settings of its own for certificates
            return None
        return str(getattr(reason, "strerror", None) or reason).lower()


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "").strip() or "https://api.wandb.ai"


def _replay(reader: Reader, run_id: str, parent_id: str, mode: Any) -> None:
    import wandb

    start = reader.start()
    state = state_of(reader.folder)
    run = wandb.init(
        id=run_id, name=start["stage"], group=start["title"], job_type=start["stage"], project=start["experiment"],
        config=start["params"], tags=[start["pipeline_id"]], dir=str(state), save_code=False,
        mode=mode,
        settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True, init_timeout=20),
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
