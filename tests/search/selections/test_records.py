"""The records of strategies and selections: nobody else asks for a name, and a bench needs no pipeline."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.search.toys import CLASSES, cells, images
from tests.splits import image_split
from winnow.config.methods import selection, selection_options
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.search.bench import Bench
from winnow.search.costs import Costs
from winnow.search.methods import STRATEGIES
from winnow.search.selection import unsummed
from winnow.search.selections import SELECTIONS
from winnow.train.seeds import generator, rng

REPOSITORY = Path(__file__).parents[3]
AT_HOME = ("src/winnow/search/methods/", "src/winnow/search/selections/")
OTHERS = {  # a sampler, a column, points, a folder, a key and a backbone: names of other things
    *(f"src/winnow/look/{name}.py" for name in ("replay", "side_by_side", "tradeoff", "trials")),
    *(f"src/winnow/run/{name}.py" for name in ("search_trials", "trials")),
    "src/winnow/spaces/ensemble.py",
    "src/winnow/tools/clean.py",
}


NAMES = {*SELECTIONS, *STRATEGIES}


def compared(source: str) -> Iterator[str]:
    """ "line: name" of each comparison with the name of a selection or strategy, "in" a list of such included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            for constant in ast.walk(node):
                if isinstance(constant, ast.Constant) and constant.value in NAMES:
                    yield f"{node.lineno}: {constant.value}"


def test_nobody_else_asks_for_a_strategy_or_selection_by_name():
    paths = [*(REPOSITORY / "src").rglob("*.py"), *(REPOSITORY / "pipelines").rglob("*.py")]
    names = {path.relative_to(REPOSITORY).as_posix(): path for path in paths}
    assert set(names) >= OTHERS
    assert any(name.startswith(AT_HOME) for name in names)
    outside = [name for name in names if not name.startswith(AT_HOME) and name not in OTHERS]
    assert not [f"{name}:{each}" for name in outside for each in compared(names[name].read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    "line",
    [
        'if method == "prune": pass',
        'x = params.search.strategy in ("spos", "darts")',
        'x = [m for m in ms if m in ("evolution", "random")]',
    ],
)
def test_a_planted_question_is_found(line):
    assert list(compared(line))


def test_a_plan_expects_seconds_of_what_judges_and_none_of_what_reads():
    def expected(**score: float) -> dict[str, bool]:
        costs = Costs(cells(), 10, 20, 2, 1.0, lambda: 1.0, lambda: 1.0, **score)
        given = {name: selection_options(name)().model_dump() for name in SELECTIONS}
        return {name: selection(name).expected(costs, given[name]) > 0 for name in SELECTIONS}

    judging = {"likeliest", "perturbation", "evolution", "finalists", "annealing", "exact", "shortlist"}
    assert {name for name, some in expected().items() if some} == judging
    assert {"evolution", "finalists", "random"} <= {name for name, some in expected(score=1.0).items() if some}


def test_a_bench_needs_no_pipeline():
    """A search's space and some images are enough to judge children and to choose among them."""
    _, labels = images(8)
    pixels = torch.randint(256, (8, 1, 8, 8), generator=generator(0, "pixels")).to(torch.uint8)
    classes = tuple(map(str, range(CLASSES)))
    split = image_split(pixels, labels, classes)
    bench = Bench(cells(), 0, splits={"weights": split}, judged=split, batch=8)
    arch = bench.space.decide(uniform(rng(0, "test")))
    assert 0 <= bench.score(arch) <= 100
    best, rows = selection("evolution").choose(bench, population=3, generations=1)
    assert {row["option"] for row in rows if row["kept"]} == {best.digest}
    with pytest.raises(Refused, match="needs logits"):
        selection("magnitude").choose(bench)


def test_parameters_are_read_without_torch():
    code = "import sys, winnow.config.reading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("name", "options", "seconds"), [
    ("likeliest", {"count": 7}, 7 * 10 * 0.5),
    ("shortlist", {}, 10 * (10 + 20) * 0.5),
    ("evolution", {"population": 6, "generations": 2}, 6 * 3 * (10 + 20) * 0.5),
    ("evolution", {"population": 6, "generations": 2, "calibration_images": 90}, 6 * 3 * (10 + 90) * 0.5),
    ("annealing", {"samples": 30, "candidates": 4}, 34 * (10 + 20) * 0.5),
    ("exact", {"samples": 30}, 31 * (10 + 20) * 0.5),
    ("perturbation", {"tune_epochs": 3}, 6 * 5 * 10 * 0.25 + 6 * 3 * 2 * 7.0),  # six edges of one type, an event each
    ("perturbation", {"tune_epochs": 0}, 6 * 5 * 10 * 0.25),
])  # fmt: skip
def test_a_plan_counts_what_a_selection_will_do(name, options, seconds):
    """10 images judge, 20 are of statistics; an image takes a child half a second and a mixture a quarter."""
    costs = Costs(cells(), 10, 20, 2, 7.0, lambda: 0.25, lambda: 0.5)
    assert selection(name).expected(costs, {**selection_options(name)().model_dump(), **options}) == seconds


def test_a_plan_counts_proxies_where_nothing_is_trained():
    costs = Costs(cells(), 10, 20, 2, 7.0, lambda: 0.25, lambda: 0.5, score=3.0)
    given = {"random": {"samples": 8}, "evolution": {"population": 6, "generations": 2}}
    assert {name: selection(name).expected(costs, options) for name, options in given.items()} == {
        "random": 24.0,
        "evolution": 54.0,
    }


def test_those_that_say_they_count_sums_are_those_that_refuse_limits_on_whole_networks(monkeypatch):
    """Whoever asks the record before anything is trained then says what the selection itself would."""

    def judged(self, arch):
        raise Refused("something is judged")

    monkeypatch.setattr(Bench, "score", judged)

    def refuses(name: str) -> bool:
        bench = Bench(cells(), 0, whole="milliseconds that are measured")
        try:
            selection(name).choose(bench)
        except Refused as refusal:
            return str(refusal) == unsummed(name, bench.whole)
        return False

    assert {name for name in SELECTIONS if selection(name).sums} == set(filter(refuses, SELECTIONS))
