"""--help of every command shows a line that runs: all are parsed, and those that need no run before them are run."""

import re
import shlex
import shutil
from collections.abc import Iterator

import click
import pytest

from tests.stages.tiny import ROOT
from winnow.cli.main import cli, run

QUICK = ("strategies", "selections", "proxies", "tasks", "use", "clean", "space", "space list", "space sample")


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if path:
        yield " ".join(path), command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


ALL = dict(commands())


def examples(path: str) -> list[str]:
    """The lines of its help that call this very command, without what explains them."""
    text = ALL[path].get_help(click.Context(ALL[path], info_name=f"winnow {path}")).partition("\n")[2]
    return [re.split(" {2,}", line)[0] for line in re.findall(rf"(?m)^ +(winnow {path}\b.*)$", text)]


@pytest.mark.parametrize("path", ALL)
def test_help_shows_an_example_that_its_parser_takes(path):
    found = examples(path)
    assert found, f"winnow {path} --help shows no example: cli/examples.py"
    for line in found:
        command, rest = cli, shlex.split(line)[1:]
        while isinstance(command, click.Group):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(command.name, list(rest))


@pytest.mark.parametrize("path", QUICK)
def test_an_example_that_needs_no_run_before_it_runs(path, tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(examples(path)[0])[1:]) == 0, capsys.readouterr().err
