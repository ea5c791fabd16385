"""The network for who has none at hand: its blocks against their definition, its published size."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from winnow.measure.cost import macs, params
from winnow.nn.resnet import Block, resnet20


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def normed(x: torch.Tensor) -> torch.Tensor:
    """As a new BatchNorm in training does."""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt()


@pytest.mark.parametrize(
    ("c_in", "c_out", "stride", "projects"), [(4, 4, 1, False), (4, 6, 1, True), (6, 4, 1, True), (4, 4, 2, True)]
)
def test_a_block_is_two_convolutions_beside_a_shortcut(c_in, c_out, stride, projects):
    torch.manual_seed(0)
    block, x = Block(c_in, c_out, stride).double(), images(2, c_in, 6, 5)
    inner = F.relu(normed(F.conv2d(x, block.conv1.weight, stride=stride, padding=1)))
    beside = x
    if projects:
        beside = normed(F.conv2d(x, block.shortcut[0].weight, stride=stride))
        assert block.shortcut[0].kernel_size == (1, 1)
    else:
        assert type(block.shortcut) is nn.Identity
    expected = F.relu(normed(F.conv2d(inner, block.conv2.weight, padding=1)) + beside)
    torch.testing.assert_close(block(x), expected)
    assert not [name for name, _ in block.named_parameters() if "conv" in name and "bias" in name]
    assert params(block) == 9 * c_in * c_out + 9 * c_out**2 + 4 * c_out + projects * (c_in + 2) * c_out


def test_it_has_the_published_size_and_three_convolutions_of_shortcuts():
    """0.27 million (He et al., table 6); 0 for the shortcuts there, 16 x 32, 32 x 64 and their norms here."""
    assert params(resnet20()) == 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64 == 272_474
    layers = 9 * 3 * 16 * 1024 + 6 * 9 * 16**2 * 1024
    layers += (9 * 16 * 32 + 5 * 9 * 32**2 + 16 * 32) * 256 + (9 * 32 * 64 + 5 * 9 * 64**2 + 32 * 64) * 64 + 640
    assert macs(resnet20(), (3, 32, 32)) == layers


def test_three_stages_of_three_blocks_halve_and_double():
    network = resnet20(classes=7, image_channels=2, width=4)
    stem, stages = network[0], network[3:6]
    assert (stem.in_channels, stem.out_channels, stem.kernel_size, stem.stride, stem.padding, stem.bias) == (
        *(2, 4, (3, 3), (1, 1), (1, 1)),
        None,
    )
    assert [[(b.conv1.in_channels, b.conv1.out_channels, b.conv1.stride[0]) for b in stage] for stage in stages] == [
        [(4, 4, 1), (4, 4, 1), (4, 4, 1)],
        [(4, 8, 2), (8, 8, 1), (8, 8, 1)],
        [(8, 16, 2), (16, 16, 1), (16, 16, 1)],
    ]
    x = images(2, 2, 9, 5).float()
    assert network[:6](x).shape == (2, 16, 3, 2)
    torch.testing.assert_close(network(x), network[-1](network[:6](x).mean((2, 3))))
    assert network(x).shape == (2, 7)


def test_it_is_of_colour_images_of_ten_classes_unless_told():
    assert resnet20()(images(2, 3, 8, 8).float()).shape == (2, 10)
