"""`winnow consistency` on the tiny pipeline: what it trains it keeps."""

import json

import pytest
import yaml

from tests.stages.tiny import tiny
from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.tools.consistency import consistency


def test_the_command_trains_once_what_it_is_asked_for(folder, tmp_path, capsys):
    params = tiny()
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
    with pytest.raises(Refused, match="c0r0s3e1: 20 images are left, fewer than a batch of 32"):
        consistency(params, folder, ["c0r0s3e1"], "c0r0s0e1", 5)
    command = ["consistency", "c2r0s1e1", "--full", "c0r0s0e1", "--networks", "5", "--folder", str(folder)]
    out = tmp_path / "found.json"
    assert cli.run([*command, "--out", str(out), "--resamples", "20"]) == 0
    said = capsys.readouterr().out
    assert "5 networks of nas_bench_201 against c0r0s0e1; 95 % intervals over networks" in said
    found = json.loads(out.read_text())
    assert [row["setting"] for row in found["rows"]] == ["c0r0s0e1'", "c2r0s1e1"]
    assert 0.1 < found["rows"][1]["work"] < 0.2, "half the channels, and half the images"
    journals = {path.name: path.read_bytes() for path in (folder / ".winnow/trials").glob("consistency-*.log")}
    assert cli.run([*command, "--out", str(out), "--resamples", "20"]) == 0
    assert {name: (folder / ".winnow/trials" / name).read_bytes() for name in journals} == journals
    assert json.loads(out.read_text()) == found
    with pytest.raises(Refused, match="takes 5 networks or more to be compared, not 4"):
        consistency(params, folder, ["c0r0s0e1"], "c0r0s0e1", 4)
