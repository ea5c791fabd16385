"""Sources of boxes: three formats give the same of the same scenes; what they cannot use is a sentence or counted."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.squares import KINDS, png, scenes, write_coco, write_parquet, write_voc
from winnow.core.errors import Refused
from winnow.data.boxed import EMPTY, OUTSIDE, SMALL, Tally, fitted
from winnow.data.source import Options
from winnow.data.sources import load_source

NAMED = {"categories": json.dumps(KINDS)}


def load(name: str, path, own=None, **options):
    return load_source(name, Options(path=path, **options), **(own or {}))


def test_three_formats_of_the_same_scenes_are_one_source(tmp_path):
    images, boxes = scenes(6)
    found = [
        load("boxes_parquet", write_parquet(tmp_path / "scenes.parquet", images, boxes, **NAMED)),
        load("coco", write_coco(tmp_path / "coco", images, boxes)),
        load("voc", write_voc(tmp_path / "voc", images, boxes), {"classes": KINDS}),
    ]
    for source in found:
        assert source.facts == {"classes": KINDS, "symmetric": True}
        assert source.test is None
        np.testing.assert_array_equal(source.train.columns["image"], np.stack(images))
        for row, each in zip(source.train.columns["boxes"], boxes, strict=True):
            np.testing.assert_array_equal(row[: len(each)], each)
            assert (row[len(each) :] == -1).all()
        assert not source.left_out
        assert not source.notes


def test_an_image_is_made_smaller_whole_and_its_boxes_with_it(tmp_path):
    image = np.full((3, 20, 40), 200, np.uint8)
    path = write_parquet(tmp_path / "one.parquet", [image], [np.array([[10.0, 0, 30, 20, 1]])], **NAMED)
    found = load("boxes_parquet", path, image_size=[16, 16]).train.columns
    assert found["boxes"].tolist() == [[[4, 0, 12, 8, 1]]]
    assert (found["image"][0, :, :8] == 200).all()
    assert (found["image"][0, :, 8:] == 128).all()  # the rest is grey


def test_folders_have_sets_by_their_names(tmp_path):
    images, boxes = scenes(6)
    write_coco(tmp_path / "train", images[:3], boxes[:3], "_annotations.coco.json")
    write_coco(tmp_path / "valid", images[3:5], boxes[3:5], "_annotations.coco.json")
    write_coco(tmp_path / "test", images[5:], boxes[5:], "_annotations.coco.json")
    found = load("coco", tmp_path)
    assert (len(found.train), len(found.test)) == (3, 1)
    assert found.left_out == {"file of validation": 1}
    assert len(load("coco", tmp_path, limit_train=2).train) == 2


def test_voc_has_sets_by_lists(tmp_path):
    write_voc(tmp_path, *scenes(5))
    lists = tmp_path / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("000\n001\n002\n")
    (lists / "val.txt").write_text("003\n")
    found = load("voc", tmp_path, {"classes": KINDS})
    assert (len(found.train), len(found.test)) == (3, 1)
    assert "validation is taken for the test set" in found.notes
    (lists / "train.txt").write_text("000 007")
    with pytest.raises(Refused, match=re.escape("train.txt lists 1 image(s) without an XML file, such as '007'")):
        load("voc", tmp_path)


def test_boxes_that_cannot_be_used_are_left_out_or_cut_and_counted():
    tally = Tally()
    boxes = [[-5, 2, 5, 8, 0], [3, 3, 3, 9, 0], [40, 40, 50, 50, 1], [2, 2, 2.5, 9, 1], [0, 0, 30, 30, 1]]
    found = fitted(np.array(boxes), (20, 20), (10, 10), "here", tally)
    assert found.tolist() == [[0, 1, 2.5, 4, 0], [0, 0, 10, 10, 1]]
    assert tally.left_out == {EMPTY: 1, OUTSIDE: 1, SMALL: 1}
    fitted(np.empty((0, 5)), (20, 20), None, "there", tally)
    assert tally.notes() == (
        "2 box(es) that reach beyond their image: cut at its border",
        "1 image(s) without a box: all of them is background",
    )
    with pytest.raises(Refused, match=re.escape("here: a box has a number that is not finite")):
        fitted(np.array([[0, 0, np.nan, 1, 0]]), (20, 20), None, "here", tally)


def test_counts_stand_in_the_source(tmp_path):
    images, boxes = scenes(3)
    boxes[0], boxes[1] = np.array([[5.0, 5, 5, 9, 0], [1, 1, 9, 9, 0]]), np.empty((0, 5))
    found = load("boxes_parquet", write_parquet(tmp_path / "few.parquet", images, boxes, **NAMED))
    assert found.left_out == {EMPTY: 1}
    assert found.notes == ("1 image(s) without a box: all of them is background",)


def changed(folder, change):
    path = folder / "annotations.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t["annotations"][0].update(category_id=7), "annotation 0 is of category 7, none of 10 (square), 20"),
        (lambda t: t["annotations"][0].update(image_id=7), "annotation 0 is of image 7, which is not there"),
        (lambda t: t["annotations"][0].update(bbox=[1, 2, 3]), "a bbox takes 4 numbers"),
        (lambda t: t["annotations"][0].pop("bbox"), "are not as COCO has them (KeyError('bbox'))"),
        (
            lambda t: t["images"][0].update(file_name="gone.png"),
            "1 image(s) are not there, or there more than once: gone",
        ),
        (
            lambda t: t["images"][0].update(width=64),
            "the image has 32 x 32 pixels (width x height) and its annotation say",
        ),
        (lambda t: t["images"].append(t["images"][0]), "1 id(s) of images are there more than once"),
        (lambda t: t["categories"][1].update(id=10), "1 id(s) of categories are there more than once, such as 10"),
        (lambda t: t.pop("categories"), "has no JSON file of training boxes (found: none)"),
        (lambda t: t["annotations"].clear(), "no box is left in any image"),
    ],
)
def test_a_coco_file_that_is_wrong_is_a_sentence(tmp_path, change, said):
    folder = write_coco(tmp_path / "coco", *scenes(2))
    with pytest.raises(Refused, match=re.escape(said)):
        load("coco", changed(folder, change))


def test_crowds_are_left_out_and_counted(tmp_path):
    folder = write_coco(tmp_path / "coco", *scenes(2))
    before = load("coco", folder)
    after = load("coco", changed(folder, lambda told: told["annotations"][0].update(iscrowd=1)))
    assert after.left_out == {"box of a crowd": 1}
    assert after.digest != before.digest


def test_other_json_below_is_left_alone_and_a_name_cannot_lead_outside(tmp_path):
    folder = write_coco(tmp_path / "coco", *scenes(2))
    (folder / "notes.json").write_text("{}")
    Image.new("RGB", (32, 32)).save(tmp_path / "outside.png")
    with pytest.raises(Refused, match="not there"):
        load("coco", changed(folder, lambda told: told["images"][0].update(file_name="../outside.png")))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<annotation>", "<!DOCTYPE a><annotation>", "declares a document type"),
        ("</annotation>", "", "is no annotation as Pascal VOC has them"),
        ("<xmax>", "<xmax>wide", "is no annotation as Pascal VOC has them"),
        ("<name>square</name>", "<name></name>", "an object has no name"),
        ("<name>square</name>", "<name>cube</name>", "'cube' is no category of training: square, disc"),
        ("<width>32", "<width>30", "its annotation says 30 x 32"),
        ("<xmin>", "<xmen>", "is no annotation as Pascal VOC has them"),
    ],
)
def test_an_xml_file_that_is_wrong_is_a_sentence(tmp_path, old, new, said):
    write_voc(tmp_path, scenes(1)[0], [np.array([[1.0, 1, 9, 9, 0]])])
    text = (tmp_path / "000.xml").read_text()
    assert old in text
    (tmp_path / "000.xml").write_text(text.replace(old, new))
    with pytest.raises(Refused, match=re.escape(said)):
        load("voc", tmp_path, {"classes": KINDS})


def written(path, kind, objects):
    pq.write_table(pa.table({"image": pa.array([png(scenes(1)[0][0])]), "objects": pa.array(objects, kind)}), path)
    return path


LISTS = pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.int64()))])
WORDS = pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.string()))])


def test_categories_are_named_by_texts_by_an_option_or_by_numbers(tmp_path):
    words = written(tmp_path / "words.parquet", WORDS, [{"bbox": [[1, 1, 4, 4]] * 2, "category": ["b", "a"]}])
    found = load("boxes_parquet", words)
    assert found.facts["classes"] == ["a", "b"]
    assert found.train.columns["boxes"][0, :, 4].tolist() == [1, 0]
    numbers = written(tmp_path / "numbers.parquet", LISTS, [{"bbox": [[1, 1, 4, 4]], "category": [1]}])
    assert load("boxes_parquet", numbers).facts["classes"] == ["0", "1"]
    assert load("boxes_parquet", numbers, {"categories": ["x", "y", "z"]}).facts["classes"] == ["x", "y", "z"]
    found = load("boxes_parquet", numbers, {"corners_given": True})
    assert found.train.columns["boxes"].tolist() == [[[1, 1, 4, 4, 1]]]


@pytest.mark.parametrize(
    ("kind", "objects", "own", "said"),
    [
        (
            LISTS,
            {"bbox": [[1, 1, 4, 4]], "category": [5]},
            {"categories": ["x"]},
            "a box is of category 5, and the cat",
        ),
        (
            LISTS,
            {"bbox": [[1, 1, 4, 4]], "category": []},
            {},
            "row 0: 1 boxes of 4 numbers need as many categories, not 0",
        ),
        (LISTS, {"bbox": [[1, 1, 4]], "category": [0]}, {}, "row 0: 1 boxes of 4 numbers"),
        (LISTS, {"bbox": [[1, 1, 4, 4]], "category": [10**9]}, {}, "a box is of category 1000000000, and categories"),
        (LISTS, {"bbox": [[1, 1, 4, 4]], "category": [-1]}, {}, "is of category -1, and they are texts, or whole num"),
        (pa.int64(), 3, {}, "holds int64; it takes struct<bbox: list, category: list>"),
        (pa.struct([("bbox", pa.int64())]), {"bbox": 3}, {}, "has no column 'category'"),
    ],
)
def test_a_column_that_is_wrong_is_a_sentence(tmp_path, kind, objects, own, said):
    path = written(tmp_path / "wrong.parquet", kind, [objects])
    with pytest.raises(Refused, match=re.escape(said)):
        load("boxes_parquet", path, own)


def test_a_path_that_is_none_is_a_sentence(tmp_path):
    for name in ("coco", "voc"):
        with pytest.raises(Refused, match=r"data\.path is not set; give a folder of images and"):
            load(name, None)
        with pytest.raises(Refused, match="is no folder"):
            load(name, tmp_path / "gone")
    with pytest.raises(Refused, match=r"data\.path is not set"):
        load("boxes_parquet", None)
    with pytest.raises(Refused, match="has no XML file"):
        load("voc", tmp_path)
