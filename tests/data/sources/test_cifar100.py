import numpy as np
import pytest

from tests.data.sources.test_cifar10 import write_archive
from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources.cifar100 import NAMES, TEST, TRAIN, cifar100

CLASSES = [f"thing_{number}" for number in range(5)]


def records(count: int, seed: int) -> np.ndarray:
    """Images as the archive stores them: the byte of a kind, that of a class, then the pixels."""
    data = np.random.default_rng(seed).integers(0, 256, (count, 3074), np.uint8)
    data[:, 0], data[:, 1] = 19 - np.arange(count) % 20, np.arange(count) % 5
    return data


@pytest.fixture
def files():
    names = "\n".join(CLASSES).encode() + b"\n"
    return {TRAIN: records(20, 0).tobytes(), TEST: records(10, 1).tobytes(), NAMES: names}


def test_the_finer_label_counts(files, tmp_path):
    source = cifar100(Options(path=write_archive(tmp_path / "a.tar.gz", files)))
    images, labels = source.train.columns["image"], source.train.columns["label"]
    assert (images.reshape(20, -1) == records(20, 0)[:, 2:]).all()
    assert labels.tolist() == [*range(5)] * 4
    assert (source.test.columns["image"].reshape(10, -1) == records(10, 1)[:, 2:]).all()
    assert source.facts["classes"] == CLASSES


def test_limits_keep_classes_in_proportion(files, tmp_path):
    source = cifar100(Options(path=write_archive(tmp_path / "a.tar.gz", files), limit_train=10, image_size=16))
    assert source.train.columns["image"].shape == (10, 3, 16, 16)
    assert np.bincount(source.train.columns["label"]).tolist() == [2] * 5


def test_what_is_wrong_is_refused(files, tmp_path):
    path = tmp_path / "a.tar.gz"
    for change, said in (
        ({NAMES: b"one\ntwo\n"}, "the first is 2 at row 2; with 2 classes"),
        ({TRAIN: b"short"}, "hold 5 bytes, no multiple of 3074"),
    ):
        with pytest.raises(Refused, match=said):
            cifar100(Options(path=write_archive(path, files | change)))
    write_archive(path, {TRAIN: files[TRAIN], NAMES: files[NAMES]})
    with pytest.raises(Refused, match=r"has no cifar-100-binary/test.bin; it takes .* cifar-100-binary.tar.gz"):
        cifar100(Options(path=path))
    with pytest.raises(Refused, match=r"does not exist; give cifar-100-binary.tar.gz, or null"):
        cifar100(Options(path=tmp_path / "nowhere"))
