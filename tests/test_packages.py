"""What is installed elsewhere, as in the image: an editable install would not miss a package that is not listed."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(file.parent.relative_to(ROOT / "src").parts) for file in (ROOT / "src").rglob("__init__.py")}
    assert "winnow.tasks" in found
    assert sorted(listed) == sorted(found | {"winnow.pipelines", "winnow.recipes"})
