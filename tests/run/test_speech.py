"""benchmarks/speech.py: a speaker at a time, rows that are there are not run again, and what the table says of them."""

import json
import sys

import pyarrow.parquet as pq
import pytest
import torch

from benchmarks import speech
from tests.data.sounds import write_clips
from winnow.nn.spectrogram import handmade

ROW = {
    "clips": 500, "found": [50.0, 52.0, 54.0], "random": [40.0, 50.0], "by_hand": [60.0, 61.0, 62.0],
    "outcome": "cannot tell", "p": 0.333, "won": 1.5, "no_worse": "no",
}  # fmt: skip


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["speech.py", *map(str, words)])
    speech.main()


def row(speaker: int, gain: float) -> dict:
    return {**ROW, "speaker": speaker, "found": [each + gain for each in ROW["found"]]}


def test_each_speaker_is_left_out_once_and_rows_that_are_there_are_kept(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(speech, "run", lambda content, speaker: ran.append(speaker) or row(speaker, 0.0))
    write_clips(tmp_path / "train.parquet", speakers=(0, 2, 7))
    out = tmp_path / "rows.json"
    call(monkeypatch, "--data", tmp_path, "--out", out)
    assert ran == [0, 2, 7]
    told = json.loads(out.read_text())
    out.write_text(json.dumps({**told, "rows": told["rows"][::2]}))  # as a kill may leave it
    call(monkeypatch, "--data", tmp_path, "--out", out)
    assert ran == [0, 2, 7, 2]
    assert [each["speaker"] for each in json.loads(out.read_text())["rows"]] == [0, 2, 7]
    with pytest.raises(SystemExit, match="other settings"):
        call(monkeypatch, "--data", tmp_path, "--out", out, "--set", "search.epochs=7")
    capsys.readouterr()
    call(monkeypatch, "--out", out, "--table")
    assert ran == [0, 2, 7, 2]
    assert "| all 3 |" in capsys.readouterr().out


def test_the_table_has_means_over_seeds_and_over_speakers():
    lines = speech.table({"rows": [row(0, 0.0), row(1, 2.0)], "machine": "one", "threads": 1}).splitlines()
    verdict = "cannot tell (beats 1.5 of 2, p = 0.333) | no |"
    assert lines[2] == f"| 0 | 500 | 52.0 ± 2.0 | 45.0 ± 7.1 | 61.0 ± 1.0 | {verdict}"
    assert lines[4] == "| all 2 | | 53.0 ± 1.4 | 45.0 ± 0.0 | 61.0 ± 0.0 | | |"
    # means of 52 and 54 less 45: 7 and 9, and Student's t of one degree of freedom is 12.71
    assert lines[6] == "Found above the random networks' mean: +8.00 points [-4.71, +20.71], n = 2."
    assert lines[7].startswith("Found above the one made by hand: -8.00 points")
    one = speech.table({"rows": [row(0, 0.0)], "machine": "one", "threads": None})
    assert "Found above" not in one
    assert "| all 1 | | 52.0 | 45.0 | 61.0 | | |" in one


def test_the_one_made_by_hand_takes_spectrograms_of_any_length():
    network = handmade(10).eval()
    assert [network(torch.randn(2, 1, 32, frames)).shape for frames in (8, 32, 101)] == [(2, 10)] * 3
    assert sum(p.numel() for p in network.parameters()) == 61_050


@pytest.mark.slow
def test_a_row_is_a_whole_run_on_a_speaker_who_is_in_no_split_but_test(tmp_path, monkeypatch):
    write_clips(tmp_path / "train.parquet", speakers=(0, 1, 2, 3), takes=range(6))
    short = (
        "search.epochs=1",
        "search.batch=8",
        "retrain.epochs=1",
        "retrain.batch=8",
        "select.finalists={count: 2, epochs: 1}",
    )
    few = (*short, "evaluate.controls=2", "data.options.seconds=0.1", "data.options.hop_ms=8")
    monkeypatch.setattr(speech, "speakers", lambda folder, column: [3])
    words = [word for each in few for word in ("--set", each)]
    call(monkeypatch, "--data", tmp_path, "--out", tmp_path / "rows.json", "--threads", 1, *words)
    (found,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert found["speaker"] == 3
    assert found["clips"] == sum(who == 3 for who in pq.read_table(tmp_path / "train.parquet")["speaker"].to_pylist())
    assert [len(found[name]) for name in ("found", "random", "by_hand")] == [3, 2, 3]
    assert found["outcome"] in ("yes", "no", "cannot tell")
