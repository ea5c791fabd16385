"""What a network takes in memory, against counts by hand."""

import pytest
import torch
from torch import nn

from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.measure.memory import footprint, peak_activations, weight_bytes
from winnow.spaces import build
from winnow.train.seeds import rng

FLOAT = 4  # bytes
PLANE = 8 * 8  # positions


def conv(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.a, self.b = conv(4, inner), conv(inner, 4)

    def forward(self, x):
        return x + self.b(self.a(x).relu())


def test_of_a_chain_two_neighbours_are_alive_at_once():
    # 3, 8, 8, 8, 4, 4, 10 channels or features: the largest pair is the normalisation's, or the activation's
    chain = nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True), conv(8, 4), nn.Flatten(), nn.Linear(4 * PLANE, 10)
    )
    assert peak_activations(chain, (3, 8, 8)) == (8 + 8) * PLANE * FLOAT
    assert peak_activations(nn.Sequential(conv(3, 8)), (3, 8, 8)) == (3 + 8) * PLANE * FLOAT


@pytest.mark.parametrize(("inner", "alive"), [(4, 4 + 4 + 4), (16, 4 + 16 + 16), (1, 4 + 4 + 4)])
def test_of_a_residual_block_the_input_stays_alive(inner, alive):
    # input + conv + relu inside; of a narrow one, at the sum: input + branch + result
    assert peak_activations(Residual(inner), (4, 8, 8)) == alive * PLANE * FLOAT


def test_views_take_no_room_and_an_operation_in_place_does():
    class Views(nn.Module):
        def forward(self, x):
            return x.flatten(1).unflatten(1, (3, 64)).transpose(1, 2)

    class InPlace(nn.Module):
        def forward(self, x):
            return torch.relu_(x + 0.0)

    assert peak_activations(Views(), (3, 8, 8)) == 3 * PLANE * FLOAT
    assert peak_activations(InPlace(), (3, 8, 8)) == peak_activations(nn.ReLU(), (3, 8, 8)) == 6 * PLANE * FLOAT


def test_pooling_remembers_where_the_largest_was():
    # whole numbers of eight bytes beside its output, in exported graphs too
    pool = nn.MaxPool2d(2)
    assert peak_activations(pool, (1, 8, 8)) == PLANE * FLOAT + 16 * (FLOAT + 8)


def test_weights_count_once_and_counters_of_training_not():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, layer, nn.BatchNorm1d(3))
    assert weight_bytes(model) == (9 + 3 + 3 + 3 + 3 + 3) * FLOAT


def test_the_model_stays_as_it_was_and_what_asks_for_values_is_refused():
    model = nn.Sequential(conv(1, 2)).train()
    before = footprint(model, (1, 8, 8))
    assert model.training
    assert next(model.parameters()).device.type == "cpu"
    assert before == {"ram_kib": 3 * PLANE * FLOAT / 1024, "flash_kib": 20 * FLOAT / 1024}

    class Asks(nn.Module):
        def forward(self, x):
            return x * float(x.sum())

    with pytest.raises(Refused, match=r"(?s)cannot be told.*leave ram_kib and flash_kib out"):
        footprint(Asks(), (1, 8, 8))


def test_children_of_a_space_differ_and_the_order_of_asking_does_not_matter():
    space = build("nas_bench_201", {"channels": 4, "cells": 1}, classes=10, image_channels=1, image_size=8)
    archs = [space.decide(uniform(rng(n, "memory"))) for n in range(6)]
    forwards = [footprint(space.derive(arch), (1, 8, 8)) for arch in archs]
    assert [footprint(space.derive(arch), (1, 8, 8)) for arch in reversed(archs)] == forwards[::-1]
    assert len({row["ram_kib"] for row in forwards}) > 1
