"""Loops that never wait for a device: on the meta device a question for a value is an error, as it is a wait on a GPU.

Looked at on purpose, and left out here: losses, every twentieth step and once an epoch. Mixtures are not here: each
constant weight is asked whether it is zero.
"""

from dataclasses import replace

import pytest
import torch

from tests.search.planted import bench_of, split_options
from tests.search.toys import Loader, cells
from winnow.config.methods import strategy
from winnow.search import paths, several
from winnow.tasks import usual
from winnow.train import fit, loop
from winnow.train.recipes import RECIPES
from winnow.train.seeds import seeded
from winnow.train.watch import Watch

PATHS = {"spos": "nas_bench_201", "fair": "nas_bench_201", "sandwich": "nas_bench_201", "ofa": "ofa"}


@pytest.fixture(autouse=True)
def _no_looks_at_losses(monkeypatch):
    monkeypatch.setattr(loop, "check_finite", lambda *_: None)
    for room in (paths, several):
        monkeypatch.setattr(room, "epoch_loss", lambda *_: 0.0)


def batches() -> Loader:
    x, y = torch.zeros(4, 1, 8, 8, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")
    return Loader([(x, y), (x, y)])


@pytest.mark.parametrize(("name", "space"), PATHS.items(), ids=list(PATHS))
def test_supernets_by_paths(name, space):
    recipe, own = split_options({"epochs": 8, "clip": 5.0})
    bench = bench_of(cells(space).to("meta"), batches(), batches(), seed=1)
    with seeded(0):
        strategy(name).run(bench, recipe, own)
    assert bench.watch.steps == 16


def test_retraining(monkeypatch):
    monkeypatch.setattr(fit, "_told", lambda *_: ({}, None))
    recipe = replace(RECIPES["quick"], epochs=2, clip=1.0, ema=0.9)
    space = cells()
    model = space.derive(space.decide(lambda d: d.values[-1])).to("meta")
    assert next(fit.fit(model, batches(), recipe, usual(), seed=0, watch=Watch()).parameters()).is_meta
