"""What is installed elsewhere, as in the image: an editable install would not miss a package that is not listed."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def setuptools():
    return project()["tool"]["setuptools"]


def test_every_package_is_listed():
    listed = setuptools()["packages"]
    found = {".".join(file.parent.relative_to(ROOT / "src").parts) for file in (ROOT / "src").rglob("__init__.py")}
    assert "winnow.tasks" in found
    assert sorted(listed) == sorted(found | {"winnow.pipelines", "winnow.recipes"})


def test_every_file_beside_the_code_is_packed():
    """Omniglot with its licence, the files of a new project."""
    packed = {
        path
        for package, patterns in setuptools()["package-data"].items()
        for pattern in patterns
        for path in (ROOT / "src" / package.replace(".", "/")).glob(pattern)
    }
    beside = {p for p in (ROOT / "src/winnow").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert {path.name for path in beside} >= {"omniglot.parquet", "omniglot.LICENSE"}
    assert sorted(beside - packed) == []


def test_types_are_told_to_who_installs_it():
    """py.typed is in the package, and all rooms are checked for what it promises, strictly."""
    assert (ROOT / "src/winnow/py.typed").is_file()
    assert "py.typed" in setuptools()["package-data"]["winnow"]
    assert "Typing :: Typed" in project()["project"]["classifiers"]
    mypy = project()["tool"]["mypy"]
    assert mypy["strict"]
    assert mypy["files"] == ["src/winnow", "pipelines"]
    assert not [each for each in mypy["overrides"] if "ignore_errors" in each]
