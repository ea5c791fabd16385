import io
import tarfile

import numpy as np
import pytest

from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources.cifar10 import CLASSES, RECORD, TEST, TRAIN, cifar10


def records(count: int, seed: int) -> np.ndarray:
    """Images as the archive stores them: a label byte, then the pixels."""
    data = np.random.default_rng(seed).integers(0, 256, (count, RECORD), np.uint8)
    data[:, 0] = np.arange(count) % 10
    return data


def write_archive(path, files: dict[str, bytes]):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def files():
    return {name: records(20, seed).tobytes() for seed, name in enumerate(TRAIN + TEST)}


def refusal(path) -> str:
    with pytest.raises(Refused) as refused:
        cifar10(Options(path=path))
    return str(refused.value)


def test_batches_are_read_in_order(files, tmp_path):
    shuffled = dict(reversed(files.items()))
    extra = {"cifar-10-batches-bin/readme.html": b"hello", "../outside.bin": b"x", "/absolute.bin": b"x"}
    source = cifar10(Options(path=write_archive(tmp_path / "a.tar.gz", extra | shuffled)))
    expected = np.concatenate([records(20, seed) for seed in range(5)])
    assert (source.train.columns["image"].reshape(100, -1) == expected[:, 1:]).all()
    assert source.train.columns["image"].shape == (100, 3, 32, 32)
    assert source.train.columns["label"].tolist() == [*range(10)] * 10
    assert (source.test.columns["image"].reshape(20, -1) == records(20, 5)[:, 1:]).all()
    assert tuple(source.facts["classes"]) == CLASSES
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar.gz"]  # nothing was unpacked


def test_limits_and_size(files, tmp_path):
    path = write_archive(tmp_path / "a.tar.gz", files)
    source = cifar10(Options(path=path, limit_train=30, limit_test=10, image_size=16))
    assert source.train.columns["image"].shape == (30, 3, 16, 16)
    assert np.bincount(source.train.columns["label"]).tolist() == [3] * 10
    assert len(source.test.columns["label"]) == 10


def test_bad_archives_are_refused(files, tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere.tar.gz")
    path = write_archive(tmp_path / "a.tar.gz", files)
    whole = path.read_bytes()
    for data in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(data)
        assert "is damaged or no .tar.gz archive" in refusal(path)
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 0xFF
    path.write_bytes(spoilt)
    assert "is damaged or no .tar.gz archive" in refusal(path)


def test_wrong_contents_are_refused(files, tmp_path):
    path = tmp_path / "a.tar.gz"
    write_archive(path, {name: data for name, data in files.items() if name != TRAIN[3]})
    assert "has no cifar-10-batches-bin/data_batch_4.bin; it takes the binary version" in refusal(path)
    write_archive(path, files | {TEST[0]: b"short"})
    assert "hold 5 bytes, no multiple of 3073" in refusal(path)
    wrong = records(20, 0)
    wrong[4, 0] = 10
    write_archive(path, files | {TRAIN[0]: wrong.tobytes()})
    assert "the first is 10 at row 4" in refusal(path)


def test_links_in_an_archive_are_not_followed(files, tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo(TRAIN[0])
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    assert f"has no {TRAIN[0]}" in refusal(path)
