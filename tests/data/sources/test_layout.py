"""Folders as people bring them: which part is training, test or a class, and what is left out, counted."""

import os

import numpy as np
import pytest
from PIL import Image

from winnow.core.errors import Refused
from winnow.data.source import Options, Source
from winnow.data.sources.image_folder import image_folder


@pytest.fixture
def brought(tmp_path):
    """Write "class/name.png" and so on, every image another one; a path that ends in "/" is an empty folder."""

    def brought(*names: str) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            elif "." not in path.name or path.suffix in (".png", ".jfif", ".webp", ".avif", ".TIF"):
                Image.fromarray(pixels(name)).save(path, {".png": "PNG", ".TIF": "TIFF"}.get(path.suffix, "WEBP"))
            else:
                path.write_text("no image")

    return brought


def pixels(name: str) -> np.ndarray:
    return np.random.default_rng(list(os.fsencode(name))).integers(0, 256, (8, 8, 3), np.uint8)


def read(root, **options) -> Source:
    return image_folder(Options(path=root, **options))


def refusal(root) -> str:
    with pytest.raises(Refused) as refused:
        read(root)
    return str(refused.value)


def two_classes(*tops: str) -> list[str]:
    return [f"{top}{name}/{i}.png" for top in tops for name in ("cat", "dog") for i in range(2)]


@pytest.mark.parametrize(
    ("tops", "test"),
    [
        (("TRAIN/", "TEST/"), True),
        (("training/", "testing/"), True),
        (("Train/", "val/"), True),
        (("train/", "Validation/"), True),
        (("training_set/", "test_set/"), True),
        (("train/", "val2017/"), True),
        (("train/",), False),
    ],
)
def test_splits_are_told_whatever_the_case(brought, tmp_path, tops, test):
    brought(*two_classes(*tops))
    source = read(tmp_path)
    assert tuple(source.facts["classes"]) == ("cat", "dog")
    assert len(source.train.columns["image"]) == 4
    assert (source.test is not None) == test


def test_of_test_and_validation_the_second_is_left_out_in_words(brought, tmp_path):
    brought(*two_classes("train/", "val/", "test/"), "readme.md")
    source = read(tmp_path)
    assert len(source.test.columns["image"]) == 4
    assert source.left_out == {"in val/": 4, ".md": 1}
    assert source.notes == ("val/ is left out: test/ is the test set",)


def test_a_test_set_without_classes_is_left_out_in_words(brought, tmp_path):
    brought(*two_classes("train/", "val/"), "test/1.png", "test/2.png")
    source = read(tmp_path)
    assert len(source.test.columns["image"]) == 4  # val
    assert source.left_out == {"in test/": 2}
    assert source.notes == ("val/ is taken for the test set", "test/ is left out: its images have no class folders")


def test_a_test_folder_without_images_is_named(brought, tmp_path):
    brought(*two_classes("train/"), "test/cat/")
    assert read(tmp_path).test is None
    assert read(tmp_path).notes == ("test/ is left out: it holds no image",)


