"""A folder of images and annotations as COCO has them: a JSON file a set, beside its images or above them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from winnow.core.errors import Refused
from winnow.data.source import Options, Source
from winnow.data.sources.annotated import Annotated, boxed, corners, some
from winnow.data.sources.files import Files, missing, opened_folder
from winnow.data.sources.roles import TESTS, role_of
from winnow.data.sources.walk import shown

TAKES = "a folder of images and JSON files with images, annotations and categories"
KEYS = ("images", "annotations", "categories")
CROWD = "box of a crowd"


def coco(options: Options) -> Source:
    """All JSON files below data.path that hold `images`, `annotations` and `categories`, one a set.

    A set is training, test or validation by a word for it in the file's name, or in its folder's (instances_train.json,
    train/_annotations.coco.json); a single file is all training data. Test images are those of test, or else of
    validation. Images are found by `file_name`, beside the file, below data.path, or anywhere below it by the name.
    Categories without a box in any file stay. Boxes of crowds are left out and counted. Refused on annotations of
    images or categories that the file does not have.
    """
    files = opened_folder(options.path, "coco", TAKES)
    sets = _sets(files)
    roles = ["train", *[role for role in TESTS if role in sets][:1]]
    left_out: dict[str, int] = {f"file of {role}": 1 for role in sets if role not in roles}
    notes = ["validation is taken for the test set"] if roles[1:] == ["validation"] else []
    classes = _classes(sets["train"][1])
    found = []
    for role, limit in zip(roles, (options.limit_train, options.limit_test), strict=False):
        path, told = sets[role]
        if _classes(told) != classes:
            raise Refused(
                f"{shown(path)} has categories {', '.join(_classes(told))}; those of training are "
                f"{', '.join(classes)}: they must be equal, in order"
            )
        found.append(_annotated(files, path, told, some(len(told["images"]), limit, options.seed), left_out))
    source = boxed(found, classes, options, digest="", left_out=left_out, notes=notes)
    return replace(source, digest=files.digest)


def _sets(files: Files) -> dict[str, tuple[Path, Mapping[str, Any]]]:
    """By role, the file and what it holds. Refused where two files are of one role, and where none is training."""
    found: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    every = ((path, _read(files, path)) for path in files.ending(".json"))
    read = [(path, told) for path, told in every if told is not None]
    for path, told in read:
        role = _role(path, files.root) or ("train" if len(read) == 1 else None)
        if role is None:
            raise Refused(f"{shown(path)} is of no set: have train, test or val in its name, or in its folder's")
        if role in found:
            raise Refused(
                f"{shown(found[role][0])} and {shown(path)} are both {role}: keep one of them below data.path"
            )
        found[role] = (path, told)
    if "train" not in found:
        names = ", ".join(shown(path.name) for path, _ in read) or "none"
        raise Refused(f"{shown(files.root)} has no JSON file of training boxes (found: {names}); give {TAKES}")
    return found


def _read(files: Files, path: Path) -> Mapping[str, Any] | None:
    """None for JSON of something else."""
    try:
        told = json.loads(files.text(path))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{shown(path)} is no JSON ({error}); fetch or write it again") from error
    if not isinstance(told, dict) or not all(isinstance(told.get(key), list) for key in KEYS):
        return None
    return told


def _role(path: Path, root: Path) -> str | None:
    for part in reversed(path.relative_to(root).parts):
        words = part.rpartition(".")[0].replace("-", "_").split("_") if part == path.name else [part]
        if found := next((role for word in words if (role := role_of(word))), None):
            return found
    return None


def _classes(told: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(each["name"]) for each in told["categories"])


def _annotated(
    files: Files, path: Path, told: Mapping[str, Any], rows: np.ndarray, left_out: dict[str, int]
) -> Annotated:
    where = shown(path)
    try:
        for what in ("images", "categories"):
            _once(told[what], what, where)
        images = {each["id"]: each for each in told["images"]}
        numbers = {each["id"]: number for number, each in enumerate(told["categories"])}
        boxes: dict[Any, list[list[float]]] = {key: [] for key in images}
        for each in told["annotations"]:
            if each["image_id"] not in images:
                raise Refused(
                    f"{where}: annotation {each.get('id')} is of image {each['image_id']}, which is not there"
                )
            if each["category_id"] not in numbers:
                known = ", ".join(f"{key} ({_classes(told)[number]})" for key, number in list(numbers.items())[:8])
                raise Refused(
                    f"{where}: annotation {each.get('id')} is of category {each['category_id']!r}, none of {known}"
                )
            if each.get("iscrowd"):
                left_out[CROWD] = left_out.get(CROWD, 0) + 1
                continue
            boxes[each["image_id"]].append([*map(float, each["bbox"]), numbers[each["category_id"]]])
        order = list(images)
        chosen = [images[order[row]] for row in rows]
        names = [str(each["file_name"]) for each in chosen]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{where}: its images, annotations or categories are not as COCO has them ({error!r})") from error
    places = [files.place(name, path.parent) for name in names]
    if gone := [name for name, place in zip(names, places, strict=True) if place is None]:
        raise missing(gone, where)
    sizes = [(each["height"], each["width"]) if each.get("height") and each.get("width") else None for each in chosen]
    return Annotated(
        files.encoded([p for p in places if p]), [_five(boxes[each["id"]], where) for each in chosen], rows, sizes
    )


def _once(told: Sequence[Mapping[str, Any]], what: str, where: str) -> None:
    """Refused where two of them have one id."""
    if twice := [key for key, count in Counter(each["id"] for each in told).items() if count > 1]:
        raise Refused(f"{where}: {len(twice)} id(s) of {what} are there more than once, such as {twice[0]!r}")


def _five(boxes: Sequence[Sequence[float]], where: str) -> np.ndarray:
    if any(len(box) != 5 for box in boxes):
        raise Refused(f"{where}: a bbox takes 4 numbers, x, y, width, height")
    given = np.array(boxes, np.float64).reshape(-1, 5)
    return np.concatenate([corners(given[:, :4]), given[:, 4:]], 1)
