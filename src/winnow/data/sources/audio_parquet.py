"""Parquet files in the Hugging Face audio-classification schema; whole speakers can be held out for the test."""

from collections.abc import Sequence

import numpy as np

from winnow.core.errors import Refused
from winnow.core.options import Positive, Rate
from winnow.data.source import Options, Part, Source
from winnow.data.sources.clips import Clips, decode_clips
from winnow.data.sources.groups import check_apart, held_out, read_groups
from winnow.data.sources.sets import Column, Sets, encoded, files_digest, read_sets

AUDIO_NAMES, AUDIO_COLUMN = ("audio", "file", "speech"), "data.options.audio_column"
SUPPORTED = "clips must be encoded (WAV, FLAC), as struct<bytes, path> or binary, one a row"


def audio_parquet(
    options: Options,
    *,
    seconds: Rate | None = None,
    audio_column: str | None = None,
    group_column: str | None = None,
    test_groups: list[int | str] = [],  # noqa: B006
    mels: Positive = 32,
    window_ms: Rate = 32.0,
    hop_ms: Rate = 16.0,
) -> Source:
    """Clips as `struct<bytes, path>` or binary (WAV, FLAC), labels as whole numbers or names; files as for `parquet`.

    `seconds`: the length of all clips; None: the longest one's. `group_column` says who speaks: no group is then in two
    splits. The groups `test_groups` are the test set, out of all files, and other clips of test files are left out;
    without them, test files are the test set where they share no group with training files. Spectrograms have `mels`
    bands, from windows of `window_ms`, `hop_ms` apart. Rows are numbered through all files.
    """
    sets = read_sets(options, "audio_parquet", "clip", Column(audio_column, AUDIO_NAMES, AUDIO_COLUMN))
    clips = decode_clips(encoded(sets, "clip", SUPPORTED, AUDIO_COLUMN), seconds)
    if group_column is None and test_groups:
        raise Refused("data.options.test_groups names groups: say in data.options.group_column which column has them")
    groups = None
    if group_column is not None:
        groups = np.concatenate([read_groups(one.files, group_column)[one.rows] for one in sets.sets])[clips.kept]
    left_out = sets.left_out | ({"silent clip": clips.silent} if clips.silent else {})
    train, test, dropped = _divided(sets, clips, groups, test_groups)
    notes = [*sets.notes, *clips.notes]
    if dropped:
        left_out["clip of the test files, by a group of training"] = dropped
    if test is not None and groups is not None and test_groups:
        notes.append(f"the test set is group(s) {', '.join(map(str, test_groups))}: {len(test)} clips")
    facts = {"classes": list(sets.classes), "rate": clips.rate}
    facts |= {"mels": mels, "window_ms": window_ms, "hop_ms": hop_ms}
    digest = files_digest([file for one in sets.sets for file in one.files])
    return Source(train, test, facts, digest=digest, left_out=left_out, notes=tuple(notes))


def _divided(
    sets: Sets, clips: Clips, groups: np.ndarray | None, test_groups: Sequence[str | int]
) -> tuple[Part, Part | None, int]:
    """The clips for training and for the test, and how many are for neither."""
    counts = np.array([len(one.labels) for one in sets.sets])
    origin = np.repeat(np.arange(len(counts)), [len(one.rows) for one in sets.sets])[clips.kept]
    rows = np.concatenate([one.rows for one in sets.sets])[clips.kept] + (np.cumsum(counts) - counts)[origin]
    labels = np.concatenate([one.labels[one.rows] for one in sets.sets])[clips.kept]

    def part(which: np.ndarray) -> Part:
        owners = None if groups is None else groups[which]
        return Part({"clip": clips.samples[which], "label": labels[which]}, rows[which], owners)

    train, test = origin == 0, origin == 1
    if groups is not None and test_groups:
        test = held_out(groups, test_groups)
        train &= ~test
    elif groups is not None:
        check_apart(groups[train], groups[test])
    for which, what in ((train, "training"), (test, "the test")):
        if not which.any() and (what == "training" or len(counts) > 1):
            raise Refused(f"no clip is left for {what}: all of it is silent or held out")
    lost = sorted(set(np.unique(labels)) - set(np.unique(labels[train])))
    if lost:
        raise Refused(f"no training clip is of class {sets.classes[lost[0]]!r}: hold out other groups")
    return part(train), part(test) if test.any() else None, int((~train & ~test).sum())
