"""Where checkpoints lie, what becomes of damaged and superseded ones, and that a changed parameter never finds them."""

import os
import random
import re
import shutil

import pytest
import torch
import yaml

from tests.stages.tiny import ROOT, tiny
from winnow.core.errors import Refused
from winnow.pipelines import prepare, search
from winnow.run import checkpoint, files
from winnow.run.checkpoint import GENERATIONS, STANDS_ON, generations, hold, newest, save
from winnow.run.work import working
from winnow.tracking import state_folder
from winnow.train.checkpoint import Keeper


class Killed(BaseException):
    """Ends a stage as abruptly as anything can that leaves the process alive."""


def state(number: int):
    keeper = Keeper()
    keeper.add(weights=[torch.full((50, 50), float(number))])
    return keeper.state()


def number_of(found) -> float:
    return float(found["levels"][0]["parts"]["weights"][0][0, 0])


def test_two_generations_are_kept_and_the_newest_is_taken(tmp_path):
    for number in range(12):
        save(tmp_path, state(number))
    assert len(generations(tmp_path)) == GENERATIONS
    assert number_of(newest(tmp_path, lambda text: None)) == 11


def test_a_truncated_checkpoint_is_detected_the_previous_one_used_and_that_is_said(tmp_path):
    draw, said = random.Random(0), []
    (tmp_path / "kept").mkdir()
    for number in (1, 2):
        save(tmp_path / "kept", state(number))
    for _ in range(20):
        shutil.copytree(tmp_path / "kept", tmp_path / "cut", dirs_exist_ok=True)
        last = generations(tmp_path / "cut")[-1]
        last.write_bytes(last.read_bytes()[: draw.randrange(last.stat().st_size)])
        said.clear()
        assert number_of(newest(tmp_path / "cut", said.append)) == 1
        assert re.search(r"checkpoint 2 of cut is damaged \(its checksum differs\): the one before is taken", said[0])
        assert "going on with cut from checkpoint 1" in said[1]


def test_a_changed_byte_is_detected_and_without_another_the_stage_begins_anew(tmp_path):
    save(tmp_path, state(1))
    (path,) = generations(tmp_path)
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    (tmp_path / ".000002-x.safetensors.abcdefgh").write_text("half-written")
    said = []
    assert newest(tmp_path, said.append) is None
    assert "the stage begins anew" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_only_one_process_works_in_a_folder(tmp_path):
    with hold(tmp_path) as first, hold(tmp_path) as second:
        assert (first, second) == (True, False)
    with hold(tmp_path) as again:
        assert again


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepare.main(tiny(), folder)
    return folder


@pytest.fixture
def folder(prepared, tmp_path):
    os.symlink(prepared / "data", tmp_path / "data")
    return tmp_path


def often(**changes):
    return tiny(runtime__checkpoint_seconds=1e-6, search__collapse="off", **changes)


def search_killed(monkeypatch, folder, params, saves):
    """The search dies right after so many checkpoints; the folders that are there then."""
    left = iter(range(saves, 0, -1))

    def dies(folder, state):
        save(folder, state)
        if next(left) == 1:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("winnow.train.checkpoint.MOST", 1e9)
        patch.setattr(checkpoint, "save", dies)
        with pytest.raises(Killed):
            search.main(params, folder)
    return list((folder / ".winnow/checkpoints").iterdir())


def test_the_same_command_goes_on_says_from_where_and_cleans_up(folder, monkeypatch, capsys):
    (kept,) = search_killed(monkeypatch, folder, often(), 5)
    assert re.fullmatch(r"search-[0-9a-f]{12}", kept.name)
    search.main(tiny(search__collapse="off"), folder)  # another cadence is no other search
    assert f"going on with {kept.name} from checkpoint 5: step 0, epoch 1" in capsys.readouterr().out
    assert list(kept.parent.iterdir()) == []
    curve = (folder / "reports/search.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in curve] == ["epoch", "0", "1"]


@pytest.mark.parametrize(
    "change",
    [
        {"search__lr": 0.09},
        {"seed": 1},
        {"search__epochs": 3},
        {"data__augment": {"pad": 2}},
        {"space__nas_bench_201__channels": 6},
        {"search__strategy": "gdas"},
        {"runtime__threads": 2},
    ],
)
def test_a_changed_parameter_begins_anew(folder, monkeypatch, capsys, change):
    search_killed(monkeypatch, folder, often(), 5)
    capsys.readouterr()
    stopped = search_killed(monkeypatch, folder, often(**change), 1)
    assert "going on" not in capsys.readouterr().out
    assert len(stopped) == 2
    search.main(often(), folder)
    assert "going on" in capsys.readouterr().out
    assert list((folder / ".winnow/checkpoints").iterdir()) == [], "what another parameter began is superseded"


def test_what_a_later_stage_does_is_no_reason_to_begin_anew(folder, monkeypatch, capsys):
    search_killed(monkeypatch, folder, often(), 5)
    search.main(often(select__methods=["magnitude"], retrain__epochs=9, evaluate__controls=1), folder)
    assert "going on" in capsys.readouterr().out


def test_a_stage_that_ends_badly_before_its_first_checkpoint_leaves_no_folder(folder):
    with pytest.raises(Refused, match="the loss is"):
        search.main(tiny(search__lr=1e30, search__clip=1e30), folder)
    assert list((folder / ".winnow/checkpoints").iterdir()) == []


def test_zero_seconds_keep_nothing(folder):
    search.main(tiny(runtime__checkpoint_seconds=0, search__collapse="off"), folder)
    assert not (folder / ".winnow/checkpoints").exists()


def test_what_somebody_works_in_is_not_removed_and_not_written_to(folder, capsys):
    params = tiny(search__collapse="off")
    with working("search", params, folder) as work:
        name = f"search-{checkpoint._basis(work, (), {})}"
    checkpoints_of = state_folder(folder) / "checkpoints"
    with hold(checkpoints_of / name), hold(checkpoints_of / "search-0123456789ab"):
        search.main(params, folder)
    assert "this one keeps no checkpoints" in capsys.readouterr().out
    assert {path.name for path in checkpoints_of.iterdir()} == {name, "search-0123456789ab"}


@pytest.mark.parametrize("stage", STANDS_ON)
def test_the_fingerprint_covers_what_dvc_yaml_says_a_stage_looks_at(stage):
    named = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["params"]
    sections = {key.partition(".")[0] for key in named} - {"runtime"}  # device and threads as they are
    assert sections <= set(STANDS_ON[stage])


def test_the_half_file_of_a_killed_writer_goes_when_the_file_is_written_again(tmp_path):
    left = tmp_path / ".model.json.a1b2c3d4"
    left.write_text("half")
    other = tmp_path / ".other.json.a1b2c3d4"
    other.write_text("half")
    files.write_json(tmp_path / "model.json", {})
    assert (left.exists(), other.exists()) == (False, True)
