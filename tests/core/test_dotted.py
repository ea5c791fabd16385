"""core.dotted: what a path names, and the sentence where it names nothing."""

import re
import sys

import pytest

from winnow.core.dotted import function_at
from winnow.core.errors import Refused

MINE = """
import math

RATE = 3

def build(classes):
    return classes + 1

class Network:
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Modules of a user's own: `dotted_mine`, and `dotted_whole.part` in a package."""
    (tmp_path / "dotted_whole").mkdir()
    (tmp_path / "dotted_whole/__init__.py").touch()
    (tmp_path / "dotted_whole/part.py").write_text("def made():\n    return 'deep'\n")
    (tmp_path / "dotted_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("dotted_")]:
        del sys.modules[name]


def test_a_function_and_a_class_are_found_and_so_is_what_lies_in_a_package(mine):
    assert function_at("dotted_mine:build", "x")(4) == 5
    assert function_at("dotted_mine:Network", "x").__name__ == "Network"
    assert function_at("dotted_whole.part:made", "x")() == "deep"


@pytest.mark.parametrize(
    "path",
    ["", "build", "my_module", "my_module:", ":build", "my module:build", "my_module:a.b", "my_module:a:b", "a..b:c"],
)
def test_what_is_no_path_is_told_how_to_write_one(path):
    with pytest.raises(Refused) as refusal:
        function_at(path, f"space {path!r}")
    assert str(refusal.value) == f"space {path!r} is no dotted path: write it like 'my_package.my_module:build'"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("biuld", " (did you mean 'build'?)"),
        ("Netwrok", " (did you mean 'Network'?)"),
        ("other", ""),
        ("RATE", ""),  # a number is no function, and a name near it no help
        ("RATES", ""),
        ("math", ""),
    ],
)
def test_a_function_that_is_not_there_is_told_with_the_nearest_that_is(mine, name, hint):
    with pytest.raises(Refused) as refusal:
        function_at(f"dotted_mine:{name}", "space 'x'")
    assert str(refusal.value) == f"space 'x': module 'dotted_mine' has no function {name!r}{hint}"


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("dotted_nowhere:f", "dotted_nowhere"),
        ("dotted_nowhere.deeper:f", "dotted_nowhere"),
        ("dotted_whole.absent:f", "dotted_whole.absent"),
    ],
)
def test_a_missing_module_is_named_up_to_what_is_missing(mine, path, missing):
    with pytest.raises(Refused) as refusal:
        function_at(path, "space 'x'")
    assert str(refusal.value) == f"space 'x': no module {missing!r} beside params.yaml or on PYTHONPATH"
    assert isinstance(refusal.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("missing", ["dotted_need", "dotted_needs_more", "dotted"])
def test_what_a_module_lacks_is_no_missing_module_though_their_names_begin_alike(mine, missing):
    (mine / "dotted_needs.py").write_text(f"import {missing}\n")
    with pytest.raises(Refused, match=re.escape(f"space 'x': ModuleNotFoundError: No module named '{missing}'\n")):
        function_at("dotted_needs:f", "space 'x'")
