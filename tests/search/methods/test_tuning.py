"""search.methods.tuning: what DARTS-PT does between two decisions, by the method before it."""

import pytest
import torch

from tests.search.toys import Loader, cells, changed, images, logits_of, loss_of, snapshot
from winnow.search.methods.tuning import tuning
from winnow.search.mixture import resume_mixture

DECIDED = {"1<-0": "skip_connect"}


def tuned(strategy: str, seen: list | None = None):
    space = cells()
    logits, loss = logits_of(space), loss_of(space)

    def objective(batch, setting):
        if seen is not None and not any(getattr(v, "requires_grad", False) for v in setting.values()):
            seen.append(setting)
        return loss(batch, setting)

    before = snapshot(logits)
    tune = resume_mixture(
        space, logits, Loader([images(8, 0)]), Loader([images(8, 1)]), objective=objective, epochs=1, lr=0.01,
        momentum=0.9, weight_decay=0.0, clip=5.0, logits_lr=0.1, logits_weight_decay=0.1,
        parts=tuning(strategy, space, objective, 0),
    )  # fmt: skip
    tune(DECIDED)
    return changed(logits, before)


def test_a_blank_mixture_stays_blank():
    assert tuned("blank") == []
    assert sorted(tuned("darts")) == sorted(name for name in cells().decisions if name not in DECIDED)


@pytest.mark.parametrize("strategy", ["darts", "sdarts"])
def test_smooth_darts_disturbs_decided_weights_too(strategy):
    seen: list = []
    tuned(strategy, seen)
    setting = seen[-1]
    if strategy == "darts":
        assert setting["1<-0"] == "skip_connect"
    else:
        weights = setting["1<-0"]
        assert float(weights.sum()) == pytest.approx(1, abs=1e-6)
        assert 0.4 < float(weights[1]) < 1
        assert not torch.equal(weights, weights.round())
