"""NSE: the three released networks, decoded, built and counted at 224 x 224 and 1000 classes; their operations."""

import pytest
import torch

from winnow.core.errors import Refused
from winnow.measure.cost import macs, params
from winnow.spaces.multibranch import SETS, from_lists, multibranch

NSE_27 = [[0], [6], [3], [0], [16], [3], [9], [11, 17], [9, 2], [12], [1, 6], [9, 12], [9], [17, 14], [21], [3], [13]]
NSE_72 = [[0], [34], [3], [52], [35], [38], [17, 11, 49], [41], [35], [12], [1, 10, 6], [9], [0, 9], [35, 52, 61]]
NSE_GPU = [[15], [11], [1, 17], [16, 1], [11], [11], [2, 7], [3], [1, 6], [11], [11, 6], [8, 2], [0, 1, 8, 11]]
RELEASED = {  # the authors' lists, how many cells of a stage are not empty, the skeleton and its operations
    "NSENet-27": ([*NSE_27, [19, 3, 14]], (1, 2, 2, 2, 2, 3), "macs", "macs"),
    "NSENet": ([*NSE_72, [10, 32], [3, 57], [13], [3, 19, 44]], (1, 1, 2, 3, 2, 3), "macs", "grouped"),
    "NSENet-GPU": ([*NSE_GPU, [2, 6, 8, 12, 14]], (0, 1, 3, 4, 2), "latency", "latency"),
}
COUNTED = [  # width, millions of MACs and parameters; the paper says 333 M of NSENet
    ("NSENet-27", 1.04, 326.3, 4.57),
    ("NSENet-27", 1.0, 315.8, None),
    ("NSENet", 1.045, 331.0, 4.56),
    ("NSENet", 1.0, 313.8, None),
    ("NSENet-GPU", 1.0, 1471.1, 15.74),
]


@pytest.mark.parametrize(("name", "width", "millions", "weights"), COUNTED)
def test_released_networks_cost_what_was_recounted(name, width, millions, weights):
    numbers, counts, skeleton, operations = RELEASED[name]
    used = {number for cell in numbers for number in cell}
    names = [op.name for i, op in enumerate(SETS[operations]) if i in used]
    with torch.device("meta"):
        space = multibranch(skeleton, names, width=width)
    child = space.derive(from_lists(numbers, counts, skeleton, operations)).eval()
    assert macs(child, (3, 224, 224)) / 1e6 == pytest.approx(millions, abs=0.05)
    if weights is not None:
        assert params(child) / 1e6 == pytest.approx(weights, abs=0.005)


def test_there_are_as_many_operations_and_cells_as_published():
    assert [len(SETS[name]) for name in ("macs", "grouped", "latency")] == [27, 72, 19]
    assert all(len({op.name for op in each}) == len(each) for each in SETS.values())
    with torch.device("meta"):
        cells = [len(multibranch(each, ["lb3_t1"]).decisions) for each in ("macs", "latency")]
    assert cells == [22, 21]


def test_a_cell_that_changes_the_shape_needs_an_operation_and_no_other_does():
    with torch.device("meta"):
        space = multibranch(operations=["lb3_t1", "rec5_t1"])
    needy = [d.name for d in space.decisions.values() if d.least == 1]
    assert needy == [f"stage{stage}/cell1" for stage in range(2, 8)]
    least = space.decide(lambda d: d.values[0])
    assert sum(len(value) for value in least.values()) == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"skeleton": "resnet"}, "skeleton takes macs or latency"),
        ({"operations": "all"}, "operations takes macs, grouped, latency, or a list of names"),
        ({"operations": ["lb4_t1"]}, "there is no operation 'lb4_t1': known are lb3_t1"),
        ({"operations": ["lb3_t1", "lb3_t1"]}, "operations takes different names"),
        ({"cells": [1, 1]}, "cells takes 7 whole numbers from 0"),
        ({"operations": "grouped", "branches": 60}, "their subsets have no number"),
        ({"branches": 0}, "branches takes a whole number of 1 or more"),
        ({"image_size": 7}, "image_size takes 8 or more"),
        ({"width": 0}, "width takes a positive number"),
    ],
)
def test_what_cannot_be_built_is_refused(options, said):
    with torch.device("meta"), pytest.raises(ValueError, match=said):
        multibranch(**options)


def test_lists_that_are_no_network_are_refused():
    with pytest.raises(Refused, match="17 cells of operations, where 18 are not empty"):
        from_lists(NSE_27, RELEASED["NSENet-27"][1], "macs", "macs")
