"""Task clicks: its numbers on paper, warnings of columns that tell too much, splits in the order of time."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.data.visits import visits, write_visits
from winnow.core.errors import Refused
from winnow.data.deal import in_time, in_time_within
from winnow.data.prepare import prepare_splits
from winnow.data.schema import columns_of
from winnow.data.source import Part, Source
from winnow.data.storage import read_split
from winnow.tasks.clicks import CLICKS, auc

HALVES = {"weights": 0.5, "arch": 0.25, "select": 0.25}


def test_the_numbers_of_five_rows():
    """Five of six pairs in order, one tied: 11/12; the log loss and its share of the base rate's entropy by hand."""
    chances, clicks = torch.tensor([0.8, 0.6, 0.6, 0.3, 0.1]), torch.tensor([1, 0, 1, 0, 0])
    logits = chances.logit()[:, None]
    found = CLICKS.measure([logits[:2], logits[2:]], [clicks[:2], clicks[2:]])
    assert found == {"auc": pytest.approx(11 / 12, abs=1e-6), "loss": pytest.approx(0.422459, abs=1e-6)}
    told = CLICKS.told([logits, logits], clicks, {})
    assert told["normalised_entropy"] == pytest.approx(0.627714, abs=1e-6)
    assert told["log_losses"] == pytest.approx([0.422459] * 2, abs=1e-6)
    assert CLICKS.measure([3 * logits + 1], [clicks])["auc"] == pytest.approx(11 / 12)  # of any monotone map


def test_auc_is_the_share_of_pairs_in_order():
    draws = torch.Generator().manual_seed(0)
    scores, clicks = torch.randint(7, (60,), generator=draws).float(), torch.rand(60, generator=draws) < 0.3
    pairs = (scores[clicks][:, None] - scores[~clicks][None]).sign()
    assert auc(scores, clicks) == pytest.approx(float((pairs + 1).mean() / 2))
    assert auc(torch.full((4,), torch.nan), torch.tensor([1, 0, 1, 0])) == 0.5  # a network that is lost
    with pytest.raises(ValueError, match="0 rows are clicked and 60 are not"):
        auc(scores, torch.zeros(60))


def test_chances_are_held_against_what_came():
    logits = torch.tensor([0.1, 0.1, 0.9, 0.9]).logit()[:, None]
    rows = CLICKS.pictures["calibration"].rows([logits], torch.tensor([0, 1, 1, 1]), {})
    assert [row["clicked"] for row in rows] == [0.5, 1.0]
    assert [row["chance"] for row in rows] == pytest.approx([0.1, 0.9])


def source(rows: int = 200, **columns: np.ndarray) -> Source:
    plain = visits(rows)
    cells = {"user": plain["user"], **{name: v for name, v in columns.items() if v.dtype.kind == "i"}}
    numbers = {"price": plain["price"], **{name: v for name, v in columns.items() if v.dtype.kind == "f"}}
    table = np.stack([*cells.values(), *numbers.values()], 1).astype(np.float64)
    return Source(Part({"cells": table, "click": plain["click"]}), None, {"fields": [*cells], "dense": [*numbers]})


CLICKED = visits(200)["click"]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (CLICKED.astype(np.int64), "column 'odd' alone tells the label: is it known before the click?"),
        (-3.0 * CLICKED + 7, "column 'odd' alone tells the label"),
        (CLICKED + np.linspace(0, 0.9, 200), "column 'odd' alone tells the label"),  # whichever side of a threshold
        (10 * CLICKED.astype(np.int64) + np.arange(200) % 7, "column 'odd' alone tells the label"),
        (np.full(200, 3.5), "column 'odd' has the same value in every row, so it says nothing"),
        (np.full(200, np.nan), "column 'odd' has no value in any row, so it says nothing"),
        (np.arange(200), "column 'odd' has another value in every row, so it says nothing of new ones"),
    ],
)
def test_a_column_that_tells_the_label_or_nothing_is_warned_of(column, said):
    (note,) = CLICKS.check(source(odd=column)).notes
    assert note.startswith("warning: ")
    assert said in note


def test_ordinary_columns_are_not():
    assert CLICKS.check(source(hour=visits(200)["hour"].astype(np.int64))).notes == ()


