"""winnow use: what it lists, what it writes, and that nobody's file is lost."""

import pytest

import winnow
from winnow.cli import main as cli
from winnow.tools import recipes as shipped


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with two recipes of its own, and none that come with winnow."""
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(winnow, "__file__", str(tmp_path / "none/src/winnow/__init__.py"))
    folder = tmp_path / "project"
    (folder / "recipes").mkdir(parents=True)
    (folder / "recipes/small.yaml").write_text("# Small things.\n# And more of it.\nseed: 1\n")
    (folder / "recipes/large.yaml").write_text("# Large things.\nseed: 2 # not of the head\n")
    return folder


def run(project, *words: str) -> int:
    return cli.run(["use", *words, "--folder", str(project)])


def test_without_a_name_it_lists_with_the_first_line_of_each(project, capsys):
    assert run(project) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines[:2]] == [["large", "Large things."], ["small", "Small things."]]
    assert not (project / "params.yaml").exists()


def test_a_recipe_becomes_the_file(project, capsys):
    assert run(project, "small") == 0
    assert (project / "params.yaml").read_text() == (project / "recipes/small.yaml").read_text()
    out = capsys.readouterr().out
    assert out.startswith("Small things.\nAnd more of it.\nparams.yaml is now recipe small\n")
    assert "kept" not in out


def test_a_file_of_ones_own_is_kept_however_often(project, capsys):
    params = project / "params.yaml"
    params.write_text("seed: 7 # mine\n")
    assert run(project, "small") == 0
    assert "your file is kept as params.yaml.old" in capsys.readouterr().out
    assert (project / "params.yaml.old").read_text() == "seed: 7 # mine\n"
    assert run(project, "large") == 0  # what it replaces is a recipe as it stands
    assert "kept" not in capsys.readouterr().out
    params.write_text("seed: 8 # mine, too\n")
    assert run(project, "small") == 0
    assert "params.yaml.old2" in capsys.readouterr().out
    params.write_text("seed: 7 # mine\n")  # there already
    assert run(project, "small") == 0
    assert "kept as params.yaml.old\n" in capsys.readouterr().out
    kept = {path.name: path.read_text() for path in project.glob("params.yaml.old*")}
    assert kept == {"params.yaml.old": "seed: 7 # mine\n", "params.yaml.old2": "seed: 8 # mine, too\n"}


def test_an_unknown_name_is_refused_with_the_nearest_and_changes_nothing(project, capsys):
    (project / "params.yaml").write_text("seed: 7\n")
    assert run(project, "smal") == 2
    assert "no recipe 'smal'; did you mean 'small'? (`winnow use` lists all 2)" in capsys.readouterr().err
    assert (project / "params.yaml").read_text() == "seed: 7\n"
    assert not (project / "params.yaml.old").exists()


def test_a_recipe_of_ones_own_comes_before_one_of_the_same_name(project, tmp_path):
    package = tmp_path / "none"
    for place in (package / "recipes", package / "src/winnow/recipes"):
        place.mkdir(parents=True)
        (place / "small.yaml").write_text("# Another.\n")
        (place / f"of_{place.parent.name}.yaml").write_text("# Theirs.\n")
    found = shipped.recipes(project)
    assert list(found) == ["large", "of_none", "of_winnow", "small"]
    assert found["small"] == project / "recipes/small.yaml"
