"""Which Parquet files of a folder are one data set."""

import os

import pyarrow.parquet as pq
import pytest

from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources.columns import read_batches
from winnow.data.sources.parquet import parquet
from winnow.data.sources.shards import NO_SPLIT, find_shards


@pytest.fixture
def placed(tmp_path):
    def placed(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return placed


@pytest.mark.parametrize(
    ("names", "train", "tests"),
    [
        (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], 1, ["test"]),
        (["TRAIN.parquet", "Val.parquet"], 1, ["validation"]),
        (["train/0.parquet", "train/1.parquet", "test/0.parquet"], 2, ["test"]),
        (["default/train/0000.parquet", "default/validation/0000.parquet"], 1, ["validation"]),
        (["train/a/0.parquet", "train/b/0.parquet", "test/0.parquet"], 2, ["test"]),
        (["training.parquet", "testing.parquet", "valid.parquet"], 1, ["test", "validation"]),
        (["train.PARQUET"], 1, []),
    ],
)
def test_layouts_of_one_data_set(placed, tmp_path, names, train, tests):
    placed(*names)
    found = find_shards(tmp_path)
    assert (len(found.train), list(found.tests)) == (train, tests)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["full/train-0.parquet", "small/train-0.parquet"], "several data sets, full, small: .* such as .*/small"),
        (["train.parquet", "small/train.parquet"], r"several data sets, \., small"),
        (["full/train/0.parquet", "small/train/0.parquet", "small/test/0.parquet"], "several data sets, full, small"),
        (
            [f"{role}/{size}/0.parquet" for role in ("train", "test") for size in ("full", "small")],
            "several data sets below its splits: full, small",
        ),
        (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "3 shards of train, 1 missing.* 00001-of"),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"], "train is there in 1 and in 2 shards"),
        (["train-full-00000-of-00001.parquet", "train-small-00000-of-00001.parquet"], "are they one data set"),
        (["train-00000-of-00001.parquet", "train.parquet"], "are they one data set"),
        (["data.parquet", "more.parquet"], "no train.*found: data.parquet, more.parquet"),
    ],
)
def test_what_is_not_one_whole_data_set_is_refused(placed, tmp_path, names, sentence):
    placed(*names)
    with pytest.raises(Refused, match=sentence):
        find_shards(tmp_path)


def test_a_broken_series_matters_where_it_is_read(write_parquet, placed, tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1])
    write_parquet(tmp_path / "val-00001-of-00002.parquet", [0, 1], seed=1)
    with pytest.raises(Refused, match="2 shards of val, 1 missing, the first is 00000-of-00002"):
        parquet(Options(path=tmp_path))
    write_parquet(tmp_path / "test.parquet", [0, 1], seed=2)
    source = parquet(Options(path=tmp_path))
    assert source.left_out == {"file of validation": 1}


def test_hidden_files_and_those_of_no_split(placed, tmp_path):
    placed("train.parquet", "test.parquet", "validation-00001-of-00002.parquet", "trainer.parquet")
    placed("._train.parquet", ".cache/train.parquet")
    found = find_shards(tmp_path)
    assert list(found.tests) == ["test", "validation"]
    assert found.left_out == {NO_SPLIT: 1}


@pytest.mark.timeout(20)
def test_a_pipe_is_no_parquet_file(tmp_path):
    os.mkfifo(tmp_path / "train.parquet")
    with pytest.raises(Refused, match="no train"):
        parquet(Options(path=tmp_path))
    with pytest.raises(Refused, match="is no regular file"):
        parquet(Options(path=tmp_path / "train.parquet"))


def test_a_name_that_is_no_utf8_is_a_sentence(write_parquet, tmp_path):
    write_parquet(tmp_path / "x.parquet", [0, 1]).rename(os.fsdecode(os.fsencode(tmp_path) + b"/train-\xe9.parquet"))
    with pytest.raises(Refused, match=r"train-\\xe9.parquet: the file's name or a folder's is no UTF-8; rename it"):
        parquet(Options(path=tmp_path))


def test_large_images_are_read_a_few_at_a_time(write_parquet, tmp_path, monkeypatch):
    file = write_parquet(tmp_path / "x.parquet", [0, 1] * 10)
    monkeypatch.setattr("winnow.data.sources.columns.BYTES_AT_ONCE", 1000)
    assert max(len(values) for values in read_batches(file, "image")) < 10
    assert len(parquet(Options(path=file)).train.columns["image"]) == 20


def test_two_columns_of_one_name_and_other_cases(write_parquet, tmp_path):
    file = write_parquet(tmp_path / "x.parquet", [0, 1])
    table = pq.read_table(file)
    pq.write_table(table.rename_columns(["Image", "LABEL"]), file)
    with pytest.raises(Refused, match=r"nearest: 'Image' .*set data.image_column"):
        parquet(Options(path=file))
    pq.write_table(table.append_column("label", table["label"]), file)
    with pytest.raises(Refused, match=r"x.parquet has 2 columns 'label'"):
        parquet(Options(path=file))
