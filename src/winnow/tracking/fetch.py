"""The files of a pipeline run that ended, out of the tracking store. Imports MLflow: imported where a command asks."""

import shutil
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.exceptions import MlflowException

from winnow.core.errors import Refused
from winnow.system.addresses import public
from winnow.tracking.answers import checked, one_line
from winnow.tracking.begin import Tracking
from winnow.tracking.local import create_local_store
from winnow.tracking.store import choose_uri, local_uri, locked, state_folder

PIPELINES = "tags.`winnow.stage` = 'pipeline'"
SHOWN = 5  # names told where none fits
FILES = {"evaluate": ("evaluate.json", "params.json"), "select": ("architecture.json", "drawings/architecture.svg")}


def fetched(root: Path, tracking: Tracking, name: str, to: Path) -> dict[str, Any]:
    """Write the files of pipeline run `name` (or of that id) into `to`; `seconds` by stage, and `test`, its digest.

    Refused where the store does not answer, has no such run or several, or the run has no finished stage evaluate.
    """
    state = state_folder(root)
    uri = choose_uri(tracking.uri, state)
    if uri == local_uri(state) and not (state / "mlflow.db").is_file():
        raise Refused(f"no folder {name!r}, and there are no runs yet in the tracking store of {root.resolve()}")
    if uri != local_uri(state):
        checked(uri, public(uri))
    else:
        with locked(state / "tracking.lock"):
            create_local_store(state)
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    client = MlflowClient(uri)
    try:
        return _fetched(client, tracking.experiment, name, to)
    except MlflowException as error:
        raise Refused(f"the tracking store does not tell of {name!r}: {one_line(error)}") from error


def _fetched(client: MlflowClient, experiment: str, name: str, to: Path) -> dict[str, Any]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise Refused(f"no folder {name!r}, and the tracking store has no experiment {experiment!r}")
    run = _pipeline(client, found.experiment_id, name)
    below = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    stages = {
        each.data.tags.get("winnow.stage", ""): each
        for each in client.search_runs([found.experiment_id], below, order_by=["start_time ASC"])
        if "winnow.superseded" not in each.data.tags and each.info.status == "FINISHED"
    }
    if "evaluate" not in stages:
        raise Refused(f"{name} is not finished: its run has no stage evaluate that ended well")
    for stage, paths in FILES.items():
        for path in paths if stage in stages else ():
            _download(client, stages[stage].info.run_id, path, to)
    seconds = {stage: (each.info.end_time - each.info.start_time) / 1000 for stage, each in stages.items()}
    inputs = stages["evaluate"].inputs
    tests = [each for each in inputs.dataset_inputs if each.dataset.name == "test"] if inputs else []
    digests = [tag.value for each in tests for tag in each.tags if tag.key == "winnow.digest"]
    return {"seconds": seconds, "test": {"rows": digests[0]} if digests else {}}


def _pipeline(client: MlflowClient, experiment: str, name: str) -> Run:
    runs, token = list[Run](), None
    while True:
        page = client.search_runs([experiment], PIPELINES, order_by=["start_time DESC"], page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    found = [run for run in runs if name in (run.info.run_name, run.info.run_id)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(run.info.run_id for run in found)
        raise Refused(f"{len(found)} runs are called {name!r}: name one by its id, of {ids}")
    last = "; ".join(str(run.info.run_name) for run in runs[:SHOWN]) or "none"
    raise Refused(f"no folder and no pipeline run {name!r}; the last ones are {last}")


def _download(client: MlflowClient, run: str, path: str, to: Path) -> None:
    """By its name alone; nothing where the run has no such file."""
    folder, _, name = path.rpartition("/")
    if path not in [each.path for each in client.list_artifacts(run, folder or None)]:
        return
    local = Path(client.download_artifacts(run, path, str(to)))
    if local != to / name:  # folders on the way are kept by some stores
        shutil.copyfile(local, to / name)
