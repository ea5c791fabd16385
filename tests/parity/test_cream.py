"""Cream's networks: multiply-accumulates and parameters recounted from the authors' code (convolutions, linear layers).

In that code a stage of one layer is built as a default of its own, whatever the path says (`ALONE`); published FLOPs
add biases, BatchNorm and pooling to these: 13.9, 42.4, 114.5, 287.2, 481.6 and 604.3 M.
"""

import pytest
import torch

from winnow.measure import cost
from winnow.spaces.cream import CANDIDATES, cream

NAMES = list(CANDIDATES)
ALONE = (0, 2, 1, 1, 3)  # by stage
NETWORKS = {
    14: ("3 33 33 3 3", 64, 13.2, 2.67),
    43: ("3 31 31 333 33", 96, 40.7, 4.40),
    114: ("3 33 33 333 33", 160, 109.6, 4.41),
    287: ("3 33 313 3333 333", 224, 276.3, 6.04),
    481: ("3431 3230 33311 3333 3333", 224, 460.4, 7.71),
    604: ("33233 32323 32323 332233 332333", 224, 578.7, 9.70),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_networks_have_their_sizes(name):
    stages, side, macs, params = NETWORKS[name]
    paths = [[int(choice) for choice in stage] for stage in stages.split()]
    answers = {
        f"stage{i + 1}/block{j + 1}": NAMES[ALONE[i] if len(path) == 1 else choice]
        for i, path in enumerate(paths)
        for j, choice in enumerate(path)
    }
    with torch.device("meta"):
        space = cream([len(path) for path in paths])
    child = space.derive(space.decide(lambda d: answers[d.name])).eval()
    assert round(cost.macs(child, (3, side, side)) / 1e6, 1) == macs
    assert round(cost.params(child) / 1e6, 2) == params


def test_the_supernet_reaches_from_284_to_551_million():
    with torch.device("meta"):
        space = cream()
    assert space.count() == 6**20
    ends = [cost.macs(space.derive(space.decide(lambda d, o=o: o)).eval(), (3, 224, 224)) for o in ("k3_e4", "k7_e6")]
    assert [round(macs / 1e6, 1) for macs in ends] == [283.9, 551.1]


@pytest.mark.parametrize("layers", [(1, 1), (1, 1, 1, 1, 0), "44444", (1.0,) * 5])
def test_layers_are_five_whole_numbers(layers):
    with pytest.raises(ValueError, match="layers takes five whole numbers of 1 or more"):
        cream(layers)
