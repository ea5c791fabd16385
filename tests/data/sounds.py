"""Clips made on the spot: tones, as WAV or FLAC, and data sets of them."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.data.source import Options, Part, Source

soundfile = pytest.importorskip("soundfile", reason="needs the extra winnow[audio]")

CLIP = pa.struct([("bytes", pa.binary()), ("path", pa.string()), ("sampling_rate", pa.int32())])


def tone(hertz: float, seconds: float = 0.1, rate: int = 8000, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encoded(samples: np.ndarray, rate: int = 8000, kind: str = "FLAC", subtype: str = "PCM_16") -> bytes:
    """Samples (length,) or (length, channels), full scale 1, as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def spoken(label: int, speaker: int, take: int, seconds: float = 0.1) -> np.ndarray:
    """A tone that says the label, in a voice of the speaker's (its overtone and loudness), with some noise."""
    rng = np.random.default_rng([label, speaker, take])
    low = (400, 900, 1600, 2400)[label] * rng.uniform(0.95, 1.05)
    clip = tone(low, seconds) + 0.3 * tone(low * (1.3 + 0.1 * speaker), seconds)
    return (0.9 ** (4 * speaker)) * (clip + 0.02 * rng.standard_normal(len(clip)))


def write_clips(path: Path, *, speakers=range(5), labels=range(3), takes=range(4), **columns) -> Path:
    """A Parquet file of spoken tones in the order speaker, label, take; `columns` come instead or beside."""
    said = [(label, speaker, take) for speaker in speakers for label in labels for take in takes]
    clips = [
        {"bytes": encoded(spoken(*each)), "path": "{}_{}_{}.flac".format(*each), "sampling_rate": 8000} for each in said
    ]
    given = {
        "audio": pa.array(clips, CLIP),
        "label": [label for label, *_ in said],
        "speaker": [speaker for _, speaker, _ in said],
        **columns,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(given), path)
    return path


def heard(options: Options) -> Source:
    """The same as a source, without a file: five speakers, and what they say 0.1 s long."""
    told = [(label, speaker, take) for speaker in range(5) for label in range(3) for take in range(8)]
    clips = np.stack([32000 * spoken(*each).clip(-1, 1) for each in told]).astype(np.int16)
    owners = np.array([speaker for _, speaker, _ in told])
    part = Part({"clip": clips, "label": np.array([label for label, *_ in told])}, groups=owners)
    return Source(part, None, {"classes": list("abc"), "rate": 8000, "mels": 32, "window_ms": 32.0, "hop_ms": 2.0})
