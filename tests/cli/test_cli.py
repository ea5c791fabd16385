"""The command line as a newcomer meets it: quick help, sentences instead of tracebacks, statuses for scripts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from winnow.cli import main as cli

ROOT = Path(__file__).parents[2]


def winnow(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "winnow", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_help_imports_nothing_heavy():
    """What makes `winnow --help` quick: neither torch nor anything of its weight is touched."""
    code = (
        "import sys; from winnow.cli import main; main.run(['--help']);"
        "heavy = {'torch', 'numpy', 'pyarrow', 'mlflow', 'optuna', 'wandb', 'pydantic', 'matplotlib', 'rich'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for stage in cli.STAGES:
        assert f"  {stage} " in done.stdout


def test_what_every_dvc_repro_runs_does_not_wait_for_torch(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    code = "import sys; from winnow.cli import main; main.run(['inputs']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "up to date" in done.stdout or "wrote" in done.stdout) == (0, True), done


@pytest.mark.parametrize(
    "arguments", [["search", "--help"], ["retrain", "--help"], ["space", "--help"], ["plan", "-h"]]
)
def test_every_command_explains_itself(arguments, capsys):
    click.Context(cli.cli.commands[arguments[0]]).get_help()  # as who writes the reference asks, without the group
    assert cli.run(arguments) == 0
    assert "Usage:" in capsys.readouterr().out


def test_tab_completes_commands_and_options():
    for words, wanted in (("winnow exp", "plain,export"), ("winnow export --int", "plain,--int8")):
        asked = {"_WINNOW_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        code = "from winnow.cli.main import main; main()"  # as the installed command does
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True)
        assert done.stdout.split() == [wanted], done.stderr


def test_a_refusal_is_a_sentence_with_status_2(tmp_path):
    done = winnow("search", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("winnow: no params.yaml in ")
    assert "Traceback" not in done.stderr


def test_an_unknown_command_and_option_name_what_was_meant(capsys):
    assert cli.run(["serch"]) == 2
    assert "search" in capsys.readouterr().err
    assert cli.run(["search", "--foldr", "."]) == 2
    assert "--folder" in capsys.readouterr().err


def test_a_stage_script_is_the_command(tmp_path):
    """`python pipelines/select.py` must not be taken for the standard library's `select`."""
    script = [sys.executable, str(ROOT / "pipelines/select.py"), "--folder", str(tmp_path)]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "no params.yaml" in done.stderr


def test_space_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.run(["space", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("darts", "mobile", "nas_bench_201", "my_package.my_module:build"))
    assert cli.run(["space", "show"]) == 0
    assert "15,625 architectures of 6 decisions" in capsys.readouterr().out
    assert cli.run(["space", "sample", "darts", "-n", "3", "--seed", "5"]) == 0
    first = capsys.readouterr().out
    assert len({json.dumps(json.loads(line)) for line in first.splitlines()}) == 3
    assert cli.run(["space", "sample", "darts", "-n", "3", "--seed", "5"]) == 0
    assert capsys.readouterr().out == first
    assert cli.run(["space", "draw", "darts", "--out", str(tmp_path / "darts.svg")]) == 0
    assert "sep_conv" in (tmp_path / "darts.svg").read_text()


def test_an_unknown_space_is_a_sentence(capsys):
    assert cli.run(["space", "show", "nasbench201"]) == 2
    assert "did you mean 'nas_bench_201'" in capsys.readouterr().err
