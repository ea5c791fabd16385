"""A folder of images and annotations as Pascal VOC has them: an XML file an image."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from winnow.core.errors import Refused
from winnow.data.source import Options, Source
from winnow.data.sources.annotated import Annotated, boxed, some
from winnow.data.sources.files import Files, missing, opened_folder
from winnow.data.sources.roles import TESTS, role_of
from winnow.data.sources.walk import shown

TAKES = "a folder of images and an XML file of annotations for each"
LISTS = {"train": ("trainval", "train"), "test": ("test",), "validation": ("val",)}  # files of ImageSets/Main


@dataclass(frozen=True)
class Page:
    """What an XML file says: the image's name, its size if told, names and corners of what is in it."""

    path: Path
    name: str
    size: tuple[int, int] | None
    kinds: list[str]
    corners: list[list[float]]
    difficult: int


def voc(options: Options, *, classes: list[str] = []) -> Source:  # noqa: B006
    """Every XML file below data.path is of one image, found by its `filename`, or by the XML's own name.

    Sets are the lists of ImageSets/Main (trainval or train; test, or else val), or else what the first folder's name
    says (train/, test/, valid/); without either all is training. Pixels count from 1 there: xmin and ymin are lowered
    by 1. Categories are `classes`, or those of all training boxes, sorted. Objects called difficult stay, and are
    counted. Refused on a test box of another category.
    """
    files = opened_folder(options.path, "voc", TAKES)
    pages = [_page(files, path) for path in files.ending(".xml")]
    if not pages:
        raise Refused(f"{shown(files.root)} has no XML file; give {TAKES}")
    sets = _sets(files, pages)
    roles = ["train", *[role for role in TESTS if role in sets][:1]]
    left_out = {f"image of {role}": len(each) for role, each in sets.items() if role not in roles}
    notes = ["validation is taken for the test set"] if roles[1:] == ["validation"] else []
    names = classes or sorted({kind for page in sets["train"] for kind in page.kinds})
    found = []
    for role, limit in zip(roles, (options.limit_train, options.limit_test), strict=False):
        rows = some(len(sets[role]), limit, options.seed)
        found.append(_annotated(files, [sets[role][row] for row in rows], names, rows))
    if difficult := sum(page.difficult for role in roles for page in sets[role]):
        notes.append(f"{difficult} object(s) called difficult count as any other")
    source = boxed(found, names, options, digest="", left_out=left_out, notes=notes)
    return replace(source, digest=files.digest)


def _page(files: Files, path: Path) -> Page:
    data, where = files.text(path), shown(path)
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise Refused(f"{where} declares a document type, which no annotation needs: it is not read")
    try:
        root = ElementTree.fromstring(data)
        size = [int(float(root.findtext(f"size/{key}") or 0)) for key in ("height", "width")]
        corners, kinds, difficult = [], [], 0
        for each in root.iter("object"):
            kinds.append((each.findtext("name") or "").strip())
            box = [float(each.findtext(f"bndbox/{key}") or "nan") for key in ("xmin", "ymin", "xmax", "ymax")]
            corners.append([box[0] - 1, box[1] - 1, box[2], box[3]])
            difficult += (each.findtext("difficult") or "0").strip() == "1"
    except (ElementTree.ParseError, ValueError) as error:
        raise Refused(f"{where} is no annotation as Pascal VOC has them ({error})") from error
    if "" in kinds:
        raise Refused(f"{where}: an object has no name")
    told = (size[0], size[1]) if all(size) else None
    return Page(path, (root.findtext("filename") or "").strip(), told, kinds, corners, difficult)


def _sets(files: Files, pages: Sequence[Page]) -> dict[str, list[Page]]:
    by_stem = {page.path.stem: page for page in pages}
    lists = {path.stem: path for path in files.ending(".txt") if path.parent.parts[-2:] == ("ImageSets", "Main")}
    sets: dict[str, list[Page]] = {}
    for role, names in LISTS.items():
        path = next((lists[name] for name in names if name in lists), None)
        if path is not None and not (role == "validation" and "trainval" in lists):
            listed = files.text(path).decode(errors="replace").split()
            if gone := [name for name in listed if name not in by_stem]:
                raise Refused(f"{shown(path)} lists {len(gone)} image(s) without an XML file, such as {gone[0]!r}")
            sets[role] = [by_stem[name] for name in listed]
    if not lists:
        for page in pages:
            role = next((r for part in page.path.relative_to(files.root).parts[:-1] if (r := role_of(part))), "train")
            sets.setdefault(role, []).append(page)
    if not sets.get("train"):
        raise Refused(f"{shown(files.root)} has no image for training: ImageSets/Main/train.txt, or a folder train")
    return sets


def _annotated(files: Files, pages: Sequence[Page], names: Sequence[str], rows: np.ndarray) -> Annotated:
    places, gone, boxes = [], [], []
    for page in pages:
        place = _image(files, page)
        if place is None:
            gone.append(page.name or page.path.stem)
            continue
        places.append(place)
        if unknown := [kind for kind in page.kinds if kind not in names]:
            raise Refused(f"{shown(page.path)}: {unknown[0]!r} is no category of training: {', '.join(names)}")
        numbers = [names.index(kind) for kind in page.kinds]
        boxes.append(np.array([[*box, n] for box, n in zip(page.corners, numbers, strict=True)]).reshape(-1, 5))
    if gone:
        raise missing(gone, shown(files.root))
    return Annotated(files.encoded(places), boxes, rows, [page.size for page in pages])


def _image(files: Files, page: Page) -> Path | None:
    """By the name that the XML tells, beside it or anywhere; or else a file with the XML's own name."""
    found = files.place(page.name, page.path.parent) if page.name else None
    if found is None:
        stem = page.path.stem
        same = [p for n, ps in files.by_name.items() if n.rpartition(".")[0] == stem for p in ps if p.suffix != ".xml"]
        near = [path for path in same if path.parent == page.path.parent]
        found = (near or same)[0] if len(near or same) == 1 else None
    return found
