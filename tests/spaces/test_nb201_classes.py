"""The published numbers of unique NAS-Bench-201 cells (Dong & Yang 2020; GRAF and VKDNW use the 9,445)."""

import itertools

import pytest

from winnow.spaces.nas_bench_201 import EDGES, OPS, from_string
from winnow.spaces.nb201_classes import CLASSES, canonical, effective, wired


@pytest.fixture(scope="module")
def cells():
    names = [f"{node}<-{source}" for source, node in EDGES]
    return [dict(zip(names, ops, strict=True)) for ops in itertools.product(OPS, repeat=6)]


@pytest.mark.parametrize(
    ("reading", "count"),
    [("contracted", 12_751), ("unique", 6_466), ("effective", 9_445), ("canonical", 4_930), ("wired", 5_260)],
)
def test_classes_are_as_many_as_published(cells, reading, count):
    assert len({CLASSES[reading](cell) for cell in cells}) == count


def test_dead_cells_are_341_in_both_readings_that_see_them(cells):
    nothing = effective(dict.fromkeys(cells[0], "none"))
    assert sum(canonical(cell) == "" for cell in cells) == 341
    assert sum(effective(cell) == nothing for cell in cells) == 341


def test_an_operation_behind_a_cut_edge_makes_no_difference():
    cut, other = (from_string(f"|none~0|+|skip_connect~0|{op}~1|+|none~0|none~1|nor_conv_3x3~2|") for op in OPS[3:])
    assert {name for name, same in CLASSES.items() if same(cut) == same(other)} == {
        "unique",
        "effective",
        "canonical",
        "wired",
    }


def test_one_convolution_read_twice_is_not_two_convolutions():
    twice = from_string("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|")
    two = from_string("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|")
    assert canonical(twice) == canonical(two)
    assert wired(twice) != wired(two)


def test_wired_networks_are_of_one_size_and_two_poolings_are_one(cells):
    sizes: dict[str, set] = {}
    for cell in cells:
        live = list(from_string(effective(cell)).values())
        sizes.setdefault(wired(cell), set()).add((live.count("nor_conv_1x1"), live.count("nor_conv_3x3")))
    assert all(len(found) == 1 for found in sizes.values())
    twice = from_string("|avg_pool_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|")
    two = from_string("|avg_pool_3x3~0|+|none~0|none~1|+|avg_pool_3x3~0|skip_connect~1|none~2|")
    assert wired(twice) == wired(two)
