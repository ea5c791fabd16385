"""Versions of the registered model and their aliases: `candidate` is what the last evaluation left, `champion` is used.

Imports MLflow, so it is imported only where a command needs it.
"""

from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from winnow.core.errors import Refused
from winnow.system.addresses import public
from winnow.tracking.answers import checked, one_line
from winnow.tracking.begin import Tracking
from winnow.tracking.local import create_local_store
from winnow.tracking.store import choose_uri, local_uri, locked, state_folder

CANDIDATE, CHAMPION = "candidate", "champion"


def promote(root: Path, tracking: Tracking, version: str, tags: Mapping[str, str]) -> str | None:
    """Make `version` of the registered model, which must be the candidate, the champion; returns the version before.

    `tags` are kept with the version and say why. Refused where the store does not answer or has no such candidate.
    """
    state = state_folder(root)
    uri = choose_uri(tracking.uri, state)
    name = tracking.registered_model
    if uri == local_uri(state) and not (state / "mlflow.db").is_file():
        raise Refused("there are no runs yet, and so no candidate: run `make repro` with tracking.enabled first")
    if uri != local_uri(state):
        checked(uri, public(uri))
    with locked(state / "tracking.lock"):
        if uri == local_uri(state):
            create_local_store(state)
        client = MlflowClient(uri)
        candidate, before = _version(client, name, CANDIDATE), _version(client, name, CHAMPION)
        if candidate is None:
            raise Refused(f"model {name!r} has no version with the alias {CANDIDATE!r}: run `winnow evaluate` first")
        if candidate != version:
            raise Refused(
                f"the metrics here are of version {version} of model {name!r}, the candidate is version {candidate}: "
                "check out the commit that made the candidate, or run `winnow evaluate` again"
            )
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        client.set_registered_model_alias(name, CHAMPION, version)
    return before


def _version(client: MlflowClient, name: str, alias: str) -> str | None:
    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, no such alias
            return None
        raise Refused(f"the model registry does not answer: {one_line(error)}") from error
