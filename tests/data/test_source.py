from dataclasses import replace

import numpy as np
import pytest
import torch

from winnow.core.errors import Refused
from winnow.data.source import Part, Source, checked, limited, shares


def refusal(source: Source) -> str:
    with pytest.raises(Refused) as refused:
        checked(source)
    return str(refused.value)


def test_checked_numbers_rows_and_repeats_grey_images(make_source, random_images):
    source = make_source(with_test=True)
    grey = Part(random_images(4, (1, 8, 8)), np.array([0, 1, 2, 0]))
    result = checked(replace(source, test=grey))
    assert result.test.images.shape == (4, 3, 8, 8)
    assert (result.test.images == grey.images).all()
    assert result.test.rows.tolist() == [0, 1, 2, 3]


def test_one_class_is_refused(make_source):
    source = make_source(2)
    assert "1 class(es) ['a']" in refusal(replace(source, classes=("a",)))
    one = replace(source.train, labels=np.ones(24, int))
    assert "all training images are of one class, 'b'" in refusal(replace(source, train=one))


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(make_source, label):
    source = make_source(3)
    source.train.labels[7] = label
    assert refusal(source).startswith(f"train: 1 label(s) out of range, the first is {label} at row 7; ")


def test_float_and_nan_images_are_refused(make_source):
    source = make_source()
    images = source.train.images.astype(np.float32)
    images[3, 0, 0, 0] = np.nan
    assert "float32 values, 1 of them NaN; it takes uint8" in refusal(
        replace(source, train=replace(source.train, images=images))
    )


def test_wrong_shapes_are_refused(make_source, random_images):
    source = make_source(with_test=True)
    assert "36 train images need as many" in refusal(
        replace(source, train=Part(source.train.images, source.train.labels[1:]))
    )
    assert "(36, 192)" in refusal(replace(source, train=Part(source.train.images.reshape(36, -1), source.train.labels)))
    assert "set data.image_size" in refusal(
        replace(source, test=Part(random_images(3, (3, 9, 9)), np.array([0, 1, 2])))
    )
    empty = Part(np.empty((0, 3, 8, 8), np.uint8), np.empty(0, int))
    assert "(0, 3, 8, 8)" in refusal(replace(source, train=empty))
    assert "'a' is there twice" in refusal(replace(source, classes=("a", "b", "a")))


def test_limited_keeps_the_shares_and_depends_on_the_seed_alone():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    rows = limited(labels, 20, "limit_train", 5)
    assert np.bincount(labels[rows]).tolist() == [12, 6, 2]
    assert (rows == np.unique(rows)).all()
    assert (rows == limited(labels, 20, "limit_train", 5)).all()
    assert (rows != limited(labels, 20, "limit_train", 6)).any()
    assert len(limited(labels, None, "limit_train", 0)) == len(limited(labels, 1000, "limit_train", 0)) == 100


def test_limited_below_the_number_of_classes_is_refused():
    with pytest.raises(
        Refused, match=r"data.limit_test is 2, fewer than the 3 classes; give at least 3: one image a class"
    ):
        limited(np.array([0, 1, 2, 2]), 2, "limit_test", 0)
    with pytest.raises(Refused, match=r"data.limit_train is 2, .* give at least 12: four images a class, one a split"):
        limited(np.array([0, 1, 2, 2]), 2, "limit_train", 0)


