"""What is said of images, labels and classes is said where a task, its inputs and its sources are, and nowhere else.

Reads the identifiers of the sources. What else may say so, and why, is in `EXCEPT`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
WORD = re.compile(r"image|label|class", re.IGNORECASE)
PYTHONS = re.compile(r"__\w*class\w*__|classmethod|(is)?subclass|ClassVar|_class$")  # of the language
PLACES = (  # the design's: those that know what is learnt, spaces and proxies, which are published for images
    "src/winnow/tasks/",
    "src/winnow/data/inputs/",
    "src/winnow/data/sources/",
    "src/winnow/data/labelled.py",
    "src/winnow/data/boxed.py",
    "src/winnow/spaces/",
    "src/winnow/proxies/",
    "src/winnow/look/",  # draws pictures: axes have labels
    "src/winnow/nn/",  # layers of published networks for images
    "src/winnow/tools/checking.py",  # plants problems, and they are images
)
OPTIONS = {
    "image_column",
    "label_column",
    "image_size",
    "ImageSize",
    "_image_size",
}  # data.*, which sources of images take
EXCEPT = {  # file -> what it says, and why
    "pipelines/prepare.py": OPTIONS,
    "src/winnow/config/params.py": OPTIONS | {"calibration_images", "label_smoothing"},  # options that users have
    "src/winnow/config/section.py": OPTIONS,
    "src/winnow/config/trial_params.py": {"calibration_images"},
    "src/winnow/data/prepare.py": OPTIONS,
    "src/winnow/data/source.py": OPTIONS,
    "src/winnow/run/benches.py": {"calibration_images"},
    "src/winnow/run/evaluators.py": {"calibration_images"},
    "src/winnow/run/start.py": {"calibration_images"},
    "src/winnow/run/search_trials.py": {"CLASSES"},  # of equal cells
    "src/winnow/search/bench.py": {"calibration_images"},
    "src/winnow/search/selections/evolution.py": {"calibration_images"},
    "src/winnow/search/selections/finalists.py": {"calibration_images"},
    "src/winnow/tools/ranking.py": {"nb201_classes"},
    "src/winnow/tools/plan.py": {"calibration_images"},
    "src/winnow/train/criteria.py": {"label_smoothing"},
    "src/winnow/train/recipes.py": {"label_smoothing"},
    **{  # how an option is called in a study
        f"src/winnow/trials/{name}.py": {"label", "labels", "_labels"} for name in ("search", "hierarchy", "replay")
    },
    **{  # what a loop or a line is called
        f"src/winnow/{name}.py": {"label"}
        for name in (
            *("run/children", "run/compared", "run/progress", "search/collapse"),
            *("train/checkpoint", "train/watch"),
        )
    },
}


def identifiers(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.value.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.alias):
            yield node.lineno, node.asname or node.name.rpartition(".")[2]


def said(name: str, source: str) -> list[str]:
    """What the file `name` says that it may not: "line: identifier"."""
    if name.startswith(PLACES):
        return []
    allowed = EXCEPT.get(name, set())
    found = ((line, word) for line, word in identifiers(source) if WORD.search(PYTHONS.sub("", word)))
    return [f"{line}: {word}" for line, word in found if word not in allowed and not word.startswith("dataclass")]


def files() -> list[Path]:
    return [path for folder in ("src", "pipelines") for path in sorted((REPOSITORY / folder).rglob("*.py"))]


def test_only_tasks_and_what_they_read_speak_of_images_labels_and_classes():
    found = [
        f"{path.relative_to(REPOSITORY)}:{each}"
        for path in files()
        for each in said(path.relative_to(REPOSITORY).as_posix(), path.read_text())
    ]
    assert not found, "\n" + "\n".join(found)


def test_no_exception_outlives_its_reason():
    for name, words in EXCEPT.items():
        there = {word for _, word in identifiers((REPOSITORY / name).read_text())}
        assert words & there, f"{name} says none of {sorted(words)} any more"


@pytest.mark.parametrize(
    "line",
    ["images = 3", "def f(labels): ...", "x.image_size", "f(classes=10)", "from a import ImageNet", "class Label: ..."],
)
def test_a_planted_word_is_found(line):
    assert said("src/winnow/train/fit.py", line)
    assert not said("src/winnow/tasks/classify.py", line)


@pytest.mark.parametrize(
    "line", ["@classmethod\ndef f(c): ...", "x.__class__", "import dataclasses", "issubclass(a, b)"]
)
def test_the_languages_own_words_pass(line):
    assert not said("src/winnow/train/fit.py", line)
