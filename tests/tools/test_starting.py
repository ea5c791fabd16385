"""winnow init: a folder without winnow's sources in which DVC runs the pipeline."""

import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from winnow.cli.main import cli
from winnow.config.reading import read_params
from winnow.tools.starting import CODE, pipeline

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    found = CliRunner().invoke(cli, ["init", *arguments])
    assert found.exit_code == 0, found.output
    return found.output


def test_a_pipeline_elsewhere_depends_on_no_source_but_on_which_winnow_it_is():
    ours, theirs = (yaml.safe_load(text)["stages"] for text in ((ROOT / "dvc.yaml").read_text(), pipeline()))
    assert list(ours) == list(theirs)
    for name, stage in theirs.items():
        deps = set(stage.get("deps", ()))
        assert not any(dep.startswith(("src/", "pipelines/")) for dep in deps)
        assert (CODE in deps) == (name != "inputs")
        assert deps - {CODE} == {d for d in ours[name].get("deps", ()) if not d.startswith(("src/", "pipelines/"))}
    assert set(theirs["inputs"]["outs"]) == {*ours["inputs"]["outs"], CODE}


def test_what_git_keeps_is_what_no_stage_writes_into_the_cache(tmp_path):
    run(str(tmp_path))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for stage in yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"].values():
        for out in stage.get("outs", stage.get("do", {}).get("outs", ())):
            path = out.replace("${item.seed}", "0")
            ignored = subprocess.run(["git", "-C", tmp_path, "check-ignore", "-q", path])
            assert ignored.returncode == 0, path
    assert subprocess.run(["git", "-C", tmp_path, "check-ignore", "-q", "reports/evaluate.json"]).returncode == 1


def test_what_is_there_stays_and_what_it_lacks_is_said(tmp_path):
    for name in ("params.yaml", ".gitignore", "dvc.yaml"):
        (tmp_path / name).write_text("/artifacts/\n")
    told = run(str(tmp_path))
    assert all((tmp_path / name).read_text() == "/artifacts/\n" for name in ("params.yaml", ".gitignore", "dvc.yaml"))
    assert (tmp_path / ".github/workflows/winnow.yml").is_file()
    assert "add to it: /.winnow/  /data/splits/" in told
    assert "another pipeline" in told
    assert "put it aside" not in run(str(tmp_path / "new")) + run(str(tmp_path / "new"))


def test_the_next_steps_are_those_that_are_missing(tmp_path):
    assert "next: cd '%s'; git init; dvc init; dvc repro" % (tmp_path / "a b") in run(str(tmp_path / "a b"))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert f"next: cd {tmp_path}; dvc init; dvc repro" in run(str(tmp_path))
    assert "dvc init --subdir; dvc repro" in run(str(tmp_path / "a b"))


@pytest.mark.parametrize("recipe", ["smaller", "darts_small"])
def test_its_parameters_can_be_read(tmp_path, recipe):
    run(str(tmp_path), "--recipe", recipe)
    assert read_params(tmp_path / "params.yaml").retrain.seeds


def test_an_unknown_recipe_is_a_sentence_and_nothing_is_written(tmp_path):
    found = CliRunner().invoke(cli, ["init", str(tmp_path), "--recipe", "smallr"])
    assert found.exit_code == 2 or found.exception is not None
    assert list(tmp_path.iterdir()) == []
