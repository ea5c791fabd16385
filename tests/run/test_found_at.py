"""What another revision found: from git or DVC's cache, or a sentence that says how to get it."""

import hashlib
import json

import pytest
import yaml

from tests.stages.locked import git
from tests.stages.tiny import tiny
from winnow.core.errors import Refused
from winnow.run import found_at
from winnow.run.found_at import FOUND, find_at

KEY = "evaluate.against"
ARCH = json.dumps({"digest": "0123"})
MD5 = hashlib.md5(ARCH.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository whose lock file names an architecture that is nowhere."""
    for name in (found_at.PROJECT, "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(found_at, "_cached", lambda folder, md5: folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:])
    lock = {"stages": {"select": {"cmd": "winnow select", "outs": [{"path": FOUND, "md5": MD5}]}}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"space": {"name": "nas_bench_201"}}))
    return commit(tmp_path)


def commit(folder):
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "results")
    return folder


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ARCH)


def test_it_comes_from_the_cache(project):
    find = find_at(project, "main", KEY)
    assert find.md5 == MD5
    with pytest.raises(Refused, match=r"against: what main found .* is neither in git nor in DVC's cache.*dvc pull"):
        find.content("main", KEY)
    put(project / ".dvc/cache/files/md5" / MD5[:2] / MD5[2:])
    assert find.content("main", KEY) == {"digest": "0123"}


def test_it_comes_from_the_working_tree_where_that_has_the_same(project):
    put(project / FOUND)
    assert find_at(project, "HEAD", KEY).content("HEAD", KEY) == {"digest": "0123"}
    (project / FOUND).write_text("{}")
    with pytest.raises(Refused, match="neither in git nor in DVC's cache"):
        find_at(project, "HEAD", KEY).content("HEAD", KEY)


def test_it_comes_from_git_where_git_has_it(project):
    put(project / FOUND)
    commit(project)
    (project / FOUND).unlink()
    assert find_at(project, "HEAD", KEY).content("HEAD", KEY) == {"digest": "0123"}


def test_elsewhere_the_project_is_asked(project, tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    with pytest.raises(Refused, match=r"names no artifacts/architecture.json: take a revision whose pipeline ran"):
        find_at(tmp_path / "scratch", "main", KEY)  # in the same repository, another folder
    monkeypatch.setenv(found_at.PROJECT, str(project))
    assert find_at(tmp_path / "scratch", "main", KEY).md5 == MD5


def test_what_is_no_revision_is_told_what_there_is(project):
    with pytest.raises(
        Refused, match=r"no revision 'orginal' .*did you mean 'original'.*ends in .json, or a git revision"
    ):
        find_at(project, "orginal", KEY)


def test_the_same_find_has_the_same_digest_whatever_the_commit(project):
    before = found_at.digest_of_find(project, "main", KEY)
    (project / "a").write_text("another commit")
    commit(project)
    assert found_at.digest_of_find(project, "main", KEY) == before
    (project / "params.yaml").write_text(yaml.safe_dump({"space": {"name": "darts"}}))
    commit(project)
    assert found_at.digest_of_find(project, "main", KEY) != before


def test_its_space_is_that_of_its_own_params_yaml(project):
    params = tiny()
    of = find_at(project, "main", KEY).params(params, KEY)
    assert of.space.chosen() == {"channels": 16, "cells": 5}  # the published size; tiny has 4 and 1
    assert of.model_copy(update={"space": params.space, "retrain": params.retrain}) == params
    (project / "params.yaml").write_text(yaml.safe_dump({"space": {"name": "nas_bench_201", "options": {"cell": 1}}}))
    commit(project)
    with pytest.raises(Refused, match=r"against: params.yaml at \w{10}: .*cell"):
        find_at(project, "main", KEY).params(params, KEY)