@pytest.mark.parametrize(
    ("total", "fractions", "expected"),
    [
        (10, [0.5, 0.25, 0.25], [5, 3, 2]),
        (3, [0.9, 0.05, 0.05], [1, 1, 1]),
        (4, [0.9, 0.05, 0.05], [2, 1, 1]),
        (100, [0.98, 0.01, 0.01], [98, 1, 1]),
    ],
)
def test_shares(total, fractions, expected):
    assert shares(total, np.array(fractions)).tolist() == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda i, y: Part(i.transpose(0, 2, 3, 1), y), r"shape \(36, 8, 8, 3\).*write images.transpose\(0, 3, 1, 2\)"),
        (
            lambda i, y: Part(i[:, :1].transpose(0, 2, 3, 1), y),
            r"\(36, 8, 8, 1\).*write images.transpose\(0, 3, 1, 2\)",
        ),
        (lambda i, y: Part(i[:, 0], y), r"\(36, 8, 8\).*write images\[:, None\]"),
        (lambda i, y: Part(i.tolist(), y), "train images are a list; .*: write np.asarray"),
        (lambda i, y: Part(torch.from_numpy(i), y), r"train images are a Tensor; .*: add .numpy\(\)"),
        (lambda i, y: (i, y), r"train is a tuple; write train=Part\(images, labels\)"),
        (lambda i, y: None, "train is a NoneType; write train=Part"),
        (lambda i, y: Part(i / 255, y), r"float64 values, all in 0 to 1: write \(images \* 255\).round\(\).astype"),
        (lambda i, y: Part(i.astype(float), y), "float64 values; it takes uint8"),
        (lambda i, y: Part(i, np.eye(3)[y]), r"got float64 \(36, 3\): write labels.argmax\(1\)"),
        (lambda i, y: Part(i, y[:, None]), r"got int64 \(36, 1\): write labels\[:, 0\]"),
        (lambda i, y: Part(i, [[1], [1, 2]]), "train labels are a list that is no array of numbers"),
        (lambda i, y: Part(i, 3), r"got int64 \(\)"),
        (lambda i, y: Part(i, y, y[:3]), r"36 train images need as many row numbers, or rows=None; got int64 \(3,\)"),
        (lambda i, y: Part(i, y, ["a"] * 36), "row numbers, or rows=None; got <U1"),
    ],
)
def test_what_people_write_for_a_part_is_a_sentence_with_what_to_write(make_source, change, sentence):
    source = make_source()
    with pytest.raises(Refused, match=sentence):
        checked(replace(source, train=change(source.train.images, source.train.labels)))
    if (test := change(source.train.images, source.train.labels)) is not None:
        with pytest.raises(Refused, match=sentence.replace("train", "test")):
            checked(replace(source, test=test))


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ((0, 1, 2), r"one is 0 \(int\): write tuple\(map\(str, classes\)\)"),
        (range(3), r"one is 0 \(int\)"),
        (np.arange(3), r"\(int64\): write"),
        ("abc", "class names are a str"),
        ({"a", "b", "c"}, "class names are a set"),
        (None, "class names are a NoneType"),
        (("a", "b", "\udce9"), "is no Unicode text"),
    ],
)
def test_class_names_of_other_kinds_are_refused(make_source, classes, sentence):
    with pytest.raises(Refused, match=sentence):
        checked(replace(make_source(), classes=classes))


def test_what_is_plain_enough_is_taken(make_source):
    source = make_source()
    part = Part(source.train.images, torch.from_numpy(source.train.labels))
    taken = checked(replace(source, train=part, classes=np.array(["a", "b", "c"]), symmetric=np.True_, notes=["x"]))
    assert (taken.classes, taken.symmetric, taken.notes) == (("a", "b", "c"), True, ("x",))
    assert all(type(name) is str for name in taken.classes)
    assert (taken.train.labels == source.train.labels).all()
    many = Part(np.repeat(source.train.images, 5, 1)[:, :13], source.train.labels)
    assert checked(replace(source, train=many)).train.images.shape[1] == 13


@pytest.mark.parametrize(
    ("fact", "value"), [("symmetric", "no"), ("digest", 7), ("left_out", {"x": "y"}), ("notes", "text")]
)
def test_facts_that_no_manifest_can_hold_are_refused(make_source, fact, value):
    assert f"the source's {fact} " in refusal(replace(make_source(), **{fact: value}))


def test_pixels_that_use_a_small_part_of_their_range_are_noted(make_source):
    source = make_source()
    assert checked(source).notes == ()
    dark = Part(source.train.images // 100, source.train.labels)
    assert checked(replace(source, train=dark)).notes == ("the largest pixel of the training images is 2 of 255",)
