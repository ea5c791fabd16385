"""One evaluation: what it raises, as it is told."""

import errno
from types import SimpleNamespace

from winnow.trials.outcome import FAILED, attempt


def test_a_full_disk_is_told_as_one():
    def evaluate(_):
        raise OSError(errno.ENOSPC, "No space left on device", "kept.safetensors")

    outcome = attempt(evaluate, SimpleNamespace(device="cpu"))
    assert outcome.state == FAILED
    assert outcome.error.startswith("the disk is full writing kept.safetensors: free some space")
