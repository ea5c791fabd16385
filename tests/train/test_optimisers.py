"""train.optimisers: the quick SGD is SGD."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from winnow.train.optimisers import descent, sgd


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 16, 5))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.9, "nesterov": True}],
    ids=["plain", "momentum", "decay", "nesterov"],
)
def test_it_is_sgd_also_where_gradients_come_and_go(options, layout):
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(memory_format=layout)
    models = [network().to(memory_format=layout) for _ in range(2)]
    makers = (sgd, torch.optim.SGD)
    optimisers = [make(m.parameters(), lr=0.1, **options) for make, m in zip(makers, models, strict=True)]
    for step in range(6):
        for model, optimiser in zip(models, optimisers, strict=True):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 2, 3])).backward()
            model[step % 3].weight.grad = None  # another path
            optimiser.step()
    for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_weight_without_a_gradient_keeps_every_bit_and_its_momentum():
    model = network()
    optimiser = sgd(model.parameters(), 0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(2):
        optimiser.zero_grad()
        model(torch.ones(2, 3, 8, 8)).sum().backward()
        optimiser.step()
    optimiser.zero_grad()
    still, momentum = model[0].weight.clone(), optimiser.state[model[0].weight]["momentum_buffer"].clone()
    model[5].weight.grad = torch.ones_like(model[5].weight)
    moved = model[5].weight.clone()
    optimiser.step()
    assert torch.equal(model[0].weight, still)
    assert torch.equal(optimiser.state[model[0].weight]["momentum_buffer"], momentum)
    assert momentum.any()
    assert not torch.equal(model[5].weight, moved)


def test_groups_keep_their_own_rates_and_nesterov_needs_momentum():
    model = network()
    groups = [{"params": [model[0].weight], "lr": 0.5}, {"params": [model[0].bias], "weight_decay": 0.1}]
    optimiser = sgd(groups, 0.1, nesterov=True)
    assert [(g["lr"], g["weight_decay"], g["nesterov"]) for g in optimiser.param_groups] == [
        (0.5, 0.0, False),
        (0.1, 0.1, False),
    ]
    assert not optimiser.state


def test_complex_weights_are_trained_by_the_plain_one():
    weight = nn.Parameter(torch.tensor([1 + 2j]))
    optimiser = sgd([{"params": [weight]}], lr=0.5, momentum=0.9)
    weight.abs().square().sum().backward()
    optimiser.step()
    assert torch.allclose(weight.detach(), torch.zeros(1, dtype=torch.complex64))


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("sgd", lambda weights: torch.optim.SGD(weights, 0.1, 0.9, weight_decay=0.1, nesterov=True)),
        ("adam", lambda weights: torch.optim.Adam(weights, 0.1, weight_decay=0.1)),
        ("adamw", lambda weights: torch.optim.AdamW(weights, 0.1, weight_decay=0.1)),
    ],
)
def test_each_kind_is_torchs_own(kind, theirs, groups):
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    models = [network().double() for _ in range(2)]  # what BatchNorm makes zero stays below Adam's epsilon

    def weights(model: nn.Module):
        vectors = [p for p in model.parameters() if p.dim() <= 1]
        matrices = [p for p in model.parameters() if p.dim() > 1]
        return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}] if groups else model.parameters()

    ours = descent(kind, weights(models[0]), 0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    optimisers = (ours, theirs(weights(models[1])))
    for _ in range(4):
        for model, optimiser in zip(models, optimisers, strict=True):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 2, 3])).backward()
            optimiser.step()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


STEPS = """
import sys, torch
from winnow.train.optimisers import descent
for kind in ("sgd", "adam", "adamw"):
    layer = torch.nn.Linear(2, 2)
    optimiser = descent(kind, layer.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    optimiser.zero_grad()
    optimiser.load_state_dict(optimiser.state_dict())
    assert all(weight.requires_grad and weight.grad is None for weight in layer.parameters())
sys.exit("torch._dynamo" in sys.modules)
"""


def test_no_optimiser_waits_for_the_compiler():
    assert subprocess.run([sys.executable, "-c", STEPS]).returncode == 0
