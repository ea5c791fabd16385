"""The record of a study: an Optuna storage with one driver, which any Optuna tool can read while it grows."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from winnow.core.errors import Refused
from winnow.system.addresses import read_address, redact
from winnow.trials.journal import Journal, drop_stale_lock, mend, only_driver
from winnow.trials.outcome import Outcome
from winnow.trials.plan import Plan
from winnow.trials.view import finish, quiet

FORMAT = "winnow.trials/1"
PLAN, OUTCOME = "winnow.plan", "winnow"
PATIENCE = 1.0  # seconds in which a server notices that a killed driver is gone
LOCK = "SELECT pg_try_advisory_lock(hashtext(:study))"
HOLDER = """
    SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objid::bigint = hashtext(:study)::bigint & 4294967295
"""
ANEW = "to start anew, give the study another name or remove its storage"


class Record:
    """Trials of one study by number. A trial is there, RUNNING, once begun; it ends with one line."""

    def __init__(self, storage: BaseStorage, name: str, plan: Plan, search: str, evaluator: Any):
        self.storage, self.plan = storage, plan
        described = {"format": FORMAT, "search": search, "evaluator": evaluator, **plan.described()}
        self.id = _study(storage, name, plan, described)
        trials = storage.get_all_trials(self.id)
        self.ids = [trial._trial_id for trial in trials]
        self.begun = trials  # as they were when the study was opened

    def begin(self, trial: FrozenTrial) -> None:
        self.ids.append(self.storage.create_new_trial(self.id, trial))

    def end(self, number: int, outcome: Outcome, notes: Mapping[str, Any]) -> None:
        trial_id = self.ids[number]
        self.storage.set_trial_user_attr(trial_id, OUTCOME, {**outcome.described(), "notes": dict(notes)})
        finish(self.storage, trial_id, self.plan, outcome, notes)


def begun_as(trial: FrozenTrial) -> FrozenTrial:
    """What `begin` was given of a recorded trial, whatever became of it."""
    _, notes = ended_as(trial)
    made = optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={name: value for name, value in trial.user_attrs.items() if name != OUTCOME},
        system_attrs={
            name: value
            for name, value in trial.system_attrs.items()
            if name not in notes and not name.startswith("constraints")
        },
    )
    made.number, made.datetime_start = trial.number, trial.datetime_start
    return made


def ended_as(trial: FrozenTrial) -> tuple[Outcome | None, dict[str, Any]]:
    """The outcome and notes of a recorded trial; None where it did not end."""
    attrs = trial.user_attrs.get(OUTCOME)
    if attrs is None or not trial.state.is_finished():
        return None, dict((attrs or {}).get("notes", {}))
    described = dict(attrs)
    notes = described.pop("notes")
    return Outcome.of(described), notes


@contextlib.contextmanager
def opened(where: str, name: str, plan: Plan, search: str, evaluator: Any) -> Iterator[Record]:
    """The record of study `name` at `where`, a journal file's path or a database URL, for its only driver.

    Refused where another driver has it, where it cannot be reached, or where it was begun with another plan.
    """
    if "://" in where:
        with _database(where) as storage, _owned(storage, where, name):
            yield Record(storage, name, plan, search, evaluator)
        return
    path = Path(where)
    with only_driver(path.with_name(f"{path.name}.driver"), f"the study in {path}"):
        try:
            drop_stale_lock(path)
            mend(path)
            storage = JournalStorage(Journal(path))
        except OSError as error:
            raise Refused(f"{path} cannot be opened as a journal: {error.strerror}") from error
        yield Record(storage, name, plan, search, evaluator)


@contextlib.contextmanager
def _database(url: str) -> Iterator[BaseStorage]:
    from optuna.storages._rdb.models import NOT_FOUND_MSG
    from sqlalchemy.exc import DBAPIError

    shown, dialect = public(url)
    me = {"application_name": f"winnow, process {os.getpid()} on {socket.gethostname()}"}
    try:
        more = {"connect_args": me} if dialect == "postgresql" else {}
        storage = optuna.storages.RDBStorage(url, engine_kwargs=more)
    except ImportError as error:
        line = "pip install 'winnow[postgresql]'"
        raise Refused(f"{shown} needs a driver that is not installed ({error.__cause__ or error}): {line}") from error
    except Exception as error:  # SQLAlchemy's and each driver's own; the text is theirs, the sentence ours
        raise Refused(f"{shown} cannot be reached: {_first_line(error)}") from error
    try:
        yield storage
    except (optuna.exceptions.StorageInternalError, DBAPIError) as error:
        why = _first_line(error.__cause__ or error)
        raise Refused(f"{shown} was lost ({why}): once it is back, the same command goes on") from error
    except KeyError as error:  # what Optuna raises of a row that it wrote itself
        if error.args != (NOT_FOUND_MSG,):
            raise
        raise Refused(f"the study in {shown} was deleted while it ran: the same command begins it anew") from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextlib.contextmanager
def _owned(storage: BaseStorage, url: str, name: str) -> Iterator[None]:
    """Holds an advisory lock of the server, or of the file that the database is."""
    engine = storage.engine  # type: ignore[attr-defined]
    if engine.dialect.name == "sqlite":
        path = Path(engine.url.database)
        with only_driver(path.with_name(f"{path.name}.driver"), f"the database {path}"):
            yield
        return
    from sqlalchemy import text

    # The lock lives as long as this connection, however that ends; it begins no transaction that would last as long.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        deadline = time.monotonic() + PATIENCE
        while not connection.execute(text(LOCK), {"study": name}).scalar():
            if time.monotonic() > deadline:
                holder = connection.execute(text(HOLDER), {"study": name}).scalar() or "another process"
                raise Refused(f"study {name!r} at {public(url)[0]} is driven by {holder}: wait for it or end it")
            time.sleep(0.05)
        yield


def public(url: str) -> tuple[str, str]:
    """`url` without name, password and options, and what kind of database it is of. Refused where we have none."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    shown = read_address(url, "trials.storage").shown
    try:
        dialect = make_url(url).get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise Refused(f"{shown} is no URL of a database, as sqlite:///study.db is") from error
    if dialect not in ("sqlite", "postgresql"):
        raise Refused(f"{shown}: trials go to a journal file, SQLite or PostgreSQL, not {dialect}")
    return shown, dialect


