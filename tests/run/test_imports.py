"""The files that code stands on, as its import statements say: of a user's modules and of winnow's own."""

import sys

import pytest

from winnow.run.imports import closure, on_path, winnow_roots

FILES = {
    "net.py": "import parts.blocks as b\nfrom parts import heads\n",
    "parts/__init__.py": "",
    "parts/blocks.py": "from .deep import kernels\nfrom . import shared as s\n",
    "parts/heads.py": "def build():\n    import late\n",
    "parts/shared.py": "import importlib\nimportlib.import_module('.named', __package__)\n",
    "parts/named.py": "",
    "parts/deep/kernels.py": "from ...parts import heads\nfrom ..other import value\n",  # a package without __init__
    "parts/other.py": "",
    "parts/unused.py": "",
    "late.py": "FACTORY = 'called.by_name:build'\n",
    "called/by_name.py": "from starred import *\n",
    "starred/__init__.py": "__all__ = ['one']\n",
    "starred/one.py": "import broken, net, queue, numpy.linalg, winnow.cli.main\n",
    "broken.py": "def (",
    "queue.py": "",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(found, folder):
    return {path.relative_to(folder).as_posix() for path in found}


def test_everything_that_is_imported_is_found_and_nothing_else(folder):
    everything = set(FILES) - {"parts/unused.py", "queue.py"}
    assert names(closure(["net:build"], {folder: ""}, without=("queue",)), folder) == everything
    assert names(closure([folder / "net.py"], {folder: ""}), folder) == everything | {"queue.py"}
    assert names(closure(["parts.heads"], {folder: ""}, without=("called", "called.*")), folder) == {
        "parts/__init__.py",
        "parts/heads.py",
        "late.py",
    }
    assert closure(["nowhere.at_all:build"], {folder: ""}) == []


def test_the_first_root_that_has_a_module_wins(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "late.py").write_text("")
    assert other / "late.py" in closure(["net"], {other: "", folder: ""})
    assert other / "late.py" not in closure(["net"], {folder: "", other: ""})


def test_a_cell_of_winnow_stands_on_its_method_and_not_on_the_others():
    def relative(starts, without=()):
        return {"/".join(path.parts[-2:]) for path in closure(starts, winnow_roots(), without)}

    one = relative(["winnow.search.methods.darts"], ["winnow.search.methods"])
    assert {"methods/darts.py", "search/mixture.py", "core/space.py", "winnow/__init__.py"} <= one
    assert "methods/gdas.py" not in one
    assert "methods/gdas.py" not in relative(["winnow.search.methods.darts"])  # the list names files, and imports none
    stage = relative(["winnow.pipelines.search"])
    assert {
        "run/search_trials.py",
        "run/evaluators.py",
        "trials/engine.py",
    } <= stage  # one by its name
    assert "pipelines/evaluate.py" not in stage


def test_the_projects_folder_hides_no_module(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    on_path(folder)
    on_path(folder)
    assert sys.path.count(str(folder)) == 1
    assert sys.path[-1] == str(folder)
