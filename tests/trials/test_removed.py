"""A study whose record is taken away while it runs ends with a sentence, whatever the record is."""

import shutil

import optuna
import pytest

from tests.trials import scores, toys
from tests.trials.test_engine import ONE
from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.plan import Plan


def interrupted(where, at, take_away):
    """Run a study whose trial `at` calls `take_away`."""
    evaluate, done = scores.make(), []

    def evaluating(job):
        done.append(job)
        if len(done) == at:
            take_away()
        return evaluate(job)

    return run(Plan(ONE), toys.search(8), Inline(evaluating), where=str(where), name="toy", n_trials=8)


@pytest.mark.parametrize("what", ["journal", "folder"])
def test_a_journal_that_is_removed(tmp_path, what):
    path = tmp_path / "trials" / "s.log"
    with pytest.raises(Refused, match=r"s\.log was removed while its study ran.*: the same command begins them anew"):
        interrupted(path, 3, lambda: path.unlink() if what == "journal" else shutil.rmtree(path.parent))
    assert not path.exists()
    assert len(run(Plan(ONE), toys.search(8), Inline(scores.make()), where=str(path), name="toy", n_trials=4)) == 4


def test_a_study_that_is_deleted_with_optuna(tmp_path):
    where = f"sqlite:///{tmp_path / 's.db'}"
    with pytest.raises(Refused, match=r"the study in sqlite:///.*s\.db was deleted while it ran"):
        interrupted(where, 3, lambda: optuna.delete_study(study_name="toy", storage=where))


def test_a_key_error_of_an_evaluator_is_its_own(tmp_path):
    def broken():
        raise KeyError("Record")

    rows = interrupted(f"sqlite:///{tmp_path / 's.db'}", 1, broken)
    assert [row.state for row in rows].count("failed") == 1
