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


def test_what_is_read_late_stays_alive_until_then():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow, self.last = conv(2, 16), conv(16, 2), conv(2, 2)

        def forward(self, x):
            early = self.last(x)
            late = self.narrow(self.wide(early))
            return late + early

    # 2 at first; early 2; wide 16; narrow 2; the sum 2: the most while narrow reads wide, or wide reads early
    assert peak_activations(Skips(), (2, 8, 8)) == (2 + 16 + 2) * PLANE * FLOAT


@pytest.mark.parametrize("kind", [list, tuple, lambda outputs: dict(zip("ab", outputs, strict=True))])
def test_outputs_stay_alive_to_the_end(kind):
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = conv(1, 8), conv(1, 8)

        def forward(self, x):
            return kind([self.first(x), self.second(x).sum(1)])

    # the first output and the second head's 8 channels, with the input at last; then the sum in its place
    assert peak_activations(Heads(), (1, 8, 8)) == (8 + 8 + 1) * PLANE * FLOAT


def test_a_network_that_returns_its_input_takes_that_alone():
    assert peak_activations(nn.Identity(), (3, 8, 8)) == 3 * PLANE * FLOAT


def test_weights_and_their_views_lie_in_flash_and_what_is_made_of_them_in_memory():
    class Turned(nn.Module):
        def __init__(self, doubled: bool):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(10, 4))
            self.register_buffer("shift", torch.ones(10))
            self.doubled = doubled

        def forward(self, x):
            weight = self.weight.t() * 2 if self.doubled else self.weight.t()
            return x @ weight + self.shift

    # 4 numbers in, 10 out, 10 moved; the doubled weight is 40 numbers beside the input and what it makes
    assert peak_activations(Turned(False), (4,)) == (10 + 10) * FLOAT
    assert peak_activations(Turned(True), (4,)) == (4 + 40 + 10) * FLOAT


def test_normalisation_of_a_batch_makes_one_map_and_no_statistics():
    norm = nn.BatchNorm2d(64)
    assert peak_activations(norm, (64, 1, 1)) == 2 * 64 * FLOAT


def test_inputs_by_name_are_all_there_at_first():
    class Adds(nn.Module):
        def forward(self, x):
            return x["a"].relu().sum(1) + x["b"]

    # a 6 and b 1 with the activation's 6; the sum over rows comes when a has been read
    assert peak_activations(Adds(), {"a": (6, 1), "b": (1,)}) == (6 + 1 + 6) * FLOAT


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_bytes_are_those_of_the_type(dtype):
    layer = nn.Linear(3, 5).to(dtype)
    assert weight_bytes(layer) == 20 * dtype.itemsize


def test_of_buffers_whole_numbers_count_where_they_have_a_dimension_and_other_numbers_always():
    module = nn.Module()
    module.register_buffer("steps", torch.tensor(3))
    assert weight_bytes(module) == 0
    module.register_buffer("places", torch.tensor([3, 4]))
    assert weight_bytes(module) == 2 * 8
    module.register_buffer("scale", torch.tensor(0.5))
    assert weight_bytes(module) == 2 * 8 + 4


def test_a_footprint_is_in_kib_of_1024_bytes():
    assert footprint(nn.Linear(256, 1, bias=False), (256,)) == {"ram_kib": 1 + 1 / 256, "flash_kib": 1.0}
