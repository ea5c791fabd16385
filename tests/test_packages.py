"""What is installed elsewhere, as in the image: an editable install would not miss a package that is not listed."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def setuptools():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


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
