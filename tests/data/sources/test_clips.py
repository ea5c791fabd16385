import sys

import numpy as np
import pytest

from tests.data.sounds import encoded, tone
from winnow.core.errors import Refused
from winnow.data.sources import clips
from winnow.data.sources.clips import decode_clips
from winnow.data.sources.pixels import Unusable


def refusal(*named, seconds=None) -> str:
    with pytest.raises(Refused) as refused:
        decode_clips(named, seconds)
    return str(refused.value)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_sixteen_bits_come_back_as_they_were(kind):
    levels = np.random.default_rng(0).integers(-32768, 32768, 500).astype(np.int16)
    read = decode_clips([("a", encoded(levels, kind=kind))], None)
    assert (read.samples == levels).all()
    assert (read.samples.dtype, read.rate, read.kept.tolist(), read.notes) == (np.int16, 8000, [0], ())


@pytest.mark.parametrize(("subtype", "step"), [("PCM_24", 0), ("FLOAT", 0), ("PCM_U8", 256)])
def test_other_depths_are_brought_to_sixteen_bits(subtype, step):
    x = tone(440)
    read = decode_clips([("a", encoded(x, kind="WAV", subtype=subtype))], None).samples[0]
    assert np.abs(read - np.rint(x * 32768)).max() <= step + 1


def test_channels_become_their_mean_and_it_is_said():
    x = np.stack([tone(440), tone(880)], 1)
    read = decode_clips([("a", encoded(x, kind="WAV", subtype="FLOAT"))], None)
    assert np.abs(read.samples[0] - np.rint(x.mean(1) * 32768)).max() <= 1
    assert read.notes == ("1 clip(s) of several channels: their mean is read",)


def test_short_clips_lie_in_the_middle_and_long_ones_lose_their_ends():
    named = [("one", encoded(np.full(3, 0.25) * [1, 2, 1])), ("long.wav", encoded(np.arange(1, 11) / 32))]
    read = decode_clips(named, 6 / 8000)
    assert read.samples.tolist() == [[0, 8192, 16384, 8192, 0, 0], [3072, 4096, 5120, 6144, 7168, 8192]]
    assert read.notes == ("1 clip(s) longer than 0.00075 s are cut to their middle: long.wav (0.00 s)",)
    read = decode_clips(named, None)
    assert read.samples.shape == (2, 10)
    assert "padded to 0.00 s, the longest (long.wav)" in read.notes[0]


def test_silent_clips_are_left_out_and_named():
    named = [("a.wav", encoded(tone(440))), ("b.wav", encoded(np.zeros(50))), ("c.wav", encoded(tone(660)))]
    read = decode_clips(named, None)
    assert (read.kept.tolist(), read.silent) == ([0, 2], 1)
    assert read.notes == ("1 silent clip(s) left out: b.wav",)
    assert refusal(named[1]) == "all 1 clips are silent: every sample of a clip has one value"


def test_what_is_beyond_full_scale_is_clipped_and_said():
    read = decode_clips([("a", encoded(tone(440, level=2), kind="WAV", subtype="FLOAT"))], None)
    assert (read.samples.min(), read.samples.max()) == (-32768, 32767)
    assert read.notes == ("1 clip(s) louder than full scale: clipped",)


FLAC, WAV = encoded(tone(440)), encoded(tone(440), kind="WAV")
BAD = [
    (b"", "no WAV or FLAC; convert it"),
    (b"OggS" + bytes(90), "no WAV or FLAC"),
    (FLAC[:60], "cannot be decoded"),
    (FLAC[: len(FLAC) // 2], "cannot be decoded"),
    (FLAC[:300] + b"\xff\x00" + FLAC[302:], "cannot be decoded"),
    (WAV[:30], "cannot be decoded"),
    (WAV[:1000], "ends after 956 of 1600 bytes"),
    (encoded(np.zeros(0), kind="WAV"), "holds no samples"),
    (encoded(np.array([0.1, np.nan]), kind="WAV", subtype="FLOAT"), "no finite numbers"),
    (encoded(tone(440, 61, rate=1000), rate=1000), "lasts over 60 s; cut it into clips"),
    (encoded(tone(440, rate=16000), rate=16000), "has 16000 Hz where good.flac has 8000 Hz; resample it beforehand"),
    (Unusable("the clip is null"), "the clip is null"),
]


@pytest.mark.parametrize(("data", "why"), BAD, ids=[why[:20] for _, why in BAD])
def test_what_cannot_be_read_is_a_sentence_with_the_file(data, why, capfd):
    said = refusal(("good.flac", FLAC), ("bad.flac", data))
    assert said.startswith("bad.flac: the clip ")
    assert why in said
    assert capfd.readouterr().err == ""


def test_all_bad_clips_are_named_at_once():
    said = refusal(("a", FLAC), ("b", b"x"), ("c", b"y"), ("d", encoded(tone(440), rate=4000)))
    assert said.startswith("3 clips cannot be used; ")
    assert ": b, c; " in said


def test_a_header_of_no_known_length_as_from_a_pipe_is_read():
    piped = WAV.replace((len(WAV) - 44).to_bytes(4, "little"), b"\xff\xff\xff\xff")
    assert piped != WAV
    assert decode_clips([("a", piped)], None).samples.shape == (1, 800)


def test_without_soundfile_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    said = refusal(("a", FLAC))
    assert said == "this takes soundfile, which is not installed: pip install 'winnow[audio]'"


def test_clips_that_fill_the_memory_are_refused_before(monkeypatch):
    monkeypatch.setattr(clips.psutil, "virtual_memory", lambda: type("Free", (), {"available": 1000}))
    assert "1 clips of 800 samples take 0.0 GiB of memory" in refusal(("a", FLAC))
