"""What a store answers, asked by MLflow's own client, with whatever settings, plug-ins and drivers that has.

Imports MLflow: for the shipper, and for commands that talk to the store themselves.
"""

import errno
import re
import threading
from typing import Any

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from winnow.core.errors import Refused
from winnow.system.addresses import redact

PATIENCE, DATABASE_PATIENCE = 8.0, 20.0  # seconds for the answer to one question
DATABASES = ("postgresql", "mysql", "mssql", "sqlite")
PASSING = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED",
           "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "INVALID_STATE")  # fmt: skip
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_MLFLOW = "something answers there, but it is not MLflow"
LONGEST = 300  # characters of what somebody else says


def trouble(uri: str) -> str | None:
    """Why MLflow gets nowhere at this address, in a few words; None where the store answers. Takes some seconds."""
    told: list[str | None] = []
    database = _database(uri)
    patience = DATABASE_PATIENCE if database else PATIENCE
    question = threading.Thread(target=lambda: told.append(_ask(uri, database)), daemon=True)
    question.start()  # a thread, since no setting of MLflow limits a whole question, and some drivers know no limit
    question.join(patience)
    return told[0] if told else f"no answer within {patience:g} seconds"


def transient(error: BaseException) -> bool:
    """Whether the same may get through later: the store is away, busy or full. Else it was refused, for good."""
    status = _status(error)
    if status is not None:
        return status in (408, 425, 429) or (status >= 500 and status != 501)
    if isinstance(error, MlflowException):
        return error.error_code in PASSING
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return isinstance(error, (ConnectionError, TimeoutError)) or error.errno in NO_ROOM
    # databases, object stores: drivers have classes of their own, and names in common
    words = f"{type(error).__name__} {error}"
    return re.search(r"(?i)connect|timed? ?out|timeout|unavailable|throttl|operationalerror|locked", words) is not None


def reason(error: BaseException) -> str:
    """What went wrong, in one line without secrets."""
    status, text = _status(error), str(error)
    if status in (401, 403) and "Response body" in text:
        return "it does not accept our credentials"
    if status == 404 and "Response body" in text:
        return NOT_MLFLOW
    if found := re.search(r"too many (\d+) error responses|error code (\d{3}) .*Response body: '\s*<", text, re.S):
        return f"it answers HTTP {found[1] or found[2]}"  # with a page, which tells nothing in its first line
    if "not in a valid JSON" in text or "BadStatusLine" in text or "IncompleteRead" in text:
        return NOT_MLFLOW
    if isinstance(error, MlflowException) and "failed with exception" in text:
        if "NameResolutionError" in text:
            return "there is no host of this name"
        for pattern in (r"\[Errno -?\d+\] ([\w ]+)", r"(certificate verify failed[^(\"']*)"):
            if found := re.search(pattern, text):
                return found[1].strip(" :").lower()
    return one_line(error)


def one_line(error: BaseException) -> str:
    """The first line of what somebody else's exception says, without secrets."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return redact(lines[0].strip() if lines else type(error).__name__)[:LONGEST]


def checked(uri: str, shown: str) -> None:
    """Refused where the store does not answer."""
    if told := trouble(uri):
        raise Refused(f"the tracking server {shown} cannot be used: {told}")


def _database(uri: str) -> bool:
    return uri.partition("://")[0].partition("+")[0] in DATABASES


def _ask(uri: str, database: bool) -> str | None:
    try:
        if database:  # MLflow's store would try ten times in two minutes, and set up its tables
            from mlflow.store.db.utils import create_sqlalchemy_engine

            engine = create_sqlalchemy_engine(uri)
            engine.connect().close()
            engine.dispose()
        else:  # one search for one experiment tells that it is MLflow, and that it lets us in
            MlflowClient(uri).search_experiments(max_results=1)
    except Exception as error:  # whatever MLflow, a plug-in or a driver raises
        return reason(error)
    return None


def _status(error: Any) -> int | None:
    """The status of an HTTP answer, where there was one."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return int(error.response.status_code)
    if isinstance(error, MlflowException):
        found = re.search(r"failed with error code (\d{3})|too many (\d{3}) error responses", str(error))
        if found:
            return int(found[1] or found[2])
    if status := getattr(error, "response", None):  # boto's exceptions
        return status.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(status, dict) else None
    return None
