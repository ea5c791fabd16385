"""Parquet files in the Hugging Face object-detection schema: an image a row, and lists of boxes and categories."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.source import Options, Source
from winnow.data.sources.annotated import Annotated, boxed, corners, some
from winnow.data.sources.columns import nearest_column, opened, read_column
from winnow.data.sources.sets import Column, Set, Sets, encoded, files_digest
from winnow.data.sources.shards import check_whole, find_shards

IMAGE_NAMES, IMAGE_COLUMN = ("image", "img"), "data.image_column"
OBJECT_NAMES, OBJECT_COLUMN = ("objects", "annotations"), "data.options.objects_column"
BOX_NAMES, KIND_NAMES = ("bbox", "boxes", "box"), ("category", "categories", "category_id", "label", "labels")
UNNAMED = 10_000  # categories known by their number alone
SUPPORTED = "images must be encoded (JPEG, PNG), as struct<bytes, path> or binary, one a row"


def boxes_parquet(
    options: Options,
    *,
    objects_column: str | None = None,
    corners_given: bool = False,
    categories: list[str] = [],  # noqa: B006
) -> Source:
    """Images as for `parquet`, and a column `objects` of struct<bbox: list<4 numbers>, category: list>; files likewise.

    A box is x, y, width, height in pixels from the top left, or with `corners_given` x1, y1, x2, y2. Categories are
    texts, or whole numbers from 0, whose names are `categories`, or those that the file's schema tells (Hugging Face's,
    or `categories` as JSON), or the numbers themselves. Refused on a category without a name.
    """
    if options.path is None:
        raise Refused(
            "data.source is 'boxes_parquet' and data.path is not set; give a Parquet file or a folder of them"
        )
    shards = find_shards(Path(options.path))
    image = Column(options.image_column, IMAGE_NAMES, IMAGE_COLUMN).of(shards.train[0])
    column = nearest_column(
        objects_column, opened(shards.train[0]).schema_arrow.names, OBJECT_NAMES, shards.train[0].name, OBJECT_COLUMN
    )
    left_out, notes = shards.left_out, []
    groups = [shards.train]
    for role, files in shards.tests.items():
        if len(groups) > 1:
            left_out[f"file of {role}"] += len(files)
            notes.append(f"{role} is left out: {groups[1][0].name} is the test set")
            continue
        check_whole(Path(options.path), files)
        groups.append(files)
        notes += [f"{role} is taken for the test set"] * (role != "test")
    objects = [[each for file in files for each in _objects(file, column)] for files in groups]
    names = categories or _named(shards.train[0], column) or _seen(objects[0])
    sets = []
    for files, each, limit in zip(groups, objects, (options.limit_train, options.limit_test), strict=False):
        rows = some(len(each), limit, options.seed)
        boxes = [_boxes(place, four, kinds, names, corners_given) for place, four, kinds in map(each.__getitem__, rows)]
        one = Sets([Set(files, np.zeros(len(each), np.int32), rows)], image, (), {}, ())
        sets.append(Annotated(encoded(one, "image", SUPPORTED, IMAGE_COLUMN), boxes, rows))
    digest = files_digest([file for files in groups for file in files])
    return boxed(sets, names, options, digest=digest, left_out=dict(left_out), notes=notes)


def _objects(file: Path, column: str) -> Iterator[tuple[str, Any, Any]]:
    """(place, boxes, categories) of each row."""
    values = read_column(file, column, OBJECT_COLUMN)
    if not pa.types.is_struct(values.type):
        raise Refused(
            f"{file.name}: column {column!r} holds {values.type}; it takes struct<bbox: list, category: list>, lists "
            "of one length"
        )
    names = [field.name for field in values.type]
    box = nearest_column(None, names, BOX_NAMES, f"{file.name}, column {column}", OBJECT_COLUMN)
    kind = nearest_column(None, names, KIND_NAMES, f"{file.name}, column {column}", OBJECT_COLUMN)
    for number, value in enumerate(values.to_pylist()):
        place, value = f"{file.name}, row {number}", value or {box: [], kind: []}
        boxes, kinds = value[box] or [], value[kind] or []
        if len(boxes) != len(kinds) or any(each is None or len(each) != 4 for each in boxes):
            raise Refused(f"{place}: {len(boxes)} boxes of 4 numbers need as many categories, not {len(kinds)}")
        yield place, boxes, kinds


def _boxes(place: str, boxes: list[Any], kinds: list[Any], names: Sequence[str], given: bool) -> np.ndarray:
    """(k, 5)."""
    numbers = []
    for kind in kinds:
        if isinstance(kind, str) and kind in names:
            numbers.append(list(names).index(kind))
        elif isinstance(kind, int) and 0 <= kind < len(names):
            numbers.append(kind)
        else:
            known = f"the categories are {', '.join(names)}" if names else "they are texts, or whole numbers from 0"
            raise Refused(f"{place}: a box is of category {kind!r}, and {known}")
    four = np.array(boxes, np.float64).reshape(-1, 4) if given else corners(np.array(boxes, np.float64))
    return np.concatenate([four, np.array(numbers, np.float64).reshape(-1, 1)], 1)


def _named(file: Path, column: str) -> tuple[str, ...]:
    """The names of categories that a schema tells; none where it tells none."""
    metadata = opened(file).schema_arrow.metadata or {}
    try:
        if b"categories" in metadata:
            return tuple(map(str, json.loads(metadata[b"categories"])))
        told = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"][column]
        feature = told.get("feature", told)
        for name in KIND_NAMES:
            kind = feature.get(name, {})
            if names := kind.get("feature", kind).get("names"):
                return tuple(map(str, names))
    except (ValueError, TypeError, AttributeError, KeyError):
        pass
    return ()


def _seen(objects: Sequence[tuple[str, Any, Any]]) -> tuple[str, ...]:
    """Those of training boxes: texts in their order, or 0 up to the largest number."""
    kinds = {kind for _, _, each in objects for kind in each}
    if any(isinstance(kind, str) for kind in kinds):
        return tuple(sorted(kind for kind in kinds if isinstance(kind, str)))
    most = max((kind for kind in kinds if isinstance(kind, int)), default=-1)
    if most >= UNNAMED:
        raise Refused(
            f"a box is of category {most}, and categories without names count from 0: number them from there, or name "
            "them in data.options.categories"
        )
    return tuple(map(str, range(most + 1)))
