"""ReLUs and poolings computed once for a tensor that several operations read, and average pooling by quick kernels."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from winnow.proxies.live import RELUS

IN_PLACE = {F.relu_, torch.relu_, Tensor.relu_}
ADDS = {torch.add, Tensor.add, Tensor.__add__}


class Once(TorchFunctionMode):
    """Inside, a ReLU or a pooling of one tensor is computed once for as long as that tensor lives, and zeros are not
    added. `relu(x, output)` is told of every ReLU; each has an output of its own, so that autograd tells calls apart.
    Right as long as nobody writes into a tensor, which working copies do not."""

    KINDS = (RELUS - IN_PLACE) | {F.avg_pool2d, F.max_pool2d}

    def __init__(self, relu: Callable[[Tensor, Tensor], None] = lambda x, output: None):
        super().__init__()
        self.relu, self.made, self.zeros = relu, WeakTensorKeyDictionary(), WeakTensorKeyDictionary()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in RELUS:
            x = args[0] if args else kwargs["input"]
            shared = bool(args) and function not in IN_PLACE
            output = self._once(function, args, kwargs).view_as(x) if shared else function(*args, **kwargs)
            self.relu(x, output)
            return output
        if function in self.KINDS and args:
            return self._once(function, args, kwargs)
        if function in ADDS and len(args) == 2 and not kwargs and all(isinstance(term, Tensor) for term in args):
            a, b = args
            if a.shape == b.shape and a.dtype == b.dtype and (a in self.zeros or b in self.zeros):
                return b if a in self.zeros else a
        output = function(*args, **kwargs)
        if function is torch.zeros_like:
            self.zeros[output] = True
        return output

    def _once(self, function: Any, args: Any, kwargs: Any) -> Tensor:
        x = args[0]
        key = (function, args[1:], tuple(sorted(kwargs.items())), x._version)
        made = self.made.setdefault(x, {})
        if key not in made:
            quick = not kwargs and function is F.avg_pool2d and args[1:] == (3, 1, 1, False, False, None)
            made[key] = average(x) if quick and x.is_cpu and x.dim() == 4 else function(*args, **kwargs)
        return made[key]


def average(x: Tensor) -> Tensor:
    """F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), three times sooner on a CPU in channels-last layout."""
    return _Average.apply(x)  # type: ignore[no-untyped-call]


class _Average(torch.autograd.Function):
    """A sum over 3 x 3 pixels as a depthwise convolution; its gradient is the same sum, of the gradient over counts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _box(x).mul_(_shares(tuple(x.shape[2:]), x.dtype))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _box(g * _shares(tuple(g.shape[2:]), g.dtype))


def _box(x: Tensor) -> Tensor:
    ones = torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), ones, None, 1, 1, 1, x.shape[1])


@functools.cache
def _shares(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return 1 / F.conv2d(torch.ones(1, 1, *shape, dtype=dtype), torch.ones(1, 1, 3, 3, dtype=dtype), padding=1)
