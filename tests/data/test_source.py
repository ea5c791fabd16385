from dataclasses import replace

import numpy as np
import pytest
import torch

from winnow.core.errors import Refused
from winnow.data import source as sources
from winnow.data.deal import shares
from winnow.data.labelled import labelled, limited
from winnow.data.source import Part, Source
from winnow.tasks.classify import IMAGES


def checked(source: Source) -> Source:
    """As prepare does: what a source gives, and what its task makes of it."""
    return IMAGES.check(sources.checked(source))


def with_facts(source: Source, **facts) -> Source:
    return replace(source, facts={**source.facts, **facts})


def with_labels(part: Part, labels) -> Part:
    return replace(part, columns={**part.columns, "label": labels})


def refusal(source: Source) -> str:
    with pytest.raises(Refused) as refused:
        checked(source)
    return str(refused.value)


def test_checked_numbers_rows_and_repeats_grey_images(make_source, random_images):
    source = make_source(with_test=True)
    grey = labelled(random_images(4, (1, 8, 8)), np.array([0, 1, 2, 0]))
    result = checked(replace(source, test=grey))
    assert result.test.columns["image"].shape == (4, 3, 8, 8)
    assert (result.test.columns["image"] == grey.columns["image"]).all()
    assert result.test.rows.tolist() == [0, 1, 2, 3]


def test_one_class_is_refused(make_source):
    source = make_source(2)
    assert "1 class(es) ['a']" in refusal(with_facts(source, classes=["a"]))
    one = with_labels(source.train, np.ones(24, int))
    assert "all training rows are of one class, 'b'" in refusal(replace(source, train=one))


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(make_source, label):
    source = make_source(3)
    source.train.columns["label"][7] = label
    assert refusal(source).startswith(f"train: 1 label(s) out of range, the first is {label} at row 7; ")


def test_float_and_nan_images_are_refused(make_source):
    source = make_source()
    images = source.train.columns["image"].astype(np.float32)
    images[3, 0, 0, 0] = np.nan
    assert "float32 values, 1 of them NaN; it takes uint8" in refusal(
        replace(source, train=labelled(images, source.train.columns["label"]))
    )


