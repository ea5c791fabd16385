"""What every proxy promises of every network. A new proxy is one row in `PROXIES`, a new network one in `cases`."""

import copy
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.proxies import PROXIES, proxy, score
from winnow.proxies.common import WORST
from winnow.spaces.nas_bench_201 import Cell, from_string
from winnow.spaces.nb201_classes import wired

sys.path.insert(0, str(Path(__file__).parent))
from cases import DEAD_END, FULL, LIVE, NETWORKS, NONE, UNFED, batch, cell, draws

every_proxy = pytest.mark.parametrize("name", PROXIES)
drawing = pytest.mark.parametrize("name", [n for n, p in PROXIES.items() if p.draws])


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@every_proxy
@pytest.mark.parametrize("network", NETWORKS)
def test_a_finite_number_twice_the_same_and_the_model_as_it_was(name, network):
    model, images = copy.deepcopy(NETWORKS[network]()), batch()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    next(model.parameters()).requires_grad_(False)
    next(model.children()).eval()
    before, modes = state(model), [m.training for m in model.modules()]
    stream, pixels = torch.get_rng_state(), images[0].clone()
    value = score(name, model, images, draws())
    assert math.isfinite(value)
    if network in ("nas_bench_201", "ordinary"):
        assert score(name, model, images, draws()) == value
    assert all(torch.equal(a, b) for a, b in zip(before.values(), state(model).values(), strict=True))
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * (len(list(model.parameters())) - 1)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), stream), "drew from the global stream"
    assert torch.equal(images[0], pixels)
    assert images[0].grad is None
    assert not images[0].requires_grad


@drawing
def test_another_seed_gives_another_score(name):
    if name == "linear_regions":
        pytest.skip("counts the images of the batch here, whatever the weights")
    model = cell(FULL)
    assert score(name, model, batch(), draws(0)) != score(name, model, batch(), draws(1))


@every_proxy
def test_the_all_none_cell_has_a_finite_score_and_is_no_better_than_a_live_one(name):
    dead, live = (score(name, cell(text), batch(), draws()) for text in (NONE, FULL))
    assert math.isfinite(dead)
    if name not in ("plain", "grasp"):  # signed: the dead cell is 0
        assert PROXIES[name].direction * dead < PROXIES[name].direction * live


@pytest.mark.parametrize(
    "name",
    [
        "synflow",
        "jacob_cov",
        "epe",
        "naswot",
        "zen",
        "zico",
        "expressivity",
        "progressivity",
        "trainability",
        "sed",
        "eproxy",
    ],
)
def test_the_worst_score_is_declared(name):
    assert score(name, cell(NONE), batch(), draws()) == -WORST


@every_proxy
def test_what_is_off_the_path_counts_only_where_declared(name):
    chosen = PROXIES[name]
    options = {"init": None} if name in ("linear_regions", "ntk_condition", *AZ) else {}

    def of(text: str) -> float:
        arguments = [draws()] if chosen.draws else []
        return chosen.score(cell(text), batch(), *arguments, **options)

    same = [of(text) == pytest.approx(of(LIVE), rel=1e-6) for text in (DEAD_END, UNFED)]
    assert all(same) == chosen.ignores_dead


MOVED = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"  # LIVE's convolution, on another edge


@every_proxy
def test_a_convolution_on_another_edge_counts_the_same_but_for_who_counts_modules(name):
    """Why one network is scored for each class of `nb201_classes.wired`: with the same weights it is the same score."""
    assert wired(from_string(MOVED)) == wired(from_string(LIVE))
    moved, live = copy.deepcopy(cell(MOVED)), cell(LIVE)
    for ours, theirs in zip(moved.modules(), live.modules(), strict=False):
        if isinstance(ours, Cell):
            ours.edges[0].load_state_dict(theirs.edges[3].state_dict())
    chosen = PROXIES[name]
    options = {"init": None} if name in ("linear_regions", "ntk_condition", "plain", "zen", *AZ) else {}
    first, second = (chosen.score(m, batch(), *[draws()] * chosen.draws, **options) for m in (moved, live))
    assert (first == pytest.approx(second, rel=1e-5)) == (name != "meco")


AZ = ("expressivity", "progressivity", "trainability")


@every_proxy
def test_channels_last_is_the_same_network(name):
    model, (x, y) = copy.deepcopy(cell(FULL)), batch()
    value = score(name, model, (x, y), draws())
    other = score(name, model.to(memory_format=torch.channels_last), (x, y), draws())
    assert other == pytest.approx(value, rel=1e-3)


@every_proxy
def test_nan_is_reported_not_hidden(name):
    model, (x, y) = copy.deepcopy(cell(FULL)), batch()
    if PROXIES[name].needs == "nothing":
        next(p for n, p in model.named_parameters() if n.endswith("0.weight")).data.fill_(torch.nan)
    else:
        x = torch.full_like(x, torch.nan)
    value = score(name, model, (x, y), draws())
    redrawn = PROXIES[name].draws and name != "meco"
    if name in ("params", "macs", "live_params", "complexity", "sed") or (redrawn and PROXIES[name].needs == "nothing"):
        assert math.isfinite(value)  # reads no weight, or draws its own
    else:
        assert math.isnan(value)


@pytest.mark.parametrize("name", [n for n, p in PROXIES.items() if p.needs == "labels"])
def test_labels_are_asked_for(name):
    with pytest.raises(Refused, match="needs labels"):
        score(name, cell(FULL), (batch()[0], None), draws())


@pytest.mark.parametrize("name", [n for n, p in PROXIES.items() if p.needs != "labels"])
def test_who_needs_no_labels_takes_none(name):
    assert math.isfinite(score(name, cell(FULL), (batch()[0], None), draws()))


@pytest.mark.parametrize(
    "name", ["jacob_cov", "epe", "naswot", "linear_regions", "ntk_condition", "zico", "grad_sign", "zen", "eproxy", *AZ]
)
def test_one_image_is_too_few(name):
    with pytest.raises(Refused, match="it takes"):
        score(name, cell(FULL), batch(1), draws())


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = cell(FULL)

    def forward(self, x):
        return self.net(x).detach().round()


@pytest.mark.parametrize("name", ["grad_norm", "grasp", "fisher", "synflow", "jacob_cov", "epe", "zico", "grad_sign"])
def test_a_network_without_gradients_is_refused(name):
    with pytest.raises(Refused, match="not differentiable"):
        score(name, Rounded(), batch(), draws())


@every_proxy
def test_another_image_shape_is_refused(name):
    flat = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))
    if name in ("params", "l2_norm"):
        assert math.isfinite(score(name, flat, batch(), draws()))
        return
    with pytest.raises(Refused, match="does not take images of shape"):
        score(name, flat, batch(), draws())


def test_unknown_names_get_the_nearest():
    with pytest.raises(Refused, match="did you mean 'synflow'"):
        proxy("synflwo")


def test_the_model_is_untouched_when_a_proxy_fails():
    model = cell(FULL)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(Refused):
        score("synflow", model, (torch.zeros(2, 5, 8, 8), None), draws())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
