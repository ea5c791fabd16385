import time

import numpy as np
import pytest

from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.data.prepare import prepare_splits
from winnow.data.storage import read_manifest
from winnow.tasks.classify import IMAGES

FRACTIONS = {"weights": 0.4, "arch": 0.4, "select": 0.2}


def test_parquet_from_end_to_end_with_duplicates(tmp_path, write_parquet, encode, random_images):
    pixels = random_images(40, (8, 8, 3))
    pixels[7] = pixels[9]
    data = [{"bytes": encode(image)} for image in pixels]
    write_parquet(tmp_path / "raw" / "train.parquet", [0, 1] * 20, names=["no", "yes"], data=data)
    write_parquet(tmp_path / "raw" / "test.parquet", [0, 1], data=[data[3], {"bytes": encode(pixels[0][::-1])}])
    settings = {"fractions": FRACTIONS, "test_fraction": 0.0, "seed": 1}
    manifest = prepare_splits(tmp_path / "out", IMAGES, source="parquet", path=tmp_path / "raw", **settings)
    assert manifest["duplicates"] == {"dropped_from_train": 1, "kept_together": 1}
    assert sum(split["rows"] for split in manifest["splits"].values()) == 41
    assert (manifest["facts"]["classes"], manifest["facts"]["symmetric"]) == (["no", "yes"], True)
    assert open_split(tmp_path / "out", "test", IMAGES, stage="evaluate").columns["image"].shape == (2, 3, 8, 8)


def test_bad_data_leaves_the_folder_alone(digits_folder):
    before = {entry.name: entry.read_bytes() for entry in digits_folder.iterdir()}
    settings = {"seed": 0, "fractions": FRACTIONS, "test_fraction": 0.2}
    with pytest.raises(Refused, match=r"class '\d' has 2 distinct training row"):
        prepare_splits(digits_folder, IMAGES, source="digits", limit_train=20, **settings)
    with pytest.raises(Refused, match="does not exist"):
        prepare_splits(digits_folder, IMAGES, source="parquet", path="no/where", **settings)
    assert {entry.name: entry.read_bytes() for entry in digits_folder.iterdir()} == before


def test_what_was_left_out_and_done_is_in_the_manifest(tmp_path, write_parquet, encode, random_images):
    pixels = random_images(24, (8, 8, 3))
    pixels[7], pixels[9] = pixels[5], pixels[0]
    data = [{"bytes": encode(image)} for image in pixels]
    write_parquet(tmp_path / "raw/train.parquet", [1, 2] * 12, data=data)
    write_parquet(tmp_path / "raw/test.parquet", [1], data=data[3:4])
    write_parquet(tmp_path / "raw/more.parquet", [1])
    settings = {"fractions": FRACTIONS, "test_fraction": 0.0, "seed": 1}
    manifest = prepare_splits(tmp_path / "out", IMAGES, source="parquet", path=tmp_path / "raw", **settings)
    assert manifest["left_out"] == {"Parquet file(s) of no split": 1}
    assert manifest["notes"] == [
        "labels 1, 2 of column 'label' are numbered 0 to 1",
        "1 training row(s) are in the test set too: left out of training",
        "2 training row(s) are there more than once: kept in one split",
        "4 row(s) have an equal one with another answer",
    ]
    written = read_manifest(tmp_path / "out")
    assert written == manifest | {"digest": written["digest"]}


def test_data_without_remarks_have_none_in_the_manifest(digits_folder):
    assert not {"left_out", "notes"} & set(read_manifest(digits_folder))


@pytest.mark.slow
def test_whole_cifar10_within_a_minute(tmp_path, real_cifar10):
    start = time.perf_counter()
    settings = {"seed": 0, "fractions": FRACTIONS, "test_fraction": 0.0}
    manifest = prepare_splits(tmp_path, IMAGES, source="parquet", path=real_cifar10, **settings)
    assert time.perf_counter() - start < 60
    assert {name: split["rows"] for name, split in manifest["splits"].items()} == {
        "weights": 20_000,
        "arch": 20_000,
        "select": 10_000,
        "test": 10_000,
    }
    labels = open_split(tmp_path, "weights", IMAGES, stage="search").answers
    assert np.unique(np.bincount(labels)).tolist() == [2000]
