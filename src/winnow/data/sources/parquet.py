"""Parquet files in the Hugging Face image-classification schema: one file, or a folder of train and test shards."""

from dataclasses import replace

from winnow.data.labelled import classified, labelled
from winnow.data.source import Options, Source
from winnow.data.sources.decode import decode_all
from winnow.data.sources.groups import check_apart, read_groups
from winnow.data.sources.sets import Column, encoded, files_digest, read_sets

IMAGE_NAMES, IMAGE_COLUMN = ("image", "img"), "data.image_column"
SUPPORTED = "images must be encoded (JPEG, PNG), as struct<bytes, path> or binary, one a row"


def parquet(options: Options, *, group_column: str | None = None, new_classes: bool = False) -> Source:
    """Images as `struct<bytes, path>` or binary (JPEG, PNG, …), labels as whole numbers or names.

    `path` and class names: as `read_sets` has them. A mirrored image is taken to keep its label. `group_column` says
    whose an image is: no group is then in two splits, and one in the training and the test files is refused. With
    `new_classes` the test set may hold classes that training has not, as task retrieval wants them.
    """
    found = read_sets(options, "parquet", "image", Column(options.image_column, IMAGE_NAMES, IMAGE_COLUMN), new_classes)
    each = encoded(found, "image", SUPPORTED, IMAGE_COLUMN)
    images, said = decode_all(each, sum(len(one.rows) for one in found.sets), options.image_size)
    count = len(found.sets[0].rows)
    parts = [
        labelled(pixels, one.labels[one.rows], one.rows)
        for one, pixels in zip(found.sets, (images[:count], images[count:]), strict=False)
    ]
    if group_column is not None:
        groups = [read_groups(one.files, group_column)[one.rows] for one in found.sets]
        parts = [replace(part, groups=held) for part, held in zip(parts, groups, strict=True)]
        if len(groups) > 1:
            check_apart(groups[0], groups[1])
    digest = files_digest([file for one in found.sets for file in one.files])
    test = parts[1] if len(parts) > 1 else None
    notes = (*found.notes, *said)
    return classified(parts[0], test, found.classes, digest=digest, left_out=found.left_out, notes=notes)
