"""Source table_parquet: what columns are taken for, what is missing, and what cannot be read."""

import datetime
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.visits import visits, write_visits
from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources import load_source
from winnow.data.sources.cells import key_of

ROWS = 60


def read(path, label=None, limit=None, **own):
    return load_source("table_parquet", Options(path, label_column=label, limit_train=limit), **own)


def written(tmp_path, **instead):
    return write_visits(tmp_path / "v.parquet", ROWS, **instead)


def test_columns_are_taken_by_their_types(tmp_path):
    found = read(written(tmp_path), leave_out=["at"])
    assert (found.facts["fields"], found.facts["dense"]) == (["user", "item", "hour", "weekend"], ["price"])
    cells, plain = found.train.columns["cells"], visits(ROWS)
    assert cells.dtype == np.float64
    assert (cells[:, 0] == plain["user"]).all()
    assert cells[:, 1].tolist() == [key_of(name) for name in plain["item"]]
    assert (cells[:, 3] == plain["weekend"]).all()
    assert (cells[:, 4] == plain["price"]).all()
    assert (found.train.columns["click"] == plain["click"]).all()


def test_columns_are_taken_as_one_says(tmp_path):
    found = read(written(tmp_path), categorical=["at"], dense=["hour", "weekend"], leave_out=["item"])
    assert (found.facts["fields"], found.facts["dense"]) == (["user", "at"], ["hour", "weekend", "price"])


def test_what_is_missing_is_nan_whatever_it_is_missing_from(tmp_path):
    names = [None if i % 5 == 0 else "x" for i in range(ROWS)]
    price = np.where(np.arange(ROWS) % 7, 1.5, np.nan)
    whole = [None if i % 3 == 0 else float(i) for i in range(ROWS)]  # as pandas writes whole numbers with gaps
    found = read(written(tmp_path, item=names, price=price, at=whole), categorical=["at"])
    missing = np.isnan(found.train.columns["cells"])
    assert missing.sum(0).tolist() == [0, 12, 0, 0, 20, 9]


def test_hashed_categories_are_numbers_below_the_buckets(tmp_path):
    cells = read(written(tmp_path), buckets=8, leave_out=["at"]).train.columns["cells"]
    assert set(np.unique(cells[:, :4])) <= set(range(8))
    assert cells[0, 0] == key_of(int(visits(ROWS)["user"][0]), 8)
    assert key_of("item 1") != key_of("item 2") < 2**52


def test_test_files_are_the_test_set_and_those_without_clicks_are_left_out(tmp_path):
    write_visits(tmp_path / "a/train.parquet", ROWS)
    write_visits(tmp_path / "a/test.parquet", 20, seed=1)
    found = read(tmp_path / "a", time_column="at")
    assert (len(found.train), len(found.test)) == (ROWS, 20)
    assert found.notes == ("20 of 20 test rows are earlier than the last training row",)
    write_visits(tmp_path / "a/test.parquet", 20, click=pa.nulls(20, pa.int8()))
    unlabelled = read(tmp_path / "a")
    assert unlabelled.test is None
    assert unlabelled.notes == ("test is left out: it has no labels",)


def test_times_order_rows_and_are_no_feature(tmp_path):
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(ROWS)]
    found = read(written(tmp_path, at=days), time_column="at")
    assert found.facts["ordered"]
    assert "at" not in found.facts["fields"]
    assert (np.diff(found.train.columns["time"]) == 86_400_000).all()


def test_some_rows_keep_both_kinds(tmp_path):
    found = read(written(tmp_path), limit=20)
    assert len(found.train) == 20
    assert 0 < found.train.columns["click"].sum() < 20


@pytest.mark.parametrize(
    ("instead", "own", "said"),
    [
        ({"click": np.arange(ROWS) % 5}, {}, "column 'click' holds 2, 3, 4; a click is 0 or 1: write, say, whether"),
        ({"click": ["yes"] * ROWS}, {}, "column 'click' holds string; a click is 0 or 1"),
        ({"click": [None, *[1] * (ROWS - 1)]}, {}, "1 of 60 values in column 'click' are null or -1"),
        ({"click": None}, {}, "no column 'click' or 'clicked' or 'label' or 'target'"),
        ({"click": pa.nulls(ROWS, pa.int8())}, {}, "column 'click' says of no row whether it was clicked"),
        ({"price": np.full(ROWS, np.inf)}, {}, "column 'price' holds 60 infinite number(s); write null"),
        ({"price": [[1.0]] * ROWS}, {}, "1 column(s) hold neither categories (texts, whole numbers, booleans) nor num"),
        ({"price": [b"x"] * ROWS}, {"categorical": ["price"]}, "column 'price' holds binary, no categories"),
        ({}, {"categorical": ["price"]}, "column 'price' holds real numbers, no categories: name it in data.options.d"),
        ({}, {"dense": ["item"]}, "column 'item' holds string, no numbers: it cannot be dense"),
        ({}, {"dense": ["itm"]}, "no column 'itm'; nearest: 'item'"),
        ({}, {"dense": ["click"]}, "data.options.dense names 'click', which is what is to be told"),
        ({}, {"dense": ["hour"], "leave_out": ["hour"]}, "column 'hour' is named twice among data.options"),
        ({"at": [2**60] * ROWS}, {}, "whole numbers stay below 2^53: write them as texts"),
        ({}, {"time_column": "item"}, "column 'item' holds string; a time is a number, a date or a timestamp"),
        ({}, {"time_within": "user"}, "data.options.time_within says whose order of time it is: say in data.options.t"),
        ({"at": [None, *[1] * (ROWS - 1)]}, {"time_column": "at"}, "1 of 60 times in column 'at' are null"),
        ({"at": [np.nan, *[1.0] * (ROWS - 1)]}, {"time_column": "at"}, "1 of 60 times in column 'at' are no finite nu"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path, instead, own, said):
    with pytest.raises(Refused, match=re.escape(said)) as refusal:
        read(written(tmp_path, **instead), **own)
    assert "\n" not in str(refusal.value)


def test_two_columns_of_one_name_are_a_sentence(tmp_path):
    columns = [pa.array(np.arange(ROWS) % 3)] * 2 + [pa.array(np.arange(ROWS) % 2)]
    pq.write_table(pa.Table.from_arrays(columns, ["user", "user", "click"]), tmp_path / "twice.parquet")
    with pytest.raises(Refused, match="has 2 columns 'user'; give each a name of its own"):
        read(tmp_path / "twice.parquet")
