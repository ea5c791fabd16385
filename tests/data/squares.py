"""Small images of squares and discs, with boxes around them, made on the spot; and written as sources read them."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from winnow.data.boxed import padded
from winnow.data.source import Options, Part, Source

KINDS = ["square", "disc"]


def scene(rng: np.random.Generator, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """An image (3, side, side) with one to three things in it, and their boxes (k, 5)."""
    image = rng.integers(0, 60, (3, side, side), dtype=np.uint8)
    y, x = np.mgrid[:side, :side]
    boxes = []
    for _ in range(rng.integers(1, 4)):
        size, kind = int(rng.integers(6, 12)), int(rng.integers(2))
        left, top = (int(rng.integers(0, side - size)) for _ in range(2))
        inside = (x >= left) & (x < left + size) & (y >= top) & (y < top + size)
        if kind:
            inside = (x + 0.5 - left - size / 2) ** 2 + (y + 0.5 - top - size / 2) ** 2 < size**2 / 4
        image[:, inside] = [[250], [250], [250]] if kind else [[240], [90], [40]]
        boxes.append([left, top, left + size, top + size, kind])
    return image, np.array(boxes, np.float64)


def scenes(count: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    images, boxes = zip(*(scene(rng) for _ in range(count)), strict=True)
    return list(images), list(boxes)


def boxed_squares(options: Options) -> Source:
    """As a source, without files."""
    images, boxes = scenes(120)
    return Source(Part({"image": np.stack(images), "boxes": padded(boxes, 3)}), None, {"classes": KINDS})


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def write_parquet(path: Path, images: list[np.ndarray], boxes: list[np.ndarray], **metadata: str) -> Path:
    objects = [
        {"bbox": [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2, _ in each], "category": [int(b[4]) for b in each]}
        for each in boxes
    ]
    kind = pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.int64()))])
    rows = {"image": pa.array([png(each) for each in images]), "objects": pa.array(objects, kind)}
    pq.write_table(pa.table(rows).replace_schema_metadata(metadata), path)
    return path


def write_coco(folder: Path, images: list[np.ndarray], boxes: list[np.ndarray], file: str = "annotations.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, list] = {"images": [], "annotations": [], "categories": []}
    told["categories"] = [{"id": 10 * (number + 1), "name": name} for number, name in enumerate(KINDS)]
    for number, (image, each) in enumerate(zip(images, boxes, strict=True)):
        name = f"{number:03}.png"
        (folder / name).write_bytes(png(image))
        told["images"].append({"id": 100 + number, "file_name": name, "height": 32, "width": 32})
        for x1, y1, x2, y2, kind in each.tolist():
            entry = {"id": len(told["annotations"]), "image_id": 100 + number, "category_id": 10 * (int(kind) + 1)}
            told["annotations"].append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})
    (folder / file).write_text(json.dumps(told))
    return folder


def write_voc(folder: Path, images: list[np.ndarray], boxes: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, each) in enumerate(zip(images, boxes, strict=True)):
        (folder / f"{number:03}.png").write_bytes(png(image))
        objects = "".join(
            f"<object><name>{KINDS[int(kind)]}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1:g}</xmin>"
            f"<ymin>{y1 + 1:g}</ymin><xmax>{x2:g}</xmax><ymax>{y2:g}</ymax></bndbox></object>"
            for x1, y1, x2, y2, kind in each.tolist()
        )
        size = "<size><width>32</width><height>32</height><depth>3</depth></size>"
        text = f"<annotation><filename>{number:03}.png</filename>{size}{objects}</annotation>"
        (folder / f"{number:03}.xml").write_text(text)
    return folder
