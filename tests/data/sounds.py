"""Clips made on the spot: tones, as WAV or FLAC."""

import io

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="needs the extra winnow[audio]")


def tone(hertz: float, seconds: float = 0.1, rate: int = 8000, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encoded(samples: np.ndarray, rate: int = 8000, kind: str = "FLAC", subtype: str = "PCM_16") -> bytes:
    """Samples (length,) or (length, channels), full scale 1, as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()
