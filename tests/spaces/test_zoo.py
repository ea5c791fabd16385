"""Space auto on networks that nobody of us wrote: a few of benchmarks/zoo.py; needs pytorchcv, without torchvision."""

import pytest

from benchmarks.zoo import row

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "network",
    [
        "resnet_cifar:resnet20_cifar10",
        "densenet_cifar:densenet40_k12_bc_cifar10",
        "resnext_cifar:resnext20_16x4d_cifar10",
        "fractalnet_cifar:fractalnet_cifar10",
        "nin_cifar:nin_cifar10",
        "shufflenetv2:shufflenetv2_wd2",
        "igcv3:igcv3_w1",
    ],
)
def test_children_are_the_network_without_what_was_left_out(network):
    pytest.importorskip("pytorchcv")
    found = row(network, 10)
    assert found["converted"], found["why"]
    assert found["largest_equal"]
    assert found["children_equal"] == "10/10", found["why"]
    assert found["children_unlike_the_whole"] == "10/10"
    assert found["removable"] > 0.4
    assert found["exported"], found["why"]


def test_weights_that_are_computed_on_the_way_are_refused_with_the_module():
    pytest.importorskip("pytorchcv")
    found = row("xdensenet_cifar:xdensenet40_2_k24_bc_cifar10", 1)
    assert not found["converted"]
    assert "convolution is not followed in features.stage1.unit1.conv1.conv" in found["why"]
