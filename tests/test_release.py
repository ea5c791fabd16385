"""`.ci/release --dry-run`: what it refuses, in a repository of its own."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TELL = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "src/winnow/__init__.py")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def git(folder, *words):
    told = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
    subprocess.run(["git", *told, *words], cwd=folder, check=True, capture_output=True)


def release(folder):
    command = [sys.executable, str(ROOT / ".ci/release"), "--dry-run"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def project(tmp_path):
    """The files that tell the version, committed, with the topmost section of CHANGELOG.md given a day."""
    for name in TELL:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    log = tmp_path / "CHANGELOG.md"
    log.write_text(re.sub(r"^## .*$", f"## {VERSION} – 2026-01-02", log.read_text(), count=1, flags=re.MULTILINE))
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def test_a_clean_project_passes_and_nothing_is_done(project):
    found = release(project)
    assert found.returncode == 0, found.stderr
    assert f"git tag v{VERSION}" in found.stdout
    assert subprocess.run(["git", "tag"], cwd=project, capture_output=True, text=True).stdout == ""
    assert not (project / "dist").exists()


def changed(project):
    (project / "CITATION.cff").write_text((project / "CITATION.cff").read_text() + "# more\n")


def undated(project):
    log = project / "CHANGELOG.md"
    log.write_text(log.read_text().replace(" – 2026-01-02", " – unreleased"))
    git(project, "commit", "--quiet", "--all", "--message", "no day")


def another_version(project):
    init = project / "src/winnow/__init__.py"
    init.write_text(init.read_text().replace(f'__version__ = "{VERSION}"', '__version__ = "9.9.9"'))
    git(project, "commit", "--quiet", "--all", "--message", "another")


def tagged(project):
    git(project, "tag", f"v{VERSION}")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (changed, "git has changes"),
        (undated, f"CHANGELOG.md is headed by '{VERSION} – unreleased'"),
        (another_version, "src/winnow/__init__.py says version 9.9.9"),
        (tagged, f"tag v{VERSION} is there"),
    ],
    ids=["changes", "no day", "another version", "tag"],
)
def test_what_stands_against_a_release_is_said(project, break_it, says):
    break_it(project)
    found = release(project)
    assert found.returncode == 1
    assert says in found.stderr


def test_all_files_tell_one_version():
    found = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found[1] == VERSION
    assert f'__version__ = "{VERSION}"' in (ROOT / "src/winnow/__init__.py").read_text()
    assert f"version: {VERSION}" in (ROOT / "CITATION.cff").read_text()
