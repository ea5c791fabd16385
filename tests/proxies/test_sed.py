"""The hand-computed cells and the regression of the score's sheet; the reading is ours, the paper's formula is not."""

import itertools
import math
import os
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from winnow.core.errors import Refused
from winnow.core.graph import Graph
from winnow.measure.rank import kendall_tau
from winnow.proxies import score
from winnow.proxies.sed import sed_cell, sed_paths
from winnow.spaces.graphs import graphs
from winnow.spaces.nas_bench_201 import from_string

sys.path.insert(0, str(Path(__file__).parent))
from cases import batch, cell, draws

SHORT = {"3": "nor_conv_3x3", "1": "nor_conv_1x1", "s": "skip_connect", "p": "avg_pool_3x3", "n": "none"}


def text(ops: str) -> str:
    a, b, c, d, e, f = (SHORT[op] for op in ops)
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def graph(ops: str) -> Graph:
    return graphs(from_string(text(ops)))["cell"]


@pytest.mark.parametrize(
    ("ops", "value"),
    [
        *(("333333", 12), ("111111", 6), ("ssssss", 0), ("pppppp", -6), ("nnnnnn", -math.inf)),
        *(("333s31", 9), ("3n3sns", 4), ("p1s1ss", 1), ("3nn1nn", 1)),
    ],
)
def test_cells_by_hand(ops, value):
    assert sed_cell(graph(ops)) == value


def test_paths_by_hand():
    assert sed_paths(graph("ssssss")) == 0
    assert sed_paths(graph("333333")) == 16
    assert sed_paths(graph("nnnnnn")) == -math.inf


def test_of_a_network_it_is_the_cell_three_times_and_the_skeleton():
    def network(ops: str) -> float:
        return score("sed", cell(text(ops)), batch(), draws())

    skeleton = network("ssssss")  # stem, and in each of two reductions two convolutions, a pool and a shortcut
    assert skeleton == 2 + 2 * (2 + 2 - 0.5 + 1)
    for ops in ("333333", "p1s1ss", "3nn1nn"):
        assert network(ops) == skeleton + 3 * sed_cell(graph(ops))


def test_operations_of_other_spaces_are_refused():
    with pytest.raises(Refused, match="score the network itself"):
        sed_cell(Graph(((0, 1, "sep_conv_3x3"),), (0,), (1,)))


def test_the_whole_table_in_seconds_and_at_the_expected_correlation():
    folder = Path(os.environ.get("WINNOW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "nasbench201" / "nasbench201.parquet"
    if not path.exists():
        pytest.skip(f"no {path}: set WINNOW_TEST_DATA to a folder with nasbench201/nasbench201.parquet")
    table = pq.read_table(path, columns=["arch_str", "cifar10_valid_200"])
    of = {text("".join(ops)): graph("".join(ops)) for ops in itertools.product(SHORT, repeat=6)}
    began = time.process_time()
    scores = {arch: sed_cell(cell) for arch, cell in of.items()}
    assert time.process_time() - began < 2
    values = [scores[arch] for arch in table["arch_str"].to_pylist()]
    assert kendall_tau(values, table["cifar10_valid_200"].to_numpy()) == pytest.approx(0.729, abs=0.002)
