import hashlib

import numpy as np
import pytest
from scipy.io import savemat

from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources.svhn import CHECKSUMS, svhn


def content(count: int, seed: int) -> dict[str, np.ndarray]:
    """As the files have it: images last, and 10 where a zero is seen."""
    images = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, count), np.uint8)
    return {"X": images, "y": (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for seed, name in enumerate(list(CHECKSUMS)):
        savemat(tmp_path / name, content(20 * (2 - seed), seed), do_compression=True)
        checksum = hashlib.md5((tmp_path / name).read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(CHECKSUMS, name, f"md5:{checksum}")
    return tmp_path


def test_images_and_digits_are_those_of_the_files(folder):
    source = svhn(Options(path=folder))
    images, labels = source.train.columns["image"], source.train.columns["label"]
    assert images.shape == (40, 3, 32, 32)
    assert (images[7, 2] == content(40, 0)["X"][:, :, 2, 7]).all()
    assert labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert len(source.test) == 20
    assert source.facts == {"classes": [*"0123456789"], "symmetric": False}


def test_limits_and_size(folder):
    source = svhn(Options(path=folder, limit_train=20, limit_test=10, image_size=8))
    assert source.train.columns["image"].shape == (20, 3, 8, 8)
    assert np.bincount(source.test.columns["label"]).tolist() == [1] * 10


def test_another_file_and_none_are_refused(folder):
    train = folder / "train_32x32.mat"
    for data in (b"", train.read_bytes()[:-1]):
        train.write_bytes(data)
        with pytest.raises(Refused, match=r"train_32x32.mat is not the published file, whose checksum is md5:"):
            svhn(Options(path=folder))
    train.unlink()
    with pytest.raises(Refused, match=r"there is no file .*train_32x32.mat; give the folder with train_32x32.mat and"):
        svhn(Options(path=folder))
