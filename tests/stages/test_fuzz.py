"""A few hundred of the inputs that `make fuzz` tries by the ten thousand, and that the fuzzer sees what it must."""

from pathlib import Path

import pytest

from tests.fuzz import Target, attack
from tests.fuzz_targets import targets
from winnow.config.reading import read_params
from winnow.core.errors import Refused

PER_READER = 12


def test_no_reader_raises_hangs_or_leaves_anything(finished, tmp_path):
    (tmp_path / "made").mkdir()
    problems, tried = [], 0
    for i, target in enumerate(targets(tmp_path / "made", finished)):
        folder = tmp_path / str(i)
        folder.mkdir()
        outcomes, found = attack(target, PER_READER, 1, folder)
        tried += outcomes.total()
        problems += found
    assert not problems
    assert tried >= 300


def careless(path: Path) -> None:
    """Takes the file for a number."""
    int(path.read_bytes())


def littering(path: Path) -> None:
    path.with_name("half").touch()
    raise Refused("no")


@pytest.mark.parametrize(("read", "found"), [(careless, "ValueError"), (littering, "left behind: half")])
def test_the_fuzzer_finds_a_planted_fault(tmp_path, read, found):
    (tmp_path / "original").write_text("12")
    folder = tmp_path / "place"
    folder.mkdir()
    _, problems = attack(Target("planted", tmp_path / "original", read), 20, 0, folder)
    assert any(found in each for each in problems)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 9000, "not readable as YAML"),
        ("seed: 2026-99-99", "not readable as YAML"),
        ("tune: {ranges: {lr: {low: 0.1, high: 0.2, lgo: true}}}", r"unknown key tune.ranges.lr.lgo .*there are low"),
        ("study: {methods: {a: {search.strategy: [&x [*x]]}}}", None),
    ],
)
def test_what_the_fuzzer_once_found_in_params(tmp_path, text, sentence):
    (tmp_path / "params.yaml").write_text(text)
    if sentence is None:
        read_params(tmp_path / "params.yaml")
        return
    with pytest.raises(Refused, match=sentence):
        read_params(tmp_path / "params.yaml")
