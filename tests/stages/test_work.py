"""What stages stand on: planning ahead, devices, and sentences for what machines refuse."""

import errno
import os
import tempfile
from dataclasses import asdict

import pytest
import torch

from tests.stages.tiny import tiny
from winnow.core.errors import Refused
from winnow.run.work import Work, augmentation, choose_device, working
from winnow.tools.plan import plan
from winnow.tracking import Run


def test_a_plan_counts_measures_and_adds_up(finished):
    params = tiny()
    found = plan(params, finished)
    assert found.architectures == 15625
    assert found.decisions == 6
    for smallest, median, largest in (found.params, found.macs):
        assert 0 < smallest <= median <= largest
    assert found.search_steps == 2 * (128 // 32)  # two epochs of half of 256 training images
    assert found.step_seconds > 0
    assert found.seconds["search"] == pytest.approx(found.step_seconds * found.search_steps)
    assert set(found.seconds) == {"search", "select", "tune", "retrain", "evaluate"}
    assert asdict(found)["peak_mib"] > 1


@pytest.mark.parametrize("evaluator", ["training", "inherited", "proxy", "table"])
def test_a_plan_of_trials_counts_them(finished, evaluator):
    changes = {"search__trials__table__path": "table.parquet", "search__trials__evaluator": evaluator}
    found = plan(tiny(search__strategy="trials", select__methods=["best"], **changes), finished)
    assert (found.unit, found.search_steps) == ("trials", 24)
    assert (found.step_seconds > 0) == (evaluator != "table")
    assert found.seconds["search"] >= 24 * found.step_seconds


def test_a_plan_without_training_counts_scores(finished):
    methods = ["random", "evolution", "prune"]
    found = plan(tiny(search__strategy="training_free", select__methods=methods, select__random__samples=6), finished)
    assert found.unit == "scores"
    assert found.seconds["search"] == 0
    assert found.seconds["select"] == pytest.approx(found.step_seconds * (6 + 4 * 2))


def test_a_plan_without_prepared_data_says_what_to_run(tmp_path):
    with pytest.raises(Refused, match="prepare"):
        plan(tiny(), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU is needed")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there_is_a_sentence(device):
    with pytest.raises(Refused, match=rf"runtime.device is '{device}', but this machine has no CUDA device"):
        choose_device(tiny(runtime__device=device))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
            "out of GPU memory: lower search.b",
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.parquet"), "the disk is full writing x.parquet: free"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "the disk is full: free"),
        (OSError(errno.ENOSPC, "", f"{tempfile.gettempdir()}/tmpx.png"), "x.png, a temporary file: set TMPDIR"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "a/b"), "a/b cannot be used .Read-only file system"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/x']"), "set TMPDIR to one"),
    ],
)
def test_what_the_machine_refuses_becomes_a_sentence(finished, error, sentence):
    with pytest.raises(Refused, match=sentence), working("search", tiny(), finished, splits=("weights",)):
        raise error


@pytest.mark.parametrize("place", ["full", "missing"])
def test_a_picture_ends_no_work(finished, monkeypatch, capsys, place):
    params = tiny(tracking__enabled=True)

    def full(figure, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    if place == "full":
        monkeypatch.setattr("winnow.run.draw.save", full)
    else:
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
        monkeypatch.setenv("TMPDIR", "/nowhere")
    work = Work("evaluate", params, finished, torch.device("cpu"), Run("evaluate", None))
    work.picture("confusion", "confusion", [{"actual": "a", "predicted": "a", "count": 1}])
    told = capsys.readouterr().out
    assert "no picture 'confusion' in MLflow" in told
    assert (tempfile.gettempdir() if place == "full" else "now /nowhere") in told


def test_without_a_tracker_no_picture_is_drawn(finished, monkeypatch):
    monkeypatch.setattr("winnow.run.draw.save", lambda *_: pytest.fail("drawn"))
    Work("evaluate", tiny(), finished, torch.device("cpu"), Run("evaluate", None)).picture("confusion", "confusion", [])


def test_another_operating_system_error_keeps_its_traceback(finished):
    with pytest.raises(PermissionError), working("search", tiny(), finished):
        raise PermissionError("no")


def test_augmentation_is_what_was_said_or_fits_the_images(finished):
    with working("search", tiny(), finished) as work:
        split = work.split("weights")
    usual = augmentation(tiny(), split).augment
    assert (usual.pad, usual.flip) == (1, False)  # an eighth of eight pixels; a mirrored digit is another sign
    given = augmentation(tiny(data__augment={"pad": 2, "flip": True}), split, cutout=4).augment
    assert (given.pad, given.flip, given.cutout) == (2, True, 4)
