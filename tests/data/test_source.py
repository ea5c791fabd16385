from dataclasses import replace

import numpy as np
import pytest

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
    with pytest.raises(Refused, match=r"data.limit_test is 2, fewer than the 3 classes"):
        limited(np.array([0, 1, 2, 2]), 2, "limit_test", 0)


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
