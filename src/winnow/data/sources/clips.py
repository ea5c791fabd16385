"""Recorded clips, WAV and FLAC, to 16-bit arrays of one length, with soundfile (the extra `audio`).

Other formats lose something, and what they decode to changes with the version of the decoder: they are refused.
"""

import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from winnow.core.errors import Refused
from winnow.data.sources.decode import all_bad
from winnow.data.sources.pixels import Unusable
from winnow.system.extra import needed

LONGEST = 60.0  # seconds: what is longer is a recording, no clip
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC")
NAMED = 5
FULL = 32768

Encoded = tuple[str, bytes | Unusable]  # a place, for messages, and the bytes of a file or why there are none


@dataclass(frozen=True)
class Clips:
    """`samples` (n, length) int16 at `rate` hertz; `kept` (n,) are their numbers among the encoded clips.

    `notes` say in sentences what was done, `silent` how many were left out as they hold nothing.
    """

    samples: np.ndarray
    rate: int
    kept: np.ndarray
    silent: int
    notes: tuple[str, ...]


@dataclass
class Pile:
    """What is known of the clips so far, each a name and an array (length,)."""

    rate: int = 0
    first: str = ""
    wide: int = 0  # of several channels
    loud: int = 0  # beyond full scale


def decode_clips(encoded: Iterable[Encoded], seconds: float | None) -> Clips:
    """Clips of `seconds` each, or of the longest one's length: short ones in the middle, long ones without their ends.

    Several channels become their mean. Silent clips, whose samples are all equal, are left out. Refused, naming all
    such places, on what cannot be read, lasts over LONGEST seconds, or has another sampling rate than the first clip.
    """
    pile, read = Pile(), []
    bad: dict[str, list[str]] = {}
    for number, (place, data) in enumerate(encoded):
        try:
            read.append((number, place, _heard(place, data, pile)))
        except Unusable as why:
            bad.setdefault(str(why), []).append(place)
    if bad:
        raise Refused(all_bad(bad, "clips"))
    heard = [each for each in read if each[2].min() != each[2].max()]
    if not heard:
        raise Refused(f"all {len(read)} clips are silent: every sample of a clip has one value")
    silent = [place for _, place, clip in read if clip.min() == clip.max()]
    longest = max(heard, key=lambda each: len(each[2]))
    length = len(longest[2]) if seconds is None else max(1, round(seconds * pile.rate))
    samples = _room(len(heard), length)
    for row, (_, _, clip) in zip(samples, heard, strict=True):
        _centred(row, clip)
    notes = list(_said(pile, heard, silent, length, seconds))
    return Clips(samples, pile.rate, np.array([number for number, *_ in heard]), len(silent), tuple(notes))


def read_clip(data: bytes) -> tuple[np.ndarray, int]:
    """The samples (length, channels) float64, full scale 1, and the rate in hertz. Raises Unusable."""
    soundfile = needed("soundfile", "audio")
    if data[:4] not in MAGIC:
        raise Unusable("the clip is no WAV or FLAC; convert it, as lossy formats decode otherwise with every version")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > LONGEST * file.samplerate:
                raise Unusable(f"the clip lasts over {LONGEST:g} s; cut it into clips")
            samples, wanted = file.read(always_2d=True), file.frames
            _check_whole(file)
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise Unusable(f"the clip cannot be decoded ({_reason(error)})") from error
    if len(samples) < wanted:
        raise Unusable(f"the clip ends after {len(samples)} of {wanted} samples; fetch or write it again")
    if not len(samples):
        raise Unusable("the clip holds no samples")
    if not np.isfinite(samples).all():
        raise Unusable("the clip holds samples that are no finite numbers")
    return samples, rate


def _heard(place: str, data: bytes | Unusable, pile: Pile) -> np.ndarray:
    """One clip (length,) int16."""
    if isinstance(data, Unusable):
        raise data
    samples, rate = read_clip(data)
    if not pile.rate:
        pile.rate, pile.first = rate, place
    if rate != pile.rate:
        raise Unusable(f"the clip has {rate} Hz where {pile.first} has {pile.rate} Hz; resample it beforehand")
    pile.wide += samples.shape[1] > 1
    levels = np.rint(samples.mean(1) * FULL)
    pile.loud += bool(np.abs(levels).max() > FULL)
    return levels.clip(-FULL, FULL - 1).astype(np.int16)


def _check_whole(file: Any) -> None:
    """Refuse a WAV that is shorter than its header says, but for one of no known length, as from a pipe."""
    found = re.search(r"^data *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if found and int(found[2]) < int(found[1]) < 2**31 - 1:
        raise Unusable(f"the clip ends after {found[2]} of {found[1]} bytes; fetch or write it again")


def _centred(row: np.ndarray, clip: np.ndarray) -> None:
    """Write into `row` the middle of the clip, or the clip in the middle of silence."""
    over = len(clip) - len(row)
    if over >= 0:
        row[:] = clip[over // 2 : over // 2 + len(row)]
    else:
        row[-over // 2 : -over // 2 + len(clip)] = clip


def _room(count: int, length: int) -> np.ndarray:
    """Silence for all clips; Refused where it and the splits made of it cannot fit into memory."""
    needed, free = 2 * count * length * 2, psutil.virtual_memory().available
    if needed > free:
        raise Refused(
            f"{count:,} clips of {length:,} samples take {needed / 2**30:.1f} GiB of memory to prepare, "
            f"{free / 2**30:.1f} GiB are free; set the option seconds, or data.limit_train and data.limit_test"
        )
    return np.zeros((count, length), np.int16)


def _said(
    pile: Pile, heard: list[tuple[int, str, np.ndarray]], silent: list[str], length: int, seconds: float | None
) -> Iterator[str]:
    lengths = np.array([len(clip) for *_, clip in heard])
    if seconds is None:
        longest, half = heard[int(lengths.argmax())][1], math.ceil(100 * np.median(lengths) / pile.rate) / 100
        if lengths.min() < length:
            yield (
                f"all clips are padded to {length / pile.rate:.2f} s, the longest ({longest}); half of them last up to "
                f"{half:.2f} s: the option seconds cuts"
            )
    elif len(long := np.flatnonzero(lengths > length)):
        names = [f"{heard[i][1]} ({lengths[i] / pile.rate:.2f} s)" for i in long]
        yield f"{len(long)} clip(s) longer than {seconds:g} s are cut to their middle: {_some(names)}"
    if silent:
        yield f"{len(silent)} silent clip(s) left out: {_some(silent)}"
    if pile.wide:
        yield f"{pile.wide} clip(s) of several channels: their mean is read"
    if pile.loud:
        yield f"{pile.loud} clip(s) louder than full scale: clipped"


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".") or type(error).__name__
