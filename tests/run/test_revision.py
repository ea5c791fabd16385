"""What git answers of a project, and its own reason where it does not: in tracking, gate, promote and why."""

import os
import subprocess

import pytest

from winnow.core.errors import Refused
from winnow.run.revision import commit_of, files_at, text_at
from winnow.tracking import facts

WHO = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=trunk")


@pytest.fixture(params=[".", "deep/er", "an [x]* 'ü' #@? folder", "-lead"])
def project(request, tmp_path):
    """A project at the top of a repository or below it, one commit."""
    repository = tmp_path / "repository"
    folder = repository / request.param
    (folder / "reports").mkdir(parents=True)
    (folder / "reports" / "evaluate.json").write_text("{}")
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        subprocess.run(["git", *WHO, *words], cwd=repository, check=True, capture_output=True)
    return folder


def test_a_project_is_found_wherever_it_lies_in_its_repository(project, monkeypatch):
    for folder in (project, project.relative_to(project.parent)):
        monkeypatch.chdir(project.parent)
        commit = commit_of(folder, "HEAD")
        assert commit == commit_of(folder, "trunk") == facts.git(folder)["commit"]
        assert files_at(folder, commit, "reports") == ["reports/evaluate.json"]
        assert text_at(folder, commit, "reports/evaluate.json") == "{}"
        assert text_at(folder, commit, "reports/other.json") is None


def test_no_repository_and_no_such_revision_are_two_sentences(project, tmp_path):
    with pytest.raises(Refused, match=r"no revision 'HEAD~7' in the git repository of .*: name a branch"):
        commit_of(project, "HEAD~7")
    (tmp_path / "copy").mkdir()
    with pytest.raises(Refused, match="copy/ is in no git repository, as a copy or an archive of one"):
        commit_of(tmp_path / "copy", "HEAD")
    assert facts.git(tmp_path / "copy") == {}


def test_a_repository_of_somebody_else_is_told_in_the_words_of_git(project, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    told = "detected dubious ownership in repository .* git config --global --add safe.directory "
    with pytest.raises(Refused, match=f"git does not tell what 'HEAD' is in .*: {told}"):
        commit_of(project, "HEAD")
    (refused,) = facts.git(project).values()
    assert refused.startswith("detected dubious ownership")


def test_without_git_the_reason_is_that(project, monkeypatch):
    monkeypatch.setattr(os, "environ", {"PATH": "/nowhere"})
    with pytest.raises(Refused, match="git is not installed"):
        commit_of(project, "HEAD")
    assert facts.git(project) == {}
