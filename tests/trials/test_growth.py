"""What a child of a user's own network begins with: what its parent computes, or its slice where it shrinks."""

import copy
import functools
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.spaces.auto_networks import NETWORKS, Dense, Heads, Inverted, Residual, Shuffled, Transformer, conv
from tests.spaces.test_auto import X, space_of
from tests.trials.test_engine import ONE, told
from winnow.core.choosers import uniform
from winnow.core.space import Space
from winnow.train.seeds import generator
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.growth import LAYERS
from winnow.trials.morphism import inherit, keep
from winnow.trials.outcome import Job
from winnow.trials.plan import Plan
from winnow.trials.search import SpaceSearch


@functools.cache
def opened(kind: type[nn.Module], elastic: tuple[str, ...] = ("width", "depth", "kernel")) -> Space:
    space = space_of(kind, elastic=elastic, widths=[0.5, 0.75, 1])
    space.example = tuple(X.shape[1:])
    return space


def stirred(model: nn.Module, seed: int) -> nn.Module:
    """With weights and statistics that are nobody else's, as after training."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * parameter.std() * torch.randn(parameter.shape, generator=draws)
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 1.5, generator=draws)
            norm.bias.uniform_(-0.3, 0.3, generator=draws)
            norm.running_mean.uniform_(-0.5, 0.5, generator=draws)
            norm.running_var.uniform_(0.5, 1.5, generator=draws)
    return model


def moved(space: Space, arch, name: str, value, draws: random.Random):
    """`arch` with one answer changed; what that brings within reach is drawn."""
    return space.decide(lambda d: value if d.name == name else arch.get(d.name) or draws.choice(d.values))


def child_of(space: Space, parent, arch, own, folder, seed: int = 7) -> nn.Module:
    keep(folder, 0, arch, parent, 0)
    return inherit(stirred(space.derive(own), seed), space, Job(1, 1, {}, own, {}, parent=0), folder)


@pytest.mark.parametrize("kind", [Residual, Dense, Inverted, Shuffled, Transformer, Heads], ids=lambda k: k.__name__)
def test_whatever_grows_computes_what_its_parent_does(kind, tmp_path):
    """Kinks, BatchNorm, sums, concatenations, depthwise and grouped layers, heads: each decision, to its largest."""
    space, draws = opened(kind), random.Random(1)
    arch = space.decide(lambda d: draws.choice(d.values[1:-1] or d.values[:1]))
    parent = stirred(space.derive(arch), 0)
    wanted = parent.eval()(X)
    assert not torch.allclose(wanted[0], wanted[1], rtol=1e-3)
    for name in arch:
        own = moved(space, arch, name, space.decisions[name].values[-1], draws)
        child = child_of(space, parent, arch, own, tmp_path)
        assert child.training
        torch.testing.assert_close(child.eval()(X), wanted, rtol=1e-5, atol=1e-6)
    assert {name.rpartition("/")[2] for name in NETWORKS[kind]} <= {name.rpartition("/")[2] for name in arch}


@pytest.mark.parametrize("kind", [Dense, Shuffled, Heads], ids=lambda k: k.__name__)
def test_what_shrinks_has_its_slice_of_the_parent(kind, tmp_path):
    """The parent is the whole network, so that what a space with its weights derives is what the child should be."""
    space, draws = copy.deepcopy(opened(kind)), random.Random(2)
    for hole in space.holes:
        stirred(hole, 3)
    whole = space.derive(space.original)
    for _ in range(2):
        own = space.decide(uniform(draws))
        child, wanted = child_of(space, whole, space.original, own, tmp_path), space.derive(own).state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in child.state_dict().items())


def test_what_is_new_learns(tmp_path):
    """No weight is 0 together with all that would tell it where to go."""
    space = opened(Transformer)
    arch = space.decide(lambda d: d.values[1] if d.name.endswith("depth") else d.values[0])
    parent = stirred(space.derive(arch), 0)
    child = child_of(space, parent, arch, space.original, tmp_path).train()
    optimiser, learning = torch.optim.SGD(child.parameters(), 0.05), set()
    for _ in range(2):  # what lies behind a layer of zeros learns once that has moved
        optimiser.zero_grad()
        F.cross_entropy(child(X), torch.tensor([0, 1])).backward()
        learning |= {name for name, p in child.named_parameters() if p.grad.any()}
        optimiser.step()
    assert learning == {name for name, _ in child.named_parameters()}


class Normed(nn.Module):
    """What a block gives is normalised with what it takes: nothing that is 0 makes it pass that on."""

    def __init__(self):
        super().__init__()
        self.body, self.norm = conv(16, 16), nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.body(x))


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks, self.head = conv(3, 16), nn.Sequential(Normed(), Normed()), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def test_a_block_that_cannot_pass_on_begins_as_it_was_initialised(tmp_path):
    space = opened(Chain, elastic=("depth",))
    arch, own = ({"blocks/depth": depth} for depth in (1, 2))
    arch, own = space.decide(lambda d: arch[d.name]), space.decide(lambda d: own[d.name])
    child = child_of(space, stirred(space.derive(arch), 0), arch, own, tmp_path)
    fresh = stirred(space.derive(own), 7)
    assert all(map(torch.equal, child.blocks[1].state_dict().values(), fresh.blocks[1].state_dict().values()))


def test_as_few_layers_as_need_be_are_silent(tmp_path):
    """Of a gate beside the norm that both end a branch, the norm; of an encoder, the last layer of both its parts."""
    for kind, silent in (
        (Residual, {"stage.2.body.2"}),
        (Transformer, {"blocks.1.attention.project", "blocks.1.mlp.down"}),
    ):
        space = opened(kind, elastic=("depth",))
        arch = space.decide(lambda d: d.values[-2])
        child = child_of(space, stirred(space.derive(arch), 0), arch, space.original, tmp_path)
        zero = {p for p, m in child.named_modules() if isinstance(m, LAYERS) and not m.weight.any()}
        assert {path for path in zero if not path.startswith("last")} == silent


class Up(nn.Module):
    """Transposed convolutions, one of them in groups."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 16, stride=2)
        self.up, self.grouped = nn.ConvTranspose2d(16, 24, 2, 2), nn.ConvTranspose2d(24, 24, 3, 1, 1, groups=4)
        self.last, self.head = conv(24, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(F.relu(self.grouped(F.relu(self.up(self.stem(x)))))).mean((2, 3)))


