import numpy as np
import pytest

from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources.image_folder import image_folder


@pytest.fixture
def fill(encode, random_images):
    """Write images into root/class folders; returns them in the order of the classes and file names."""

    def fill(root, classes, each=3, seed=0):
        images = random_images(len(classes) * each, (8, 8, 3), seed)
        for number, pixels in enumerate(images):
            file = root / classes[number // each] / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(pixels))
        return images.transpose(0, 3, 1, 2)

    return fill


def refusal(**options) -> str:
    with pytest.raises(Refused) as refused:
        image_folder(Options(**options))
    return str(refused.value)


def test_one_level(fill, tmp_path):
    images = fill(tmp_path, ["ant", "bee"])
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    source = image_folder(Options(path=tmp_path))
    assert (tuple(source.facts["classes"]), source.test) == (("ant", "bee"), None)
    assert (source.train.columns["image"] == images).all()
    assert source.train.columns["label"].tolist() == [0, 0, 0, 1, 1, 1]


def test_train_and_test(fill, tmp_path):
    fill(tmp_path / "train", ["ant", "bee"], seed=1)
    images = fill(tmp_path / "test", ["bee"], seed=2)
    source = image_folder(Options(path=tmp_path, limit_train=4))
    assert (source.test.columns["image"] == images).all()
    assert source.test.columns["label"].tolist() == [1, 1, 1]
    assert np.bincount(source.train.columns["label"]).tolist() == [2, 2]


def test_digest_sees_names_and_pixels(fill, tmp_path):
    for name in ("one", "two"):
        fill(tmp_path / name, ["ant", "bee"])
    digests = [image_folder(Options(path=tmp_path / name)).digest for name in ("one", "two")]
    assert digests[0] == digests[1]
    (tmp_path / "two/ant/000.png").rename(tmp_path / "two/ant/0.png")
    assert image_folder(Options(path=tmp_path / "two")).digest != digests[0]
    fill(tmp_path / "one", ["ant", "bee"], seed=5)
    assert image_folder(Options(path=tmp_path / "one")).digest != digests[0]


def test_bad_folders_are_refused(fill, tmp_path):
    assert "data.path is not set" in refusal()
    assert "is no folder" in refusal(path=tmp_path / "nowhere")
    assert "has no subfolders" in refusal(path=tmp_path)
    (tmp_path / "ant").mkdir()
    assert "has no image files" in refusal(path=tmp_path)
    fill(tmp_path, ["ant", "bee"])
    (tmp_path / "ant" / "bad.png").write_bytes(b"junk")
    assert "bad.png: the image cannot be decoded" in refusal(path=tmp_path)


def test_a_class_of_the_test_set_alone_is_refused(fill, tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    fill(tmp_path / "test", ["ant", "wasp"])
    assert "has the class 'wasp'" in refusal(path=tmp_path)
