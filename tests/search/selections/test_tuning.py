"""search.selections.perturbation.tuning: what DARTS-PT does between two decisions, by the method before it."""

import pytest

from tests.search.toys import Loader, cells, changed, images, logits_of, loss_of, snapshot
from winnow.config.methods import strategy
from winnow.core.options import taken
from winnow.search.bench import Bench
from winnow.search.recipe import Recipe
from winnow.search.selections.perturbation import resume_mixture
from winnow.train.seeds import generator

DECIDED = {"1<-0": "skip_connect"}


def tuned(name: str, seen: list | None = None, noise: str = "random"):
    space = cells()
    logits, loss = logits_of(space), loss_of(space)

    def objective(batch, setting):
        if seen is not None and not any(getattr(v, "requires_grad", False) for v in setting.values()):
            seen.append(setting)
        return loss(batch, setting)

    before = snapshot(logits)
    between = strategy(name).between
    parts = between(space, objective, generator(0, "tuning"), **taken(between, {"noise": noise}))
    bench = Bench(
        space, 0, objective=objective, train=Loader([images(8, 0)]), valid=Loader([images(8, 1)]), logits=logits
    )
    recipe = Recipe(1, 0.01, weight_decay=0.0, logits_lr=0.1, logits_weight_decay=0.1)
    resume_mixture(bench, parts, recipe)(DECIDED)
    return changed(logits, before)


def test_a_blank_mixture_stays_blank():
    assert tuned("blank") == []
    assert sorted(tuned("darts")) == sorted(name for name in cells().decisions if name not in DECIDED)


@pytest.mark.parametrize(("name", "noise"), [("darts", "random"), ("sdarts", "random"), ("sdarts", "adversarial")])
def test_weights_train_under_decided_options_as_they_are(name, noise):
    """Wang et al. 2021, public code: decided rows are written over the disturbed ones in the forward pass."""
    seen: list = []
    tuned(name, seen, noise)
    assert {setting["1<-0"] for setting in seen} == {"skip_connect"}


def test_smooth_darts_disturbs_what_is_open():
    plain, disturbed = [], []
    tuned("darts", plain)
    tuned("sdarts", disturbed)
    for name in sorted(set(plain[-1]) - set(DECIDED)):
        away = disturbed[-1][name] - plain[-1][name]
        assert float(away.abs().max()) > 1e-3
        assert float(disturbed[-1][name].sum()) == pytest.approx(1, abs=1e-6)
