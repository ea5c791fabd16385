"""Images have a height and a width: no code that meets a user's images makes a shape out of one side.

Reads the sources. `facts_of` of data/inputs/images.py alone turns a shape into what a builder is told, `shape_of` turns
it back.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FOLDERS = (
    "pipelines",
    "src/winnow/run",
    "src/winnow/tools",
    "src/winnow/trust",
    "src/winnow/cli",
    "src/winnow/trials",
    "src/winnow/spaces",
    "src/winnow/data",
)
SIDE = re.compile(r"size|side|height|width|resolution|pixel", re.IGNORECASE)


def squares(source: str) -> Iterator[str]:
    """ "line: what" for each shape of one side, and for each side that is read or dropped by itself."""
    for node in ast.walk(ast.parse(source)):
        parts = node.elts if isinstance(node, ast.Tuple | ast.List) else node.args if isinstance(node, ast.Call) else []
        if len(parts) > 2 and ast.dump(parts[-1]) == ast.dump(parts[-2]) and SIDE.search(ast.unparse(parts[-1])):
            yield f"{node.lineno}: {ast.unparse(node)} is a square, and images need not be"
        if isinstance(node, ast.Subscript) and getattr(node.slice, "value", None) == "image_size":
            yield f"{node.lineno}: {ast.unparse(node)} may be one side or two: take shape_of(facts)"
        if isinstance(node, ast.Assign) and "shape" in ast.unparse(node.value):
            names = [ast.unparse(e) for t in node.targets if isinstance(t, ast.Tuple) for e in t.elts]
            if len(names) > 2 and names[-2:].count("_") == 1:
                yield f"{node.lineno}: {ast.unparse(node)} drops a side"


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py")]


def test_nothing_makes_a_square_of_an_image():
    paths = sources()
    assert {"evaluators.py", "plan.py", "benches.py", "work.py", "mobile.py", "proxies.py"} <= {p.name for p in paths}
    found = [f"{p.relative_to(REPOSITORY)}:{square}" for p in paths for square in squares(p.read_text())]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        'shape = (fact["image_channels"], fact["image_size"], fact["image_size"])',
        "x = torch.zeros(1, channels, side, side)",
        "shape = [channels, height, height]",
        'fact = {"image_size": reduced(fact["image_size"], steps)}',
        'channels, height, _ = manifest["shape"]',
        "batch, channels, _, width = images.shape",
    ],
)
def test_a_planted_square_is_found(source):
    assert list(squares(source))


@pytest.mark.parametrize(
    "source",
    [
        "shape = (channels, height, width)",
        "x = torch.zeros(1, *shape)",
        "channels, _, _ = shape",
        "channels, height, width = images.shape[1:]",
        'facts = {"image_size": size}',
        "total.view(size, size)",
    ],
)
def test_what_is_no_square_passes(source):
    assert not list(squares(source))
