"""The records of selections: what params.yaml offers is what the functions take, and nobody else asks for a name."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.search.toys import CLASSES, cells, images
from tests.splits import image_split
from winnow.config.params import Select
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.search.bench import Bench
from winnow.search.selection import Costs
from winnow.search.selections import SELECTIONS
from winnow.train.seeds import generator, rng

REPOSITORY = Path(__file__).parents[3]
AT_HOME = ("src/winnow/search/methods/", "src/winnow/search/selections/")
OTHERS = {"src/winnow/look/replay.py", "src/winnow/look/trials.py"}  # a sampler and a column, which are no selections


def compared(source: str) -> Iterator[str]:
    """ "line: name" of each comparison with a selection's name, "in" a list of such included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            for constant in ast.walk(node):
                if isinstance(constant, ast.Constant) and constant.value in SELECTIONS:
                    yield f"{node.lineno}: {constant.value}"


def test_nobody_else_asks_for_a_selection_by_name():
    paths = [*(REPOSITORY / "src").rglob("*.py"), *(REPOSITORY / "pipelines").rglob("*.py")]
    names = {path.relative_to(REPOSITORY).as_posix(): path for path in paths}
    assert set(names) >= OTHERS
    assert any(name.startswith(AT_HOME) for name in names)
    outside = [name for name in names if not name.startswith(AT_HOME) and name not in OTHERS]
    assert not [f"{name}:{each}" for name in outside for each in compared(names[name].read_text(encoding="utf-8"))]


@pytest.mark.parametrize("line", ['if method == "prune": pass', 'x = [m for m in ms if m in ("evolution", "random")]'])
def test_a_planted_question_is_found(line):
    assert list(compared(line))


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_section_offers_what_the_function_takes_with_its_defaults(name):
    taken = inspect.signature(SELECTIONS[name].choose).parameters.values()
    own = {each.name: each.default for each in taken if each.kind is each.KEYWORD_ONLY}
    assert own == Select().options(name)


def test_a_plan_expects_seconds_of_what_judges_and_none_of_what_reads():
    def expected(**score: float) -> dict[str, bool]:
        costs = Costs(cells(), 10, 2, 1.0, lambda: 1.0, lambda: 1.0, **score)
        return {name: each.seconds(costs, **Select().options(name)) > 0 for name, each in SELECTIONS.items()}

    assert {name for name, some in expected().items() if some} == {"likeliest", "perturbation", "evolution"}
    assert {"evolution", "random"} <= {name for name, some in expected(score=1.0).items() if some}


def test_a_bench_needs_no_pipeline():
    """A search's space and some images are enough to judge children and to choose among them."""
    _, labels = images(8)
    pixels = torch.randint(256, (8, 1, 8, 8), generator=generator(0, "pixels")).to(torch.uint8)
    classes = tuple(map(str, range(CLASSES)))
    split = image_split(pixels, labels, classes)
    bench = Bench(cells(), 0, splits={"weights": split}, judged=split, batch=8)
    arch = bench.space.decide(uniform(rng(0, "test")))
    assert 0 <= bench.accuracy(arch) <= 100
    best, rows = SELECTIONS["evolution"].choose(bench, population=3, generations=1)
    assert {row["option"] for row in rows if row["kept"]} == {best.digest}
    with pytest.raises(Refused, match="needs logits"):
        SELECTIONS["magnitude"].choose(bench)


def test_parameters_are_read_without_torch():
    code = "import sys, winnow.config.reading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
