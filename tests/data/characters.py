"""Small drawings made on the spot: a class is a few strokes, a row the same strokes a little elsewhere."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from winnow.data.source import Options, Part, Source

SIDE = 12


def characters(classes: range, each: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grey images (rows, SIDE, SIDE) and their classes."""
    rng = np.random.default_rng([seed, classes.start])
    labels = np.repeat(np.array(classes), each)
    images = np.full((len(labels), SIDE, SIDE), 255, np.uint8)
    for image, label in zip(images, labels, strict=True):
        strokes = np.random.default_rng(1000 + label).integers(2, SIDE - 4, (4, 2))
        for row, column in strokes + rng.integers(-1, 2, (4, 2)):
            image[row : row + 3, column : column + 3] = rng.integers(0, 60)
    return images, labels


def write_characters(folder: Path) -> Path:
    """train.parquet of nine classes, test.parquet of four others and one of the nine."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, classes in {"train": range(9), "test": range(8, 13)}.items():
        images, labels = characters(classes, seed=len(name))
        cells = [{"bytes": png(image), "path": None} for image in images]
        pq.write_table(pa.table({"image": cells, "label": labels}), folder / f"{name}.parquet")
    return folder


def png(pixels: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def drawn(options: Options) -> Source:
    """The same as a source, without files: nine classes to learn and four to find."""
    parts = [Part({"image": images[:, None], "label": labels})
             for images, labels in (characters(range(9)), characters(range(9, 13)))]  # fmt: skip
    return Source(*parts, {"classes": [f"character {i}" for i in range(13)], "symmetric": False})
