"""What a user's own code raises is a sentence that shows the user's own line."""

import sys

import pytest
import torch

from winnow.core.dotted import function_at
from winnow.core.errors import LONGEST, Refused, blamed, told

MODULE = """
import json
import torch

def direct():
    return {}["absent"]

def through_torch():
    return torch.nn.Linear(2, 3)(torch.zeros(1, 5))

def through_python():
    return json.loads("{")

def several_lines():
    raise RuntimeError("\\nfirst\\nsecond")

def silent():
    assert 1 == 2

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "blamed_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "blamed_mine", raising=False)
    return lambda name: function_at(f"blamed_mine:{name}", "space 'x'")


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("direct", "KeyError: 'absent'", 'line 6: return {}["absent"]'),
        ("through_torch", "RuntimeError: mat1 and mat2", "line 9: return torch.nn.Linear(2, 3)(torch.zeros(1, 5))"),
        ("through_python", "JSONDecodeError: Expecting", 'line 12: return json.loads("{")'),
        ("several_lines", "RuntimeError: first", 'line 15: raise RuntimeError("\\nfirst\\nsecond")'),
        ("silent", "AssertionError", "line 18: assert 1 == 2"),
        ("leaves", "SystemExit: 3", "line 21: raise SystemExit(3)"),
    ],
)
def test_the_users_line_is_shown(mine, name, first, second):
    with pytest.raises(Refused) as refusal, blamed("space 'x'"):
        mine(name)()
    above, below = str(refusal.value).splitlines()
    assert above.startswith(f"space 'x': {first}")
    assert below == f"  blamed_mine.py, {second}"


def test_where_no_line_is_a_users_there_is_only_the_sentence():
    source = "with blamed('table'):\n    raise ValueError('no')"
    with pytest.raises(Refused, match=r"^table: no$"):
        exec(compile(source, "made_up.py", "exec"), {"__name__": "winnow.made_up", "blamed": blamed})


def test_refusals_and_memory_pass_as_they_are():
    with pytest.raises(Refused, match=r"^as it is$"), blamed("x"):
        raise Refused("as it is")
    with pytest.raises(torch.OutOfMemoryError), blamed("x"):
        raise torch.OutOfMemoryError("full")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax\n  blamed_{}.py, line 1: def f(:"),
        (
            "import not_here\n",
            "ModuleNotFoundError: No module named 'not_here'\n  blamed_{}.py, line 1: import not_here",
        ),
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero\n  blamed_{}.py, line 1: x = 1 / 0"),
    ],
)
def test_a_module_that_cannot_be_imported_shows_its_line(tmp_path, monkeypatch, source, sentence):
    name = str(len(source))
    (tmp_path / f"blamed_{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused) as refusal:
        function_at(f"blamed_{name}:f", "space 'x'")
    assert str(refusal.value) == "space 'x': " + sentence.format(name)


def test_a_module_that_is_not_there_is_told_from_one_that_it_lacks():
    with pytest.raises(Refused, match=r"no module 'blamed_nowhere' beside params.yaml"):
        function_at("blamed_nowhere.deeper:f", "space 'x'")


def test_a_sentence_is_the_first_line_or_what_follows_a_heading_and_is_cut_where_it_runs_on():
    assert told(ValueError("one\ntwo")) == "one"
    assert told(ValueError("these are wrong:\n  a\n  b")) == "these are wrong: a"
    assert told(ValueError("x" * LONGEST)) == "x" * LONGEST
    assert told(ValueError("x" * (LONGEST + 1))) == "x" * (LONGEST - 1) + "…"
