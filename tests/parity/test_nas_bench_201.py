"""NAS-Bench-201: sizes of the benchmark's own networks, its notation, and its table where it is at hand."""

import functools
import os
import random
from pathlib import Path

import pytest
import torch

from winnow.core.choosers import uniform
from winnow.measure.cost import macs, params
from winnow.spaces.nas_bench_201 import OPS, Cell, from_string, nas_bench_201, residual, to_string

NONE, SKIP, CONV1, CONV3, POOL = OPS
TABLE = Path(os.environ.get("WINNOW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "nasbench201"


def cell(*ops: str) -> str:
    """The benchmark's string for six operations in its order."""
    a, b, c, d, e, f = ops
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


@functools.cache
def final(classes: int = 10):
    with torch.device("meta"):
        return nas_bench_201(classes=classes, final=True)


def test_the_supernet_has_the_published_size():
    with torch.device("meta"):
        assert params(nas_bench_201()) == 1_686_106


@pytest.mark.parametrize(
    ("ops", "count", "millions"),
    [
        ((NONE,) * 6, 73_306, 7.78),
        ((CONV3, CONV3, CONV3, CONV1, CONV1, CONV1), 886_426, 125.75),
        ((CONV3, POOL, CONV1, POOL, CONV1, CONV3), 615_386, 86.43),
        ((CONV3, CONV3, CONV3, SKIP, CONV3, CONV1), 1_073_466, 153.27),  # index 6111, the best by validation
        ((CONV3,) * 6, 1_531_546, 220.12),
    ],
)
def test_a_network_of_the_benchmark_has_its_size(ops, count, millions):
    child = final().derive(from_string(cell(*ops)))
    assert params(child) == count
    assert macs(child, (3, 32, 32)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_sizes_follow_the_closed_form():
    space, rng = final(), random.Random(0)
    for _ in range(5):
        arch = space.decide(uniform(rng))
        n1, n3 = (list(arch.values()).count(op) for op in (CONV1, CONV3))
        child = space.derive(arch)
        assert params(child) == 73_306 + 28_000 * n1 + 243_040 * n3
        assert macs(child, (3, 32, 32)) == 7_783_040 + 3_932_160 * n1 + 35_389_440 * n3
    arch = space.decide(lambda d: CONV3)
    sizes = [params(final(classes).derive(arch)) for classes in (10, 100, 120)]
    assert [size - sizes[0] for size in sizes] == [0, 5_850, 7_150]


def test_the_cell_made_by_hand_is_a_residual_block():
    space = nas_bench_201(channels=2, cells=1)
    first = next(m for m in space.derive(residual(space)).eval().modules() if isinstance(m, Cell))
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    one, two = first.edges[0], first.edges[2]  # 1<-0 and 2<-1
    assert torch.equal(first(x), x + two(one(x)))


def test_images_of_half_the_side_cost_a_quarter():
    child = final(120).derive(from_string(cell(*(CONV3,) * 6)))
    head = 120 * 64
    assert macs(child, (3, 32, 32)) - head == 4 * (macs(child, (3, 16, 16)) - head)


def test_all_15625_architectures_go_through_their_strings_and_back():
    with torch.device("meta"):
        space = nas_bench_201(channels=1, cells=1)
    archs = list(space.every())
    strings = [to_string(arch) for arch in archs]
    assert len(set(strings)) == len(archs) == space.count() == 15_625
    assert [from_string(string) for string in strings] == archs
    assert strings[0] == cell(*(NONE,) * 6)


def test_edges_are_in_the_order_of_the_string():
    arch = from_string(cell(CONV3, SKIP, CONV1, NONE, POOL, SKIP))
    assert dict(arch) == {"1<-0": CONV3, "2<-0": SKIP, "2<-1": CONV1, "3<-0": NONE, "3<-1": POOL, "3<-2": SKIP}


@pytest.mark.parametrize(
    "text",
    ["", cell(*(CONV3,) * 6) + " ", cell("conv", *(CONV3,) * 5), cell(*(CONV3,) * 6).replace("~1", "~0"), "|none~0|"],
)
def test_a_string_of_elsewhere_is_refused(text):
    with pytest.raises(ValueError, match="not a NAS-Bench-201 cell"):
        from_string(text)


@pytest.mark.skipif(not TABLE.is_dir(), reason="no table of NAS-Bench-201: set WINNOW_TEST_DATA to its parent folder")
def test_every_row_of_the_table_is_an_architecture_of_the_space():
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(TABLE / "nasbench201.parquet")
    rows = table.column("arch_str").to_pylist()
    assert len(rows) == 15_625
    assert {to_string(from_string(row)) for row in rows} == set(rows)
    valid = dict(zip(rows, table.column("cifar10_valid_200").to_pylist(), strict=True))
    index = dict(zip(rows, table.column("index").to_pylist(), strict=True))
    best = max(rows, key=lambda row: valid[row])
    assert (best, index[best]) == (cell(CONV3, CONV3, CONV3, SKIP, CONV3, CONV1), 6111)
    assert valid[best] == pytest.approx(91.6067, abs=1e-3)
    collapsed = cell(*(SKIP,) * 6)
    assert (index[collapsed], valid[collapsed]) == (1835, pytest.approx(39.7693, abs=1e-3))
    assert (index[cell(*(CONV3,) * 6)], index[cell(*(NONE,) * 6)]) == (1462, 1651)