def test_transposed_convolutions_grow_too(tmp_path):
    space, draws = opened(Up), random.Random(0)
    assert {"up/width", "stem/0/width"} <= set(space.decisions)
    for name in space.decisions:
        arch = space.decide(lambda d: d.values[0])
        parent, own = stirred(space.derive(arch), 0), moved(space, arch, name, space.decisions[name].values[-1], draws)
        child = child_of(space, parent, arch, own, tmp_path)
        torch.testing.assert_close(child.eval()(X), parent.eval()(X), rtol=1e-5, atol=1e-6)


def bred(folder, parts) -> list:
    space = opened(Dense)

    def evaluate(job):
        model = inherit(stirred(space.derive(job.architecture), job.seed % 2**32), space, job, folder / "weights")
        with torch.no_grad():
            model.head.bias += torch.rand(5, generator=generator(job.seed, "toy"))
        keep(folder / "weights", job.number, job.architecture, model, job.seed)
        return {"accuracy": float(model.eval()(X).detach().sum())}

    plan = Plan(ONE, sampler="network_morphism", look_back=1, sampler_options={"startup": 2})
    for n in parts:
        rows = run(plan, SpaceSearch(space), Inline(evaluate), where=str(folder / "log"), name="own", n_trials=n)
    return rows


def test_a_study_in_parts_leaves_the_same_bytes(tmp_path):
    whole, parts = bred(tmp_path / "whole", [7]), bred(tmp_path / "parts", [1, 3, 4, 7])
    assert told(whole) == told(parts)
    files = sorted((tmp_path / "whole/weights").iterdir())
    assert len(files) == len({row.digest for row in whole})
    assert all(file.read_bytes() == (tmp_path / "parts/weights" / file.name).read_bytes() for file in files)
