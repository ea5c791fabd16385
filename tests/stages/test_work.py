"""What stages stand on: planning ahead, devices, and sentences for what machines refuse."""

import errno
import os
from dataclasses import asdict

import pytest
import torch

from tests.stages.tiny import tiny
from winnow.core.errors import Refused
from winnow.pipelines.plan import plan
from winnow.stage.work import augmentation, choose_device, working


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
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.parquet"), "the disk is full writing x.parquet"),
    ],
)
def test_what_the_machine_refuses_becomes_a_sentence(finished, error, sentence):
    with pytest.raises(Refused, match=sentence), working("search", tiny(), finished, splits=("weights",)):
        raise error


def test_another_operating_system_error_keeps_its_traceback(finished):
    with pytest.raises(PermissionError), working("search", tiny(), finished):
        raise PermissionError("no")


def test_augmentation_is_what_was_said_or_fits_the_images(finished):
    with working("search", tiny(), finished) as work:
        split = work.split("weights")
    assert augmentation(tiny(), split).pad == 1  # an eighth of eight pixels
    assert augmentation(tiny(), split).flip is False  # a mirrored digit is another sign
    given = augmentation(tiny(data__pad=2, data__flip=True), split, cutout=4)
    assert (given.pad, given.flip, given.cutout) == (2, True, 4)
