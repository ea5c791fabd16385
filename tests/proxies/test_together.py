"""Children scored with shared work get the numbers of the plain function of the derived child."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from winnow.core.choosers import uniform
from winnow.core.holes import Choice
from winnow.core.replace import replace
from winnow.core.space import Space
from winnow.measure import cost
from winnow.proxies import PROXIES
from winnow.proxies.common import FAN_IN
from winnow.proxies.inside import IMAGES, az_nas_of, images_of, live_params_of, meco_of
from winnow.proxies.sizes import sizes_of
from winnow.proxies.together import synflow_of
from winnow.spaces.darts import darts
from winnow.spaces.mobile import mobile
from winnow.spaces.nas_bench_201 import from_string, nas_bench_201
from winnow.train.seeds import rng, seeded

sys.path.insert(0, str(Path(__file__).parent))
from cases import NONE, batch, built, draws

SPACES = {
    "nas_bench_201": (nas_bench_201, {"channels": 4, "cells": 1, "final": True}),
    "nas_bench_201 while searching": (nas_bench_201, {"channels": 4, "cells": 2}),
    "darts": (darts, {"channels": 2, "layers": 3}),
    "mobile": (mobile, {"width": 0.1, "image_size": 8}),
}
AZ = ("expressivity", "progressivity", "trainability")


@pytest.fixture(params=SPACES)
def space(request):
    build, options = SPACES[request.param]
    return copy.deepcopy(built(build, **options))


def some(space, n: int = 5) -> list:
    stream = rng(0, "children")
    found = [space.decide(uniform(stream)) for _ in range(n)]
    return [*found, from_string(NONE)] if "1<-0" in space.decisions else found


def test_synflow_of_many_children_is_that_of_each(space):
    archs = some(space)
    together = [row["synflow"] for row in synflow_of(space, batch())(archs)]
    assert together == pytest.approx([PROXIES["synflow"].score(space.derive(a), batch()) for a in archs], rel=1e-5)


def test_scores_of_images_inside_the_space_are_those_of_the_child(space):
    """Jacobians in double precision: single precision rounds differently in other layouts, and logarithms tell.

    Not of DARTS, whose BatchNorms, averaged over the batch, leave a Jacobian of rounding errors.
    """
    archs = some(space)
    slopes = IMAGES if "reduce/2" not in space.decisions else ("naswot",)
    for dtype, names in ((torch.float32, ("naswot",)), (torch.float64, slopes)):
        space.to(dtype)
        images = batch()[0].to(dtype), batch()[1]
        for arch, row in zip(archs, images_of(space, images, names)(archs), strict=True):
            child = space.derive(arch)
            assert row == pytest.approx({name: PROXIES[name].score(child, images) for name in names}, rel=1e-5)


def test_a_score_of_images_needs_no_other(space):
    archs = some(space, 2)
    every = images_of(space, batch(), IMAGES)(archs)
    for name in IMAGES:
        assert [row[name] for row in every] == [row[name] for row in images_of(space, batch(), (name,))(archs)]


def test_meco_inside_the_space_is_that_of_the_child(space):
    score = meco_of(space, batch(), draws(2))
    if "reduce/2" in space.decisions:
        assert score is None  # two edges of a node are summed by a module that only the child has
        return
    archs = some(space, 3)
    together = [row["meco"] for row in score(archs)]
    assert together == pytest.approx([PROXIES["meco"].score(space.derive(a), batch(), draws(2)) for a in archs], 1e-5)


def test_az_nas_from_one_pass_is_that_of_three(space):
    """In double precision to 1e-9; in single precision the layouts round differently, and BatchNorms of few places
    amplify that."""
    FAN_IN(space, draws())
    archs = some(space, 3)
    for dtype, near in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        space.to(dtype)
        images = batch()[0].to(dtype), None
        for arch, row in zip(archs, az_nas_of(space, images, draws(3))(archs), strict=True):
            child = space.derive(arch)
            plain = [PROXIES[name].score(child, images, draws(3), init=None) for name in AZ]
            assert [row[name] for name in AZ] == pytest.approx(plain, rel=near, abs=near)


def test_az_nas_draws_its_signs_anew_for_features_of_another_size():
    stems = {stride: nn.Sequential(nn.Conv2d(3, 4, 3, stride, 1), nn.ReLU()) for stride in (1, 2)}
    blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU()) for _ in range(2)]
    with seeded(0):
        space = Space(nn.Sequential(Choice("stem", stems), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())).double()
    FAN_IN(space, draws())
    images, archs = (batch()[0].double(), None), [space.decide(lambda d, option=option: option) for option in (1, 2, 1)]
    for arch, row in zip(archs, az_nas_of(space, images, draws(3))(archs), strict=True):
        plain = [PROXIES[name].score(space.derive(arch), images, draws(3), init=None) for name in AZ]
        assert [row[name] for name in AZ] == pytest.approx(plain, rel=1e-9, abs=1e-9)


def test_sizes_by_walking_are_those_of_the_child(space):
    sizes = sizes_of(space, (3, 8, 8))
    for arch in some(space, 2):
        child = space.derive(arch)
        assert sizes(arch)["params"] == cost.params(child)
        assert live_params_of(space, batch())([arch]) == [{"live_params": PROXIES["live_params"].score(child, batch())}]
        assert sizes(arch)["macs"] == sizes(arch)["complexity"] == cost.macs(child, (3, 8, 8))


def test_a_layer_that_is_called_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.choice = nn.Conv2d(3, 3, 1), Choice("a", {1: nn.Conv2d(3, 3, 1), 3: nn.Conv2d(3, 3, 3)})

        def forward(self, x):
            return self.choice(self.layer(self.layer(x)))

    space = Space(Twice())
    sizes = sizes_of(space, (3, 12, 8))
    for option in (1, 3, 1):
        arch = space.decide(lambda d, option=option: option)
        assert sizes(arch)["macs"] == cost.macs(space.derive(arch), (3, 12, 8))


def test_scoring_leaves_the_space_as_it_was(space):
    before = {name: value.clone() for name, value in space.state_dict().items()}
    archs = some(space, 2)
    for scorer in (synflow_of(space, batch()), images_of(space, batch(), IMAGES), az_nas_of(space, batch(), draws())):
        scorer(archs)
    assert all(torch.equal(before[name], value) for name, value in space.state_dict().items())
    assert space.board.setting == {}


def activations() -> Space:
    def rule(path: str, module: nn.Module) -> Choice | None:
        return Choice(path, {"relu": module, "gelu": nn.GELU()}) if isinstance(module, nn.ReLU) else None

    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    with seeded(0):
        return replace(nn.Sequential(*layers, nn.Linear(4, 4)), rule)


def test_activations_that_are_no_relu_go_one_by_one():
    space = activations()
    assert synflow_of(space, batch()) is None


class Squashed(nn.Sequential):
    def forward(self, x):
        return torch.sigmoid(super().forward(x))


def test_functions_that_are_not_linear_are_noticed():
    space = activations()
    space.model = Squashed(*space.model)
    for name in ("1", "3"):
        space.model[int(name)] = nn.ReLU()
    assert synflow_of(space, batch()) is None


def test_biases_are_no_exception():
    space = biased()
    archs = list(space.every())
    together = [row["synflow"] for row in synflow_of(space, batch())(archs)]
    assert together == pytest.approx([PROXIES["synflow"].score(space.derive(a), batch()) for a in archs], rel=1e-5)


def biased() -> Space:
    """Biases before ReLUs, and choices between a bias and none."""

    def rule(path: str, module: nn.Module) -> Choice | None:
        bare = nn.Conv2d(4, 4, 1, bias=False)
        return Choice(path, {"skip": nn.Identity(), "bare": bare, "conv": module}) if path in ("2", "4") else None

    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU()]
    with seeded(0):
        return replace(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)), rule)


def test_deep_children_do_not_leave_single_precision():
    layers = [nn.Conv2d(3, 30, 1), *[nn.Conv2d(30, 30, 1) for _ in range(50)], nn.AdaptiveAvgPool2d(1), nn.Flatten()]

    def rule(path: str, module: nn.Module) -> Choice | None:
        return Choice(path, {"skip": nn.Identity(), "conv": module}) if path in ("3", "4") else None

    with seeded(0):
        space = replace(nn.Sequential(*layers, nn.Linear(30, 2)), rule)
    archs = list(space.every())
    together = [row["synflow"] for row in synflow_of(space, batch())(archs)]
    assert together == pytest.approx([PROXIES["synflow"].score(space.derive(a), batch()) for a in archs], rel=1e-5)
    with torch.no_grad():
        space.model[1].weight *= 1e30
    assert synflow_of(space, batch())(archs[:1])[0]["synflow"] == pytest.approx(together[0] + 69.08, abs=1)
