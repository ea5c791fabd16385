"""Small data sets made on the spot: every image is different, every class has twelve."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from winnow.data.labelled import classified, labelled
from winnow.data.prepare import prepare_splits
from winnow.data.source import Source
from winnow.tasks.classify import IMAGES

FRACTIONS = {"weights": 0.5, "arch": 0.25, "select": 0.25}


@pytest.fixture
def encode():
    """An array (h, w) or (h, w, 3) as the bytes of a PNG or another format."""

    def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        return file.getvalue()

    return encode


@pytest.fixture
def random_images():
    """Images (n, c, h, w) uint8 that differ from each other, the same for the same seed."""

    def random_images(count: int, shape=(3, 8, 8), seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)

    return random_images


@pytest.fixture
def make_source(random_images):
    """A source of `classes` x `each` images, with a test set of four images a class on demand."""

    def make_source(classes: int = 3, each: int = 12, *, with_test: bool = False, shape=(3, 8, 8)) -> Source:
        labels = np.tile(np.arange(classes), each)
        train = labelled(random_images(len(labels), shape), labels, np.arange(len(labels)))
        held = np.repeat(np.arange(classes), 4)
        test = labelled(random_images(len(held), shape, seed=1), held, np.arange(len(held))) if with_test else None
        return classified(train, test, "abcdefghij"[:classes], digest="raw")

    return make_source


@pytest.fixture
def write_parquet(encode, random_images):
    """A file in the Hugging Face image-classification schema; columns and values can be spoilt by the test."""

    def write_parquet(path: Path, labels, *, names=None, image="image", label="label", data=None, seed=0) -> Path:
        pixels = random_images(len(labels), seed=seed).transpose(0, 2, 3, 1)
        images = [{"bytes": encode(p), "path": None} for p in pixels] if data is None else data
        metadata = None
        if names:
            features = {label: {"names": names, "_type": "ClassLabel"}, image: {"_type": "Image"}}
            metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if data is None else None
        table = pa.table({image: pa.array(images, kind), label: labels}).replace_schema_metadata(metadata)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return path

    return write_parquet


@pytest.fixture
def digits_folder(tmp_path):
    """The splits of 400 digits, as prepare writes them."""
    folder = tmp_path / "splits"
    prepare_splits(folder, IMAGES, source="digits", seed=3, fractions=FRACTIONS, test_fraction=0.2, limit_train=400)
    return folder


@pytest.fixture
def real_cifar10() -> Path:
    """The folder of CIFAR-10 as Parquet; the test is skipped where it is absent."""
    root = os.environ.get("WINNOW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")
    folder = Path(root) / "cifar10"
    if not (folder / "train.parquet").is_file():
        pytest.skip(f"no CIFAR-10 at {folder}; WINNOW_TEST_DATA names the folder that holds cifar10/")
    return folder
