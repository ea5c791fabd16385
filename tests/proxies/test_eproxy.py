"""What the sheet of Eproxy asks to be verified; the correlations are in docs/benchmarks.md."""

import copy
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from winnow.proxies import targets
from winnow.proxies.common import working_copy
from winnow.proxies.eproxy import INITS, PUBLISHED, Branch, Regression, evaluation_loss, fit, losses, target, weighed

sys.path.insert(0, str(Path(__file__).parent))
from cases import FULL, NONE, batch, cell, draws

SMALL = replace(PUBLISHED, branches=(Branch(16, 16),) * 3)


def test_the_score_by_hand():
    assert evaluation_loss([0.4, 0.2, 0.1]) == pytest.approx(0.525)
    setting = replace(PUBLISHED, mac_factor=0.2, most_macs=100.0)
    assert weighed(0.525, 100, setting) == pytest.approx(0.42)
    assert weighed(0.525, 0, setting) == 0.525


def test_the_barrier_stays_and_the_rest_learns():
    x, _ = batch()
    regression = Regression(working_copy(cell(FULL)), x, SMALL.branches, draws())
    before = copy.deepcopy(dict(regression.named_parameters()))
    maps = targets.draw(["wave_h"], x, draws(), 16)
    first, *_, last = fit(regression, x, [target(b, maps, x) for b in SMALL.branches], 0.1)
    assert last < first
    for name, parameter in regression.named_parameters():
        moved = not torch.equal(before[name], parameter)
        if name.startswith("barriers"):
            assert not moved, name
        elif name.startswith("heads"):
            assert moved, name
    assert any(
        not torch.equal(before[n], p) for n, p in regression.named_parameters() if n.startswith("model") and p.dim() > 1
    )


def test_without_a_step_every_loss_is_the_same():
    found = losses(cell(FULL), batch(), draws(), replace(SMALL, lr=0.0))
    assert len(found) == 10
    assert found == pytest.approx([found[0]] * 10, rel=1e-6)


def test_taps_are_the_ends_of_the_three_stages_deepest_first():
    x, _ = batch(2, 16)
    regression = Regression(working_copy(cell(FULL)), x, SMALL.branches, draws())
    assert [tuple(tap.shape[1:]) for tap in regression.taps(x)] == [(16, 4, 4), (8, 8, 8), (4, 16, 16)]
    assert [tuple(o.shape) for o in regression(x)] == [(2, 16, 8, 8)] * 3


def test_maps_have_the_promised_sizes():
    x, _ = batch(4, 32)
    maps = targets.draw(targets.FEATURES, x, draws(), 64)
    assert all(found.shape == (4, 64, 8, 8) for found in maps.values())
    assert all(float(found.abs().max()) <= 1 for found in maps.values())
    assert float(maps["dot"].square().mean()) == 1
    for name in targets.BANDS:
        assert float(maps[name].square().mean()) == pytest.approx(0.5, abs=0.05)
    assert float(maps["net"].abs().max()) == 1
    asked = Branch(target_channels=8, features=("dot", "wave_m"), level=2.0)
    assert torch.equal(target(asked, maps, x), 2 * (maps["dot"] + maps["wave_m"])[:, :8])
    nothing = target(Branch(target_channels=8, features=()), maps, x)
    assert not nothing.any()


def test_a_dead_network_would_win_by_answering_zeros_and_is_last():
    """Zeros miss waves of mean square one half by that: 0.5 + 0.25 + 0.125, less than any live network reaches."""
    x, _ = batch(8, 16)
    maps = targets.draw(["wave_h"], x, draws(), 16)
    wanted = [target(b, maps, x) for b in SMALL.branches]
    regression = Regression(working_copy(cell(NONE)), x, SMALL.branches, draws())
    assert regression.dead
    by_loss = list(fit(regression, x, wanted, 0.1))[-1]
    assert by_loss == pytest.approx(0.875, abs=0.05)
    live = Regression(working_copy(cell(FULL)), x, SMALL.branches, draws())
    assert not live.dead
    assert by_loss < list(fit(live, x, wanted, 0.1))[-1]
    assert losses(cell(NONE), (x, None), draws(), SMALL)[-1] == math.inf


def test_every_field_that_is_searched_changes_the_score():
    x, model = batch(), cell(FULL)
    maps = targets.draw(targets.FEATURES, x[0], draws(), 32)

    def of(**changes) -> float:
        branch = {k: changes.pop(k) for k in list(changes) if k in Branch.__dataclass_fields__}
        setting = replace(SMALL, branches=(replace(Branch(16, 16), **branch),) * 3, **changes)
        return losses(model, x, draws(), setting, maps)[-1]

    changes = (
        *({"head_channels": 32}, {"target_channels": 32}, {"head_kernel": 3}, {"barrier_kernel": 7}, {"level": 0.5}),
        *({"features": ("net", "dot")}, {"lr": 0.5}),
        *({"init": name} for name in ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal")),
        *({"barrier_init": name} for name in ("xavier_uniform", "kaiming_normal")),
    )
    found = [of(**change) for change in ({}, *changes)]
    assert len(set(found)) == len(found)


def test_the_maps_hang_on_the_generator_alone():
    """So that scores of two networks compare: equal seeds ask both for equal maps."""
    x, _ = batch()
    first, second = (targets.draw(["wave_h"], x, draws(), 8)["wave_h"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_learning_rate_that_diverges_gives_no_score():
    worst = losses(nn.Sequential(*copy.deepcopy(list(cell(FULL).children()))), batch(), draws(), replace(SMALL, lr=1e9))
    assert not worst[-1] < 1e6


@pytest.mark.parametrize(
    ("init", "deviation", "bias"),
    [
        ("kaiming_normal", math.sqrt(2 / 512), 0.0),  # of 16 to 512 channels by 1 x 1: fan out 512
        ("xavier_normal", math.sqrt(2 / (16 + 512)), 0.01),
        (None, 1 / math.sqrt(3 * 16), None),  # torch's own: uniform within 1 / 4
    ],
)
def test_heads_are_initialised_as_the_network_is(init, deviation, bias):
    """Standard deviations by hand. The authors' code initialises backbone and heads alike, Xavier with biases 0.01."""
    x, _ = batch(2, 16)
    regression = Regression(working_copy(cell(FULL)), x, (Branch(512, 16),), draws(), init)
    head = regression.heads[0][0]
    assert float(head.weight.detach().std()) == pytest.approx(deviation, rel=0.03)
    if bias is None:
        assert 0 < float(head.bias.detach().abs().max()) <= 1 / 4
    else:
        assert torch.equal(head.bias, torch.full_like(head.bias, bias))


def test_an_initialisation_reaches_the_network_and_its_biases():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    INITS["xavier_uniform"](model, draws())
    assert torch.equal(model[0].bias, torch.full((4,), 0.01))
    assert torch.equal(model[3].bias, torch.full((2,), 0.01))
    bound = math.sqrt(6 / (3 * 9 + 4 * 9))  # Glorot & Bengio 2010, equation 16
    assert 0.8 * bound < float(model[0].weight.detach().abs().max()) <= bound
