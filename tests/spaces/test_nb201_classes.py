"""The published numbers of unique NAS-Bench-201 cells (Dong & Yang 2020; GRAF and VKDNW use the 9,445)."""

import itertools

import pytest

from winnow.spaces.nas_bench_201 import EDGES, OPS, from_string
from winnow.spaces.nb201_classes import CLASSES, canonical, effective


@pytest.fixture(scope="module")
def cells():
    names = [f"{node}<-{source}" for source, node in EDGES]
    return [dict(zip(names, ops, strict=True)) for ops in itertools.product(OPS, repeat=6)]


@pytest.mark.parametrize(
    ("reading", "count"), [("contracted", 12_751), ("unique", 6_466), ("effective", 9_445), ("canonical", 4_930)]
)
def test_classes_are_as_many_as_published(cells, reading, count):
    assert len({CLASSES[reading](cell) for cell in cells}) == count


def test_dead_cells_are_341_in_both_readings_that_see_them(cells):
    nothing = effective(dict.fromkeys(cells[0], "none"))
    assert sum(canonical(cell) == "" for cell in cells) == 341
    assert sum(effective(cell) == nothing for cell in cells) == 341


def test_an_operation_behind_a_cut_edge_makes_no_difference():
    cut, other = (from_string(f"|none~0|+|skip_connect~0|{op}~1|+|none~0|none~1|nor_conv_3x3~2|") for op in OPS[3:])
    assert {name for name, same in CLASSES.items() if same(cut) == same(other)} == {"unique", "effective", "canonical"}
