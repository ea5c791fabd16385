"""Loops that never wait for a device: on the meta device a question for a value is found out, as it is a wait on a GPU.

Looked at on purpose: losses, every twentieth step and once an epoch, and what a method cannot go on without (`LOOKS`).
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.looks import Looks
from tests.search.planted import bench_of, split_options
from tests.search.toys import Loader, cells
from winnow.config.methods import strategy
from winnow.core.space import Space
from winnow.holes.partial import partial_channels
from winnow.proxies import PROXIES, score
from winnow.search.methods import STRATEGIES
from winnow.search.strategy import INITIALISED, TRIALS
from winnow.spaces.nas_bench_201 import Cell, Network
from winnow.tasks import TASKS, task_named, usual
from winnow.train import fit
from winnow.train.recipes import RECIPES
from winnow.train.seeds import generator, seeded
from winnow.train.watch import Watch

TRAINED = [name for name in STRATEGIES if not {TRIALS, INITIALISED} & strategy(name).leaves]
SPACES = {"ofa": "ofa", "nse": "multibranch"}  # the others search one cell
CASES = {name: (name, {}) for name in TRAINED} | {
    "darts, second order": ("darts", {"order": "second"}),
    "sdarts, adversarial": ("sdarts", {"noise": "adversarial"}),
    "gumbel, soft": ("gumbel", {"hard": False}),
    "unas": ("unas", {"warmup": 0}),
    "unas by batch": ("unas", {"warmup": 0, "draws": "batch"}),
    "pc_darts": ("pc_darts", {"warmup": 0}),
    "sgas": ("sgas", {"epochs": 7, "warmup": 0, "interval": 1}),
    "subset": ("subset", {"weights": "alternating"}),
    "ofa": ("ofa", {"epochs": 5}),
    "cream": ("cream", {"rows": 2, "size": 2, "start": 0, "epochs": 2}),
    "abs": ("abs", {"first": 1, "later": 1, "until": 2, "drop": 1, "children": 5, "refresh": 1}),
    "neas": ("neas", {"first": 1, "later": 1, "until": 2, "drop": 1, "contexts": 1, "batches": 1}),
    "nse": ("nse", {"epochs": 1, "rounds": [1], "samples": 3}),
}
SLOW = ("ofa", "nse", "neas", "sgas")  # phases, rounds, epochs
LOOK = "search/looks.py:looked_at"
LOOKS = {  # the most looks a step, by who looks: what is computed hangs on who was drawn, or on who is better
    "gdas": {LOOK: 2},  # both settings
    "unas by batch": {LOOK: 1},
    "nse": {LOOK: 2},  # before and after a step of the fire parameters
    "cream": {"tasks/classify.py:measure": 2, "search/methods/cream.py:chosen": 2},
}
LAYERS = 15  # of the child that is scored, and some
BY_LAYER = ("fisher", "grad_sign", "expressivity", "progressivity")  # look once a layer or a row; others thrice at most
COMPARE = ("jacob_cov", "epe", "zico", "trainability", "eproxy")  # pick or compare by value: nothing to try without


def batches(count: int = 1) -> Loader:
    x, y = torch.zeros(4, 1, 8, 8, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")
    return Loader([(x, y)] * count)


def cell() -> Space:
    layers = [nn.Conv2d(1, 4, 3, 1, 1), Cell(4, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Space(Network(*layers, nn.Linear(4, 3)))


@pytest.mark.parametrize("case", [pytest.param(each, marks=[pytest.mark.slow] * (each in SLOW)) for each in CASES])
def test_a_step_of_a_search(case):
    name, options = CASES[case]
    recipe, own = split_options({"epochs": 1, "clip": 5.0} | options)
    space = cells(SPACES[name]) if name in SPACES else cell()
    space = (partial_channels(space, 4) if name == "pc_darts" else space).to("meta")
    bench = bench_of(space, batches(), batches(), seed=1)
    with seeded(0), Looks() as looks:
        strategy(name).run(bench, recipe, own)
    steps = bench.watch.steps
    assert steps > 0
    may = LOOKS.get(case, {})
    assert looks.in_steps.keys() == may.keys()
    assert all(count <= steps * may[who] for who, count in looks.in_steps.items())


def test_retraining():
    recipe = replace(RECIPES["quick"], epochs=2, clip=1.0, ema=0.9)
    space = cell()
    model = space.derive(space.decide(lambda d: d.values[-1])).to("meta")
    with Looks() as looks:
        kept = fit.fit(model, batches(), recipe, usual(), seed=0, watch=Watch())
    assert next(kept.parameters()).is_meta
    assert looks.elsewhere  # losses, once an epoch: questions are found
    assert not looks.in_steps


@pytest.mark.parametrize("name", TASKS)
def test_the_loss_of_a_task(name):
    facts = {"classes": ["a", "b"], "present": [0, 1], "fields": ["who"], "dense": [], "strides": [8, 16]}
    outputs, answers = {
        "clicks": ((4, 1), torch.zeros(4, device="meta")),
        "detection": ((4, 5, 10), torch.zeros(4, 3, 5, device="meta")),
        "retrieval": ((4, 64), torch.zeros(4, dtype=torch.long, device="meta")),
    }.get(name, ((4, 2), torch.zeros(4, dtype=torch.long, device="meta")))
    said = torch.zeros(*outputs, device="meta", requires_grad=True)
    task = task_named(name)
    with Looks() as looks:
        criterion = task.criterion(facts, 0).to("meta")
        if name == "retrieval":  # its losses are another package's, which picks the classes of a batch
            with pytest.raises(NotImplementedError):
                criterion(said, answers)
        else:
            criterion(said, answers).backward()
        task.imitate(said, said.detach()).backward()
        if task.each is not None:
            task.each(said, answers).sum()
    assert said.grad.is_meta
    assert not looks.in_steps + looks.elsewhere


def child() -> nn.Module:
    space = cell()
    return space.derive(space.decide(lambda d: d.options[-2])).to("meta")


@pytest.mark.parametrize("name", [name for name in PROXIES if name not in COMPARE])
def test_how_often_a_proxy_looks_at_a_child(name):
    x, y = torch.zeros(4, 1, 8, 8, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")
    with Looks() as looks:
        score(name, child(), (x, y), generator(0, "proxy"))
    assert sum(looks.elsewhere.values()) <= (LAYERS + 1 if name in BY_LAYER else 3), looks.elsewhere
