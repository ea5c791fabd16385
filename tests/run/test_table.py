"""What a benchmark's table says of a cell."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.core.errors import Refused
from winnow.run.table import true_accuracy
from winnow.spaces.nas_bench_201 import from_string

CELLS = [
    f"|{op}~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    for op in ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "bench.parquet"
    pq.write_table(pa.table({"arch_str": CELLS, "top1": [10.0, 50.0, 80.0, 80.0], "epochs": [200] * 4}), path)
    return path


def test_accuracy_and_the_share_of_cells_below(table):
    assert true_accuracy(table, from_string(CELLS[0])) == {"top1": 10.0, "top1_beats": 0.0}
    assert true_accuracy(table, from_string(CELLS[3])) == {"top1": 80.0, "top1_beats": 50.0}


def test_a_cell_that_is_not_there_is_a_sentence(table):
    with pytest.raises(Refused, match="has 0 rows for"):
        true_accuracy(table, from_string(CELLS[0].replace("none~2", "avg_pool_3x3~2")))