def _first_line(error: BaseException) -> str:
    return redact((str(error).splitlines() or [type(error).__name__])[0])


def _study(storage: BaseStorage, name: str, plan: Plan, described: Mapping[str, Any]) -> int:
    known = {study.study_name: study._study_id for study in storage.get_all_studies()}
    if name not in known:
        directions = [optuna.study.StudyDirection[d.upper()] for d in plan.directions]
        with quiet():
            study_id = storage.create_new_study(directions, name)
        storage.set_study_system_attr(study_id, "study:metric_names", list(plan.objectives))
        storage.set_study_user_attr(study_id, PLAN, json.dumps(described))
        return study_id
    study_id = known[name]
    kept = storage.get_study_user_attrs(study_id).get(PLAN)
    if kept is None:
        if storage.get_all_trials(study_id, deepcopy=False):
            raise Refused(f"study {name!r} was not made by winnow: {ANEW}")
        storage.set_study_user_attr(study_id, PLAN, json.dumps(described))  # its maker was killed in between
        return study_id
    was = json.loads(kept)
    changed = next((key for key in described if was.get(key) != described[key]), None)
    if changed is not None:
        raise Refused(
            f"study {name!r} was begun with {changed} {_short(was.get(changed))}, not {_short(described[changed])}: "
            f"trials of both cannot be compared; put it back to go on, or {ANEW}"
        )
    return study_id


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
