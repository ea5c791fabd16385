import numpy as np
import pytest

from tests.data.sounds import encoded, spoken, tone, write_clips
from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources.audio_parquet import audio_parquet


def refusal(path, **own) -> str:
    with pytest.raises(Refused) as refused:
        audio_parquet(Options(path=path), **own)
    return str(refused.value)


def test_clips_and_labels_are_read_in_order_and_facts_told(tmp_path):
    source = audio_parquet(Options(path=write_clips(tmp_path / "a.parquet")), mels=20)
    assert source.test is None
    assert source.train.groups is None
    assert source.train.columns["clip"].shape == (60, 800)
    assert np.abs(source.train.columns["clip"][17] - spoken(1, 1, 1) * 32768).max() <= 1
    assert source.train.columns["label"].tolist() == ([0] * 4 + [1] * 4 + [2] * 4) * 5
    assert source.facts == {"classes": ["0", "1", "2"], "rate": 8000, "mels": 20, "window_ms": 32.0, "hop_ms": 16.0}


def test_whole_groups_are_held_out_of_all_files(tmp_path):
    write_clips(tmp_path / "train.parquet")
    write_clips(tmp_path / "test.parquet", takes=(7,))
    source = audio_parquet(Options(path=tmp_path), group_column="speaker", test_groups=[1, "3"])
    assert set(source.train.groups) == {"0", "2", "4"}
    assert set(source.test.groups) == {"1", "3"}
    assert (len(source.train), len(source.test)) == (36, 2 * (12 + 3))
    assert source.left_out == {"clip of the test files, by a group of training": 9}
    assert "the test set is group(s) 1, 3: 30 clips" in source.notes
    assert source.test.rows.tolist() == [*range(12, 24), *range(36, 48), 63, 64, 65, 69, 70, 71]
    clips = source.test.columns["clip"]
    assert np.abs(clips[0] - spoken(0, 1, 0) * 32768).max() <= 1
    assert np.abs(clips[-1] - spoken(2, 3, 7) * 32768).max() <= 1


def test_groups_without_named_ones_are_for_the_deal(tmp_path):
    source = audio_parquet(Options(path=write_clips(tmp_path / "a.parquet")), group_column="speaker")
    assert source.test is None
    assert source.train.groups.tolist() == [str(speaker) for speaker in range(5) for _ in range(12)]


def test_test_files_that_share_a_group_are_refused_and_others_taken(tmp_path):
    write_clips(tmp_path / "train.parquet", speakers=(0, 1, 2))
    write_clips(tmp_path / "test.parquet", speakers=(3,))
    assert set(audio_parquet(Options(path=tmp_path), group_column="speaker").test.groups) == {"3"}
    write_clips(tmp_path / "test.parquet", speakers=(2, 3))
    said = refusal(tmp_path, group_column="speaker")
    assert said.startswith("1 group(s) are in the training files and in the test files (2): name those to hold out")


def test_silent_clips_are_left_out_with_their_labels_and_groups(tmp_path):
    clips = [
        {"bytes": encoded(x), "path": "x", "sampling_rate": 8000}
        for x in (tone(400), np.zeros(800), tone(900), tone(500))
    ]
    path = write_clips(tmp_path / "a.parquet", speakers=(0, 1), labels=(0, 1), takes=(0,), audio=clips)
    source = audio_parquet(Options(path=path), group_column="speaker")
    assert source.train.columns["label"].tolist() == [0, 0, 1]
    assert source.train.groups.tolist() == ["0", "1", "1"]
    assert source.train.rows.tolist() == [0, 2, 3]
    assert source.left_out == {"silent clip": 1}
    assert source.notes == ("1 silent clip(s) left out: a.parquet, row 1",)


def test_limits_choose_before_clips_are_read(tmp_path):
    source = audio_parquet(Options(path=write_clips(tmp_path / "a.parquet"), limit_train=30), group_column="speaker")
    assert np.bincount(source.train.columns["label"]).tolist() == [10, 10, 10]
    assert source.train.groups.tolist() == [str(row // 12) for row in source.train.rows]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"test_groups": [1]}, "test_groups names groups: say in data.options.group_column which column"),
        ({"group_column": "speakr"}, "no column 'speakr'; nearest: 'speaker'"),
        ({"group_column": "speaker", "test_groups": [14]}, "no group '14'; nearest: '4' (there are"),
        ({"group_column": "speaker", "test_groups": [9]}, "there is no group '9' (there are 0, 1, 2, 3, 4)"),
        ({"group_column": "speaker", "test_groups": [0, 1, 2, 3, 4]}, "names all groups"),
        ({"group_column": "audio"}, "groups are whole numbers or texts"),
        ({"audio_column": "wav"}, "has no column 'wav'"),
        ({"audio_column": "label"}, "holds int64, bare numbers; clips must be encoded (WAV, FLAC)"),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path, own, said):
    assert said in refusal(write_clips(tmp_path / "a.parquet", takes=(0,)), **own)


def test_damaged_clips_are_named_by_file_and_row(tmp_path):
    good = encoded(tone(400))
    bad = [good, good[:300], encoded(tone(400, rate=16000), rate=16000), None]
    clips = [{"bytes": x, "path": "x.flac", "sampling_rate": None} for x in bad]
    path = write_clips(tmp_path / "a.parquet", speakers=(0, 1), labels=(0, 1), takes=(0,), audio=clips)
    said = refusal(path)
    assert said.startswith("3 clips cannot be used; ")
    for row in (1, 2, 3):
        assert f"a.parquet, row {row}" in said
    assert "only its path was stored, 'x.flac'; store the clips themselves in the file" in said


def test_a_class_that_held_out_groups_alone_say_is_named(tmp_path):
    labels = [0, 1, 0, 2, 0, 1]
    path = write_clips(tmp_path / "a.parquet", speakers=(0, 1, 2), labels=(0, 1), takes=(0,), label=labels)
    said = refusal(path, group_column="speaker", test_groups=[1])
    assert said == "no training clip is of class '2': hold out other groups"


def test_null_groups_are_refused(tmp_path):
    path = write_clips(tmp_path / "a.parquet", speakers=(0,), labels=(0, 1), takes=(0,), speaker=["a", None])
    assert refusal(path, group_column="speaker") == "a.parquet: 1 of 2 values in column 'speaker' are null"
