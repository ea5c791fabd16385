"""Where in a folder of images the training and the test set are, from the paths of its images alone."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from winnow.core.errors import Refused
from winnow.data.sources.roles import TESTS, role_of
from winnow.data.sources.walk import Parts, shown


@dataclass
class Layout:
    """`train` and `test` are the paths of the folders that hold the class folders; no `test`: it is cut out later.

    `left_out` counts images that are in neither.
    """

    train: Parts
    train_images: list[Parts]
    test: Parts = ()
    test_images: list[Parts] = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


def layout_of(root: str, images: Sequence[Parts], folders: Sequence[Parts]) -> Layout:
    """The layout of `root`; Refused where it can be read in two ways, or as none.

    A folder with the name of a split (`role_of`) is one if most of its images lie in subfolders of it, the classes;
    if it holds images itself it is a class. The test set is `test`, or else `validation`; where there are both,
    `validation` is left out, as the pipeline cuts its own validation sets out of the training images.
    """
    if not any(len(parts) == 1 for parts in folders):
        raise Refused(f"{root} has no subfolders; each class takes one of its own")
    loose = Counter({"image beside the class folders": sum(len(parts) == 1 for parts in images)})
    tops = defaultdict(list)
    for parts in images:
        if len(parts) > 1:
            tops[parts[0]].append(parts)
    roles = {name: role for name in tops if (role := role_of(name))}
    split = {name for name in roles if 2 * sum(len(parts) > 2 for parts in tops[name]) > len(tops[name])}
    trains = [name for name in sorted(split) if roles[name] == "train"]
    if trains:
        found = _with_splits(root, tops, roles, split, _one(root, trains, "training"), +loose)
        bare = sorted(name for (name,) in (p for p in folders if len(p) == 1) if name not in tops and role_of(name))
        found.notes += tuple(f"{shown(name)}/ is left out: it holds no image" for name in bare)
        return found
    if tops and set(tops) == set(roles) and (len(tops) == 1 or len(set(roles.values())) > 1):
        what = "no training images" if split else "images themselves and no class folders"
        raise Refused(
            f"{root} holds splits by their names ({', '.join(map(shown, sorted(tops)))}), with {what}; "
            "it takes train/CLASS/* (and test/CLASS/*), or a folder a class"
        )
    for _, held in sorted(tops.items()):
        below = {role_of(parts[1]) for parts in held if len(parts) > 2} - {None}
        if "train" in below and len(below) > 1:
            _too_high(root, tops, "the splits are below it", "train/CLASS/* and test/CLASS/*")
    if len(tops) == 1:
        _too_high(root, tops, "its subfolders look like the classes", "CLASS/*")
    return Layout((), [parts for held in tops.values() for parts in held], left_out=+loose)


def _with_splits(
    root: str, tops: dict[str, list[Parts]], roles: dict[str, str], split: set[str], train: str, loose: Counter
) -> Layout:
    others = [name for name in tops if name not in roles]
    held_out = {role: [name for name in sorted(split) if roles[name] == role] for role in TESTS}
    role = next((role for role in TESTS if held_out[role]), None)
    if others and role is None:
        raise Refused(
            f"{root}: {shown(train)} can be the training set, its subfolders the classes, or a class beside "
            f"{shown(min(others))}; set data.path to {root}/{shown(train)}, or rename it"
        )
    test = _one(root, held_out[role], role) if role else None
    used = [train, *([test] if test else [])]
    left, notes = Counter(loose), [f"{shown(test)}/ is taken for the test set"] if test and role == "validation" else []
    for name in sorted(set(tops) - set(used)):
        left[f"in {shown(name)}/"] = len(tops[name])
        if roles.get(name) in TESTS:
            why = f"{shown(test)}/ is the test set" if test and name in split else "its images have no class folders"
            notes.append(f"{shown(name)}/ is left out: {why}")
    stray = {name: sum(len(parts) == 2 for parts in tops[name]) for name in used}
    left["image beside the class folders"] += sum(stray.values())
    images = {name: [parts for parts in tops[name] if len(parts) > 2] for name in used}
    if len(inner := {parts[1] for parts in images[train]}) == 1:
        only = shown(min(inner))
        raise Refused(
            f"{root}/{shown(train)} holds {only}/ alone, and that is one class; it takes a folder for each of several "
            f"classes (if they are in {only}/, move them up)"
        )
    return Layout((train,), images[train], (test,) if test else (), images[test] if test else [], +left, tuple(notes))


def _one(root: str, names: Sequence[str], role: str) -> str:
    if len(names) > 1:
        raise Refused(f"{root}: {' and '.join(map(shown, names))} both look like the {role} set; leave one there")
    return names[0]


def _too_high(root: str, tops: dict[str, list[Parts]], why: str, wanted: str) -> None:
    """Refuse a folder whose one subfolder is what was meant, or which has the splits below the classes."""
    name, held = next(iter(tops.items()))
    inner = {parts[1] for parts in held if len(parts) > 2}
    if len(tops) == 1 and inner:
        raise Refused(f"{root} holds {shown(name)}/ alone and {why}: set data.path to {root}/{shown(name)}")
    if len(tops) > 1:
        raise Refused(f"{root}: {shown(name)}/ holds {', '.join(map(shown, sorted(inner)))}; it takes {wanted}")