@pytest.mark.parametrize("names", [("bus", "train"), ("bus", "test", "train"), ("test", "trainer", "valley")])
def test_a_folder_of_images_is_a_class_whatever_its_name(brought, tmp_path, names):
    brought(*(f"{name}/{i}.png" for name in names for i in range(2)))
    assert tuple(read(tmp_path).facts["classes"]) == names
    assert read(tmp_path).test is None


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (two_classes("images/train/", "images/test/"), "holds images/ alone .*set data.path to .*/images"),
        (two_classes("flowers/"), "holds flowers/ alone .*set data.path to .*/flowers"),
        (two_classes("train/", "Training/"), "Training and train both look like the training set"),
        (two_classes("test/", "val/"), r"splits by their names \(test, val\), with no training images"),
        (["train/1.png", "test/1.png"], r"splits by their names \(test, train\), with images themselves and no class"),
        (["train/1.png"], r"splits by their names \(train\), with images themselves and no class"),
        (["a/train/1.png", "a/test/1.png", "b/train/1.png", "b/test/2.png"], "a/ holds test, train; it takes train/CL"),
        (two_classes("train/train/", "test/test/"), "train holds train/ alone, .*if they are in train/, move them up"),
        ([*two_classes("train/"), "bus/1.png"], "train can be the training set, .* or a class beside bus"),
        ([*two_classes(""), "labels/1.xml", "labels/2.xml"], r"labels stands for a class .* no image \(2 .xml\)"),
        ([*two_classes("train/"), "test/Cat/1.png"], "has the class 'Cat' that the .* have not; nearest: 'cat'"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(brought, tmp_path, names, sentence):
    brought(*names)
    with pytest.raises(Refused, match=sentence):
        read(tmp_path)


def test_images_are_told_by_content_and_the_rest_is_counted(brought, tmp_path):
    brought(
        "a/1.png", "a/2.jfif", "a/3.avif", "a/4", "b/1.TIF", "b/2.webp", "b/x.txt", "b/y.txt", "b/z.csv", "loose.png"
    )
    brought(".git/1.png", "a/._1.png", "__MACOSX/a/1.png", "a/@eaDir/1.png", "b/thumbs.png/")
    source = read(tmp_path)
    assert source.train.columns["label"].tolist() == [0, 0, 0, 0, 1, 1]
    assert source.left_out == {"hidden": 4, ".txt": 2, ".csv": 1, "image beside the class folders": 1}


def test_an_empty_class_folder_is_left_out_in_words(brought, tmp_path):
    brought(*two_classes(""), "zebra/")
    assert tuple(read(tmp_path).facts["classes"]) == ("cat", "dog")
    assert read(tmp_path).notes == ("empty class folder(s) left out: zebra",)


def test_links_are_followed_and_come_to_an_end(brought, tmp_path):
    brought(*(f"mine/{name}" for name in two_classes("")), "pool/1.png", "pool/deep/2.png")
    mine = tmp_path / "mine"
    (mine / "cat" / "more").symlink_to(tmp_path / "pool")
    (mine / "dog" / "self").symlink_to(".")
    (mine / "dog" / "up").symlink_to("..")
    (tmp_path / "pool" / "round").symlink_to(tmp_path / "pool")
    (mine / "cat" / "12").mkdir()
    for i in range(12):  # each doubles the ways to the last one
        (mine / "cat" / f"{i}").mkdir()
        for side in "ab":
            (mine / "cat" / f"{i}" / side).symlink_to(f"../{i + 1}")
    source = read(mine)
    assert source.train.columns["label"].tolist() == [0, 0, 0, 0, 1, 1]
    assert source.left_out["link to a folder read already"] > 3


def test_what_would_block_for_ever_is_counted(brought, tmp_path):
    brought(*two_classes(""))
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    os.mkfifo(tmp_path / "dog" / "pipe")
    (tmp_path / "dog" / "zero.png").symlink_to("/dev/zero")
    assert read(tmp_path).left_out == {"no regular file": 3}


def test_all_that_cannot_be_read_is_named_at_once(brought, tmp_path, monkeypatch):
    brought(*two_classes(""))
    (tmp_path / "cat" / "a.png").symlink_to("/nowhere.png")
    (tmp_path / "dog" / "b").symlink_to("b")
    (tmp_path / "dog" / "notes.txt").symlink_to("/nowhere.txt")
    message = refusal(tmp_path)
    assert "cat/a.png (broken link)" in message
    assert "dog/b (broken link)" in message
    assert "notes" not in message
    for name in ("cat/a.png", "dog/b"):
        (tmp_path / name).unlink()
    (tmp_path / "cat" / "c.png").write_bytes(b"junk")
    (tmp_path / "cat" / "d.png").write_bytes(b"")
    monkeypatch.setattr("winnow.data.sources.image_folder.LARGEST", 10)
    message = refusal(tmp_path)
    assert message.startswith(
        "6 images cannot be used; cannot be read (it has more than 0 MiB; shrink it beforehand): "
    )
    assert "; the image cannot be decoded (no known image format): " in message
    assert all(name in message for name in ("cat/0.png", "cat/1.png", "cat/c.png", "cat/d.png", "dog/0.png"))


def test_names_that_are_no_utf8(tmp_path):
    for name in (b"caf\xe9", b"dog"):
        folder = os.fsencode(tmp_path) + b"/" + name
        os.mkdir(folder)
        for i in range(2):
            Image.fromarray(pixels(f"{name}{i}")).save(os.fsdecode(folder + b"/\xe9%d.png" % i))
    source = read(tmp_path)
    assert tuple(source.facts["classes"]) == ("café", "dog")
    assert source.notes == ("class names that are no UTF-8 are taken for Latin-1: café",)
    with open(os.fsencode(tmp_path) + b"/dog/\xff.png", "wb") as file:
        file.write(b"junk")
    assert "dog/\\xff.png: the image cannot be decoded" in refusal(tmp_path)


def test_names_that_move_a_cursor_stay_on_one_line(brought, tmp_path):
    brought(*two_classes(""))
    (tmp_path / "cat" / "x\n\x1b[2J.png").write_bytes(b"junk")
    assert r"cat/x\n\x1b[2J.png: the image cannot be decoded" in refusal(tmp_path)


def test_one_letter_in_two_spellings_is_one_class(brought, tmp_path):
    brought("train/\u00e9t\u00e9/1.png", "train/b/1.png", "test/e\u0301te\u0301/1.png")
    assert read(tmp_path).test.columns["label"].tolist() == [1]
    brought("train/e\u0301te\u0301/1.png")
    assert "differ in their bytes alone" in refusal(tmp_path)