def test_wrong_shapes_are_refused(make_source, random_images):
    source = make_source(with_test=True)
    flat = labelled(source.train.columns["image"].reshape(36, -1), source.train.columns["label"])
    assert "different lengths (image 36, label 35)" in refusal(
        replace(source, train=labelled(source.train.columns["image"], source.train.columns["label"][1:]))
    )
    assert "(36, 192)" in refusal(replace(source, train=flat))
    assert "set data.image_size" in refusal(
        replace(source, test=labelled(random_images(3, (3, 9, 9)), np.array([0, 1, 2])))
    )
    empty = labelled(np.empty((0, 3, 8, 8), np.uint8), np.empty(0, int))
    assert "the train part has no rows" in refusal(replace(source, train=empty))
    assert "'a' is there twice" in refusal(with_facts(source, classes=["a", "b", "a"]))


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
        (
            lambda i, y: labelled(i.transpose(0, 2, 3, 1), y),
            r"shape \(36, 8, 8, 3\).*write images.transpose\(0, 3, 1, 2\)",
        ),
        (
            lambda i, y: labelled(i[:, :1].transpose(0, 2, 3, 1), y),
            r"\(36, 8, 8, 1\).*write images.transpose\(0, 3, 1, 2\)",
        ),
        (lambda i, y: labelled(i[:, 0], y), r"\(36, 8, 8\).*write images\[:, None\]"),
        (lambda i, y: Part(i, y), r"columns of the source.s train are a ndarray; .* by name: train=Part\(\{.image"),
        (lambda i, y: Part({"image": i}), r"train part has columns image and no .label"),
        (lambda i, y: Part({"pixels": i, "label": y}), r"train part has columns pixels, label and no .image"),
        (lambda i, y: Part({"row": i, "label": y}), r"a column of the train part is called .row"),
        (lambda i, y: Part({"image": i, "label": y > 1}), r"bool values; .* write .astype\(np.uint8\)"),
        (lambda i, y: (i, y), r"train is a tuple; write train=Part\(\{.image"),
        (lambda i, y: None, "train is a NoneType; write train=Part"),
        (lambda i, y: labelled(i / 255, y), r"float64 values, all in 0 to 1: write \(images \* 255\).round\(\).astype"),
        (lambda i, y: labelled(i.astype(float), y), "float64 values; it takes uint8"),
        (lambda i, y: labelled(i, np.eye(3)[y]), r"got float64 \(36, 3\): write labels.argmax\(1\)"),
        (lambda i, y: labelled(i, y[:, None]), r"got int64 \(36, 1\): write labels\[:, 0\]"),
        (lambda i, y: labelled(i, [[1], [1, 2]]), "column .label. of the train part is a list that is no array"),
        (lambda i, y: labelled(i, 3), r"column .label. of the train part has shape \(\)"),
        (lambda i, y: labelled(i, y, y[:3]), r"36 train rows need as many row numbers, or rows=None; got int64 \(3,\)"),
        (lambda i, y: labelled(i, y, ["a"] * 36), "row numbers, or rows=None; got <U1"),
    ],
)
def test_what_people_write_for_a_part_is_a_sentence_with_what_to_write(make_source, change, sentence):
    source = make_source()
    with pytest.raises(Refused, match=sentence):
        checked(replace(source, train=change(source.train.columns["image"], source.train.columns["label"])))
    if (test := change(source.train.columns["image"], source.train.columns["label"])) is not None:
        with pytest.raises(Refused, match=sentence.replace("train", "test")):
            checked(replace(source, test=test))


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ((0, 1, 2), r"one is 0 \(int\): write list\(map\(str, classes\)\)"),
        (np.arange(3), "facts cannot be written as JSON"),
        ("abc", "class names are a str"),
        ({"a", "b", "c"}, "facts cannot be written as JSON"),
        (None, "facts do not name its classes"),
        (("a", "b", "\udce9"), "is no Unicode text"),
    ],
)
def test_class_names_of_other_kinds_are_refused(make_source, classes, sentence):
    with pytest.raises(Refused, match=sentence):
        checked(with_facts(make_source(), classes=classes))


def test_what_is_plain_enough_is_taken(make_source):
    source = make_source()
    part = labelled(torch.from_numpy(source.train.columns["image"]), source.train.columns["label"].tolist())
    taken = checked(replace(with_facts(source, classes=("a", "b", "c")), train=part, notes=["x"]))
    assert (taken.facts, taken.notes) == ({"classes": ["a", "b", "c"], "symmetric": True}, ("x",))
    assert (taken.train.columns["label"] == source.train.columns["label"]).all()
    many = labelled(np.repeat(source.train.columns["image"], 5, 1)[:, :13], source.train.columns["label"])
    assert checked(replace(source, train=many)).train.columns["image"].shape[1] == 13


@pytest.mark.parametrize(
    ("fact", "value"), [("facts", ["a", "b"]), ("digest", 7), ("left_out", {"x": "y"}), ("notes", "text")]
)
def test_facts_that_no_manifest_can_hold_are_refused(make_source, fact, value):
    assert f"the source's {fact} " in refusal(replace(make_source(), **{fact: value}))


def test_pixels_that_use_a_small_part_of_their_range_are_noted(make_source):
    source = make_source()
    assert checked(source).notes == ()
    dark = labelled(source.train.columns["image"] // 100, source.train.columns["label"])
    assert checked(replace(source, train=dark)).notes == ("the largest pixel of the training images is 2 of 255",)


def test_whether_mirrored_images_keep_their_label_is_true_or_false(make_source):
    assert "fact symmetric is 'no' (str); it takes True or False" in refusal(with_facts(make_source(), symmetric="no"))
    assert checked(replace(make_source(), facts={"classes": ["a", "b", "c"]})).facts["symmetric"] is True


def test_groups_are_one_a_row(make_source):
    source = make_source()
    with_groups = replace(source.train, groups=["x"] * 36)
    assert checked(replace(source, train=with_groups)).train.groups.tolist() == ["x"] * 36
    assert "36 train rows need as many groups" in refusal(
        replace(source, train=replace(source.train, groups=[1.5] * 36))
    )
