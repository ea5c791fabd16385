"""nn.depthwise: every kernel against the library's own."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from winnow.nn.depthwise import average_pool, depthwise, space_to_batch

GEOMETRIES = [  # kernel, stride, padding, dilation: those of the DARTS candidates, then unusual ones
    (3, 1, 1, 1),
    (5, 1, 2, 1),
    (3, 1, 2, 2),
    (5, 1, 4, 2),
    (3, 2, 1, 1),
    (5, 2, 2, 1),
    (3, 2, 2, 2),
    (5, 2, 4, 2),
    (7, 1, 3, 1),
    (7, 2, 3, 1),
    (3, 1, 0, 1),
    (5, 1, 1, 2),
    (4, 1, 1, 1),
]


def images(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("sides", [(12, 10), (9, 11)])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_output_and_gradients_are_those_of_the_library(geometry, sides):
    kernel, stride, padding, dilation = geometry
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 2e-4)):
        x = images(3, 4, *sides, dtype=dtype).requires_grad_()
        weight = images(4, 1, kernel, kernel, dtype=dtype).requires_grad_()
        found, right = depthwise(x, weight, *geometry[1:]), F.conv2d(x, weight, None, stride, padding, dilation, 4)
        towards = images(*right.shape, dtype=dtype).contiguous()  # arrives in the other format
        assert torch.equal(found, right)
        for gradient, expected in zip(
            torch.autograd.grad(found, (x, weight), towards),
            torch.autograd.grad(right, (x, weight), towards),
            strict=True,
        ):
            torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("geometry", [(7, 1, 3, 1), (7, 2, 3, 1), (5, 1, 4, 2)])
def test_a_kernel_may_be_wider_than_the_image(geometry):
    test_output_and_gradients_are_those_of_the_library(geometry, (2, 2))


@pytest.mark.parametrize("geometry", [(3, 1, 2, 2), (5, 1, 2, 1), (3, 2, 1, 1)])
def test_second_derivatives_are_right(geometry):
    x, weight = images(1, 2, 6, 5).requires_grad_(), images(2, 1, geometry[0], geometry[0]).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, w: depthwise(x, w, *geometry[1:]), (x, weight))


def test_a_frozen_weight_gets_no_gradient_and_keeps_no_input():
    x, weight = images(2, 3, 6, 6).requires_grad_(), images(3, 1, 3, 3)
    y = depthwise(x, weight, 1, 1, 1)
    assert y.grad_fn.saved_tensors[0] is None
    y.sum().backward()
    assert weight.grad is None
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("stride", [1, 2])
def test_average_pool_counts_the_pixels_inside(stride):
    for sides in ((8, 8), (7, 6), (1, 1)):
        x = images(2, 3, *sides).requires_grad_()
        found, right = average_pool(x, stride), F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
        torch.testing.assert_close(found, right)
        towards = torch.randn_like(right)
        torch.testing.assert_close(torch.autograd.grad(found, x, towards)[0], torch.autograd.grad(right, x, towards)[0])


def test_space_to_batch_makes_an_image_of_every_second_pixel():
    x = images(2, 3, 5, 6)
    phases = space_to_batch(x, 2)
    assert phases.shape == (8, 3, 3, 3)
    for i, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        expected = F.pad(x, (0, 0, 0, 1))[:, :, row::2, column::2]
        assert torch.equal(phases[2 * i : 2 * i + 2], expected)


class Dilations(TorchDispatchMode):
    """Those of the convolutions whose gradients the library is asked for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution_backward.default:
            self.seen.append(args[6])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("geometry", [(3, 1, 2, 2), (5, 1, 4, 2)])
def test_the_library_never_differentiates_the_kernel_of_a_dilated_one(geometry):
    kernel, *others = geometry
    x, weight = images(2, 4, 12, 12), images(4, 1, kernel, kernel).requires_grad_()
    with Dilations() as dilations:
        depthwise(x, weight, *others).sum().backward()
    assert dilations.seen
    assert all(each == [1, 1] for each in dilations.seen)


def test_told_nothing_it_neither_pads_nor_strides_nor_dilates():
    x, weight = images(2, 3, 6, 6), images(3, 1, 3, 3)
    assert torch.equal(depthwise(x, weight), F.conv2d(x, weight, groups=3))
