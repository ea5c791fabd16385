"""The record of a study: an Optuna storage with one driver, which any Optuna tool can read while it grows."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from winnow.core.errors import Refused
from winnow.trials.journal import Journal, drop_stale_lock, mend, only_driver
from winnow.trials.outcome import Outcome
from winnow.trials.plan import Plan
from winnow.trials.view import finish, quiet

FORMAT = "winnow.trials/1"
PLAN, OUTCOME = "winnow.plan", "winnow"
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
        drop_stale_lock(path)
        mend(path)
        yield Record(JournalStorage(Journal(path)), name, plan, search, evaluator)


@contextlib.contextmanager
def _database(url: str) -> Iterator[BaseStorage]:
    try:
        storage = optuna.storages.RDBStorage(url)
    except ImportError as error:
        raise Refused(f"{_public(url)} needs a driver that is not installed ({error.name}): pip install it") from error
    except Exception as error:  # SQLAlchemy's and each driver's own; the text is theirs, the sentence ours
        raise Refused(f"{_public(url)} cannot be reached: {str(error).splitlines()[0]}") from error
    try:
        yield storage
    except optuna.exceptions.StorageInternalError as error:
        raise Refused(f"{_public(url)} was lost ({error}): once it is back, the same command goes on") from error
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
    if engine.dialect.name != "postgresql":
        raise Refused(f"{_public(url)}: trials go to a journal file, SQLite or PostgreSQL, not {engine.dialect.name}")
    from sqlalchemy import text

    with engine.connect() as connection:  # the lock lives as long as this connection, however it ends
        key = {"key": name}
        if not connection.execute(text("SELECT pg_try_advisory_lock(hashtext(:key))"), key).scalar():
            raise Refused(f"study {name!r} at {_public(url)} is driven by another process: wait for it or end it")
        yield


def _public(url: str) -> str:
    """Without the password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


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
