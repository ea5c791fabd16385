"""Which Parquet files of a folder are its training set and its test set."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from winnow.core.errors import Refused
from winnow.data.sources.roles import TESTS, role_of
from winnow.data.sources.walk import HIDDEN, Walk, shown, walk

NO_SPLIT = "Parquet file(s) of no split"


@dataclass
class Shards:
    """The files of each set, in the order of their names; `tests` has "test", "validation" or both, the first first.

    `left_out` counts files that belong to neither.
    """

    train: list[Path]
    tests: dict[str, list[Path]] = field(default_factory=dict)
    left_out: Counter = field(default_factory=Counter)


def find_shards(path: Path) -> Shards:
    """`path` itself, as training data, or the files below it: the role is what a file's name begins with (`role_of`),
    or else the nearest folder's.

    Refused where there are several data sets, where training data are missing, and where a shard of theirs is.
    """
    if path.is_file():
        return Shards([path])
    if not path.is_dir():
        gone = "is no regular file" if path.exists() else "does not exist"
        raise Refused(f"data.path {shown(path)} {gone}; give a Parquet file or a folder of them")
    found, files = Walk(), []
    for parts, kind in walk(path, found):
        if kind is not None and parts[-1].lower().endswith(".parquet"):
            files.append(parts)
    files.sort()
    sets, left = defaultdict(list), Counter(why for _, why in found.left if why != HIDDEN)
    for parts in files:
        if role := _role(parts):
            sets[role].append(parts)
        else:
            left[NO_SPLIT] += 1
    if "train" not in sets:
        seen = ", ".join(shown(parts[-1]) for parts in files[:5]) or "no .parquet file"
        raise Refused(
            f"{shown(path)} has no train*.parquet (found: {seen}); name the training files train.parquet or so"
        )
    _one_set(shown(path), sets)
    paths = {role: [path.joinpath(*parts) for parts in shards] for role, shards in sets.items()}
    check_whole(path, paths["train"])
    return Shards(paths["train"], {role: paths[role] for role in TESTS if role in paths}, left)


def _role(parts: Sequence[str]) -> str | None:
    return next((role for part in reversed(parts) if (role := role_of(part))), None)


def _one_set(root: str, sets: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Refuse several configurations side by side: the same pictures at two sizes would be in training and in test."""
    above = {parts[: _depth(parts)] for parts in sets["train"]}
    if len(above) == 1:  # or all below train/: the configurations' folders come again below test/
        below = {role: {parts[_depth(parts) + 1 : -1] for parts in shards} for role, shards in sets.items()}
        again = [below["train"] & names for role, names in below.items() if role != "train"]
        above = next((names for names in again if len(names) > 1), set())
        if len(above) < 2:
            return
        names = sorted(shown("/".join(parts)) or "." for parts in above)
        raise Refused(f"{root} holds several data sets below its splits: {', '.join(names)}; keep one in a folder")
    names = sorted(shown("/".join(parts)) or "." for parts in above)
    raise Refused(
        f"{root} holds several data sets, {', '.join(names)}: read as one, equal pictures would be in training and "
        f"test; set data.path to one of them, such as {root}/{names[-1]}"
    )


def _depth(parts: Sequence[str]) -> int:
    """How many folders lead to the first part that names a role."""
    return next(number for number, part in enumerate(parts) if role_of(part))


def check_whole(path: Path, files: Sequence[Path]) -> None:
    """Refuse a series name-00000-of-00003 with a shard missing, two series of other lengths, and one beside others."""
    root, series, alone = shown(path), defaultdict(set), []
    for parts in [file.relative_to(path).parts for file in files if file != path]:
        if match := re.fullmatch(r"(.*?)-?(\d+)-of-(\d+)(.*)", parts[-1], re.IGNORECASE):
            series[(*parts[:-1], match[1], match[4].lower())].add((int(match[2]), int(match[3])))
        else:
            alone.append(parts[-1])
    for (*folders, name, _), shards in sorted(series.items()):
        what = shown("/".join((*folders, name)))
        if len(lengths := sorted({total for _, total in shards})) > 1:
            raise Refused(f"{root}: {what} is there in {lengths[0]} and in {lengths[1]} shards; keep one of the two")
        if missing := sorted(set(range(lengths[0])) - {number for number, _ in shards}):
            raise Refused(
                f"{root}: of the {lengths[0]} shards of {what}, {len(missing)} missing, the first is "
                f"{missing[0]:05}-of-{lengths[0]:05}; fetch the rest"
            )
    names = [shown(f"{key[-2]}-…") for key in sorted(series)] + [shown(name) for name in alone]
    if series and len(names) > 1:
        raise Refused(f"{root} holds {' and '.join(names[:3])}: are they one data set? Keep one series of shards")
