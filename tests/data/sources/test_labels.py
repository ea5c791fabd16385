"""Labels of Parquet files, whatever type, order and numbering each file keeps them in."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from winnow.core.errors import Refused
from winnow.data.source import Options, Source
from winnow.data.sources.parquet import parquet

LABELS = [0, 1, 1, 0]
TEXTS = ["cat", "dog", "dog", "cat"]


def read(path, **options) -> Source:
    return parquet(Options(path=path, **options))


def refusal(path) -> str:
    with pytest.raises(Refused) as refused:
        read(path)
    return str(refused.value)


@pytest.mark.parametrize(
    "kind",
    ["string", "large_string", "string_view", "binary", "large_binary", "binary_view", "dictionary"],
)
def test_text_of_every_type(write_parquet, tmp_path, kind):
    values = pa.array(TEXTS)
    typed = values.dictionary_encode() if kind == "dictionary" else values.cast(getattr(pa, kind)())
    source = read(write_parquet(tmp_path / "x.parquet", typed))
    assert (tuple(source.facts["classes"]), source.train.columns["label"].tolist()) == (("cat", "dog"), LABELS)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([False, True, True, False]),
        pa.array(LABELS, pa.uint64()),
        pa.array(LABELS, pa.int8()).dictionary_encode(),
        pa.array([0.0, 1.0, 1.0, 0.0]),
        pa.array([0.0, 1.0, 1.0, 0.0], pa.float32()),
        pa.array([Decimal("0.0"), Decimal("1.0"), Decimal("1.0"), Decimal("0.0")]),
    ],
    ids=lambda values: str(values.type),
)
def test_whole_numbers_of_every_type(write_parquet, tmp_path, values):
    source = read(write_parquet(tmp_path / "x.parquet", values))
    assert (tuple(source.facts["classes"]), source.train.columns["label"].tolist(), source.notes) == (
        ("0", "1"),
        LABELS,
        (),
    )


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0.5, 1.0], "holds double; labels are whole numbers or names"),
        ([[0], [1]], "several labels an image; it takes one"),
        (pa.array([0, 1], pa.date32()), r"holds date32\[day\]; labels are whole numbers or names"),
        ([{"a": 1}, {"a": 2}], "labels are whole numbers or names"),
        (["a", None], "1 of 2 values in column 'label' are null"),
        ([None, None], "no image is labelled: column 'label' holds nothing but null or -1"),
        ([-1, -1], "no image is labelled"),
        ([b"\xff", b"\xfe"], "holds binary; labels are whole numbers or names"),
    ],
)
def test_what_is_no_label_is_refused(write_parquet, tmp_path, labels, sentence):
    with pytest.raises(Refused, match=sentence):
        read(write_parquet(tmp_path / "x.parquet", labels))


@pytest.mark.parametrize("other", [pa.array(TEXTS, pa.large_string()), pa.array(TEXTS).dictionary_encode()])
def test_shards_of_several_types_are_one(write_parquet, tmp_path, other):
    write_parquet(tmp_path / "train-0.parquet", TEXTS)
    write_parquet(tmp_path / "train-1.parquet", other, seed=1)
    write_parquet(tmp_path / "train-2.parquet", pa.nulls(0), data=[])
    assert read(tmp_path).train.columns["label"].tolist() == LABELS * 2


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        ([1, 2, 2, 1], ("1", "2")),
        ([10, 20, 20, 10], ("10", "20")),
        ([0, 10**9, 10**9, 0], ("0", "1000000000")),  # once this made a name for each number up to it
        ([0, 2**62, 2**62, 0], ("0", str(2**62))),
    ],
)
def test_labels_are_numbered_from_zero_and_keep_their_values_as_names(write_parquet, tmp_path, given, classes):
    write_parquet(tmp_path / "train.parquet", given)
    write_parquet(tmp_path / "test.parquet", given[1:2], seed=1)
    source = read(tmp_path)
    assert (
        tuple(source.facts["classes"]),
        source.train.columns["label"].tolist(),
        source.test.columns["label"].tolist(),
    ) == (classes, LABELS, [1])
    assert source.notes == (f"labels {', '.join(classes)} of column 'label' are numbered 0 to 1",)


def test_class_names_in_another_order_are_mapped(write_parquet, tmp_path):
    write_parquet(tmp_path / "train-0.parquet", LABELS, names=["cat", "dog"])
    write_parquet(tmp_path / "train-1.parquet", [0, 1, 2], names=["dog", "cat", "owl"], seed=1)
    write_parquet(tmp_path / "test.parquet", [0, 1], names=["owl", "cat"], seed=2)
    source = read(tmp_path)
    assert tuple(source.facts["classes"]) == ("cat", "dog", "owl")
    assert source.train.columns["label"].tolist() == [*LABELS, 1, 0, 2]
    assert source.test.columns["label"].tolist() == [2, 0]


def test_a_class_of_the_test_set_alone_and_a_name_twice_are_refused(write_parquet, tmp_path):
    write_parquet(tmp_path / "train.parquet", LABELS, names=["cat", "dog", "owl"])
    write_parquet(tmp_path / "test.parquet", [2], names=["cat", "dog", "owl"])
    assert "test.parquet: the label 'owl' is no class of the training data (cat, dog)" in refusal(tmp_path)
    write_parquet(tmp_path / "train.parquet", LABELS, names=["cat", "cat"])
    assert "train.parquet declares a class name twice" in refusal(tmp_path)


def test_names_that_no_image_has_are_left_out_in_words(write_parquet, tmp_path):
    source = read(write_parquet(tmp_path / "x.parquet", [0, 2, 2, 0], names=["cat", "dog", "owl"]))
    assert (tuple(source.facts["classes"]), source.train.columns["label"].tolist()) == (("cat", "owl"), LABELS)
    assert source.notes == ("class names without an image left out: dog",)


def test_numbers_without_names_are_read_by_those_of_other_files(write_parquet, tmp_path):
    write_parquet(tmp_path / "train.parquet", LABELS, names=["cat", "dog"])
    write_parquet(tmp_path / "test.parquet", [1], seed=1)
    source = read(tmp_path)
    assert source.test.columns["label"].tolist() == [1]
    assert source.notes == ("test.parquet declares no class names; its numbers are read as those of other files",)
    write_parquet(tmp_path / "train.parquet", LABELS)
    write_parquet(tmp_path / "test.parquet", [1], names=["cat", "dog"], seed=1)
    assert read(tmp_path).test.columns["label"].tolist() == [1]


@pytest.mark.parametrize("unlabelled", [[-1, -1], pa.nulls(2, pa.int64()), pa.nulls(2)])
def test_an_unlabelled_test_set_is_left_out_in_words(write_parquet, tmp_path, unlabelled):
    write_parquet(tmp_path / "train.parquet", LABELS, names=["cat", "dog"])
    write_parquet(tmp_path / "test.parquet", unlabelled, seed=1)
    source = read(tmp_path)
    assert (source.test, source.left_out) == (None, {"file of test": 1})
    assert source.notes == ("test is left out: it has no labels",)
    write_parquet(tmp_path / "validation.parquet", [1], names=["cat", "dog"], seed=2)
    source = read(tmp_path)
    assert source.test.columns["label"].tolist() == [1]
    assert source.notes == ("test is left out: it has no labels", "validation is taken for the test set")
    write_parquet(tmp_path / "test.parquet", [0, 1], seed=1)
    source = read(tmp_path)
    assert source.test.columns["label"].tolist() == [0, 1]
    assert "validation is left out: test.parquet is the test set" in source.notes


def test_class_names_of_any_number_are_read(write_parquet, tmp_path):
    names = [f"class {i}" for i in range(2000)]
    file = write_parquet(tmp_path / "x.parquet", [5, 1999, 5], names=names)
    source = read(file)
    assert tuple(source.facts["classes"]) == ("class 5", "class 1999")
    assert json.dumps(source.notes).count("class") < 12
    assert source.train.columns["label"].dtype == np.int32
