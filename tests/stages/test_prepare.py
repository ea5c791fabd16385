"""What prepare says of a folder as people bring it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.stages.tiny import tiny
from winnow.core.errors import Refused
from winnow.pipelines import prepare


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of six images in ~/photos, their names full of what terminals and templates take for their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    for name in ("[bold]rose", "<b>{tulip}"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photos"


def read(folder: Path) -> dict:
    prepare.main(tiny(data__source="image_folder", data__path="~/photos", data__limit_train=None), folder)
    return json.loads((folder / "reports/prepare.json").read_text())


def test_what_is_left_out_and_noted_is_said_word_for_word(photos, tmp_path, capsys):
    (photos / "[bold]rose" / "a.[red]").write_text("")
    (photos / "[bold]rose" / ".hidden").write_text("")
    (photos / "[green]").mkdir()
    report = read(tmp_path / "work")
    said = capsys.readouterr().out.splitlines()
    assert "  left out: 1 hidden, 1 .[red]" in said
    assert "  empty class folder(s) left out: [green]" in said
    assert sorted(report["left_out"]) == ["1 .[red]", "1 hidden"]  # a list: no gate compares it
    assert report["classes"] == 2


def test_a_data_set_without_remarks_has_none(photos, tmp_path, capsys):
    assert set(read(tmp_path / "work")) == {"images", "classes", "shape", "duplicates"}
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_refusal_leaves_no_splits(photos, tmp_path):
    (photos / "[bold]rose" / "x.png").write_bytes(b"junk")
    with pytest.raises(Refused, match=r"x.png: the image cannot be decoded"):
        read(tmp_path / "work")
    assert not list((tmp_path / "work").rglob("*.parquet"))
