"""The default store, SQLite in the state folder: made whole, and following its folder when that moves."""

import contextlib
import sqlite3
from pathlib import Path

from winnow.tracking.store import sqlite_uri

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def create_local_store(state: Path) -> None:
    """Set up under another name first, so that a kill leaves no half of a schema; at most one process at a time."""
    path = state / "mlflow.db"
    if path.exists() and path.stat().st_size:  # whoever looks into a store that is not there leaves an empty file
        follow(path, (state / "mlartifacts").as_uri())
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    temporary = state / ".mlflow.db.new"
    temporary.unlink(missing_ok=True)
    SqlAlchemyStore(sqlite_uri(temporary), (state / "mlartifacts").as_uri()).engine.dispose()
    temporary.replace(path)


def follow(database: Path, artifacts: str) -> None:
    """MLflow keeps absolute addresses: after a project was moved or copied, let them point to its folder again.

    Else new runs would write to where the project was, which may be another one by now.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        query = "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
        (before,) = connection.execute(query).fetchone() or ("",)
        before = before.removesuffix("/0")
        if before == artifacts or not before.endswith("/.winnow/mlartifacts"):
            return
        for table, column in ADDRESSES:
            change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
            connection.execute(change, [artifacts, len(before) + 1, len(before), before])