@pytest.mark.parametrize(
    ("clicks", "said"),
    [
        (np.ones(200, np.int8), "all train rows are 'clicked'; it takes rows of both kinds"),
        (np.arange(200) % 3, "the train clicks are int64 (200,) with values [0, 1, 2]; each is 0 or 1"),
        (np.zeros((200, 1)), "the train clicks are float64 (200, 1)"),
    ],
)
def test_clicks_of_one_kind_or_of_three_are_a_sentence(clicks, said):
    given = source()
    part = replace(given.train, columns={**given.train.columns, "click": clicks})
    with pytest.raises(Refused, match=re.escape(said)):
        CLICKS.check(replace(given, train=part))


def test_rows_are_split_in_the_order_of_time(tmp_path):
    order = np.random.default_rng(0).permutation(400)
    columns = {name: np.asarray(values)[order] for name, values in visits(400).items()}
    path = write_visits(tmp_path / "v.parquet", 400, **columns)
    manifest = prepare_splits(
        tmp_path, CLICKS, source="table_parquet", seed=0, fractions=HALVES, test_fraction=0.25, path=path,
        own={"time_column": "at"},
    )  # fmt: skip
    times = {name: columns_of(read_split(tmp_path, name, manifest))["time"] for name in manifest["splits"]}
    assert [len(each) for each in times.values()] == [150, 75, 75, 100]
    ends = [(each.min(), each.max()) for each in times.values()]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))


def test_rows_of_one_moment_stay_together():
    fractions = {"weights": 0.5, "arch": 0.25, "select": 0.25}
    splits = in_time(np.repeat([3, 1, 2, 4], [10, 25, 5, 10]), fractions)
    assert splits.tolist() == [1] * 10 + [0] * 25 + [1] * 5 + [2] * 10  # 25 rows of time 1 fill the first half
    with pytest.raises(Refused, match="there are 2 different times, and no row for split"):
        in_time(np.array([1, 1, 2]), fractions)


def test_rows_are_split_in_each_users_own_order(tmp_path):
    path = write_visits(tmp_path / "v.parquet", 400)
    manifest = prepare_splits(
        tmp_path, CLICKS, source="table_parquet", seed=0, fractions=HALVES, test_fraction=0.25, path=path,
        own={"time_column": "at", "time_within": "user"},
    )  # fmt: skip
    splits = {name: columns_of(read_split(tmp_path, name, manifest)) for name in manifest["splits"]}
    for user in range(12):
        times = [each["time"][each["owner"] == user] for each in splits.values()]
        assert all(one.max() < other.min() for one, other in itertools.pairwise(times))
        assert len(times[0]) == pytest.approx(0.375 * sum(map(len, times)), abs=1)


def test_an_order_within_users_of_one_row_is_a_sentence():
    with pytest.raises(Refused, match="no owner has enough rows for one in split weights"):
        in_time_within(np.arange(9), np.arange(9), HALVES)


def test_a_split_in_time_without_clicks_is_a_sentence(tmp_path):
    clicks = np.r_[np.arange(150) % 2, np.zeros(50, np.int64)]
    path = write_visits(tmp_path / "v.parquet", 200, click=clicks)
    with pytest.raises(Refused, match="in the order of time the rows of split test are all 'not clicked'"):
        prepare_splits(
            tmp_path, CLICKS, source="table_parquet", seed=0, fractions=HALVES, test_fraction=0.2, path=path,
            own={"time_column": "at"},
        )  # fmt: skip


def test_rows_of_test_in_training_and_unseen_categories_are_counted(tmp_path):
    write_visits(tmp_path / "d/train.parquet", 300, at=None)
    both = {name: np.r_[np.asarray(v)[:5], np.asarray(v)[:5]] for name, v in visits(300).items()}
    write_visits(tmp_path / "d/test.parquet", 10, **both | {"user": np.r_[both["user"][:5], [77] * 5], "at": None})
    manifest = prepare_splits(
        tmp_path, CLICKS, source="table_parquet", seed=0, fractions=HALVES, test_fraction=0.2, path=tmp_path / "d"
    )
    assert manifest["duplicates"]["dropped_from_train"] == 5
    assert "rows of split test with a category unseen in training, which all share one id: user 5" in manifest["notes"]
    assert manifest["facts"]["fields"] == ["user", "item", "hour", "weekend"]


def test_a_smaller_resolution_is_refused():
    with pytest.raises(Refused, match="clicks has no smaller resolution"):
        CLICKS.reduced(None, 1, 1.0, torch.Generator())
