"""Weighted sums of the candidates of `winnow.nn.ops`: what the plain sum computes, in less time and memory.

What makes the difference: everything is channels last; what depends on the input alone (ReLU, pools and their norms) is
computed once for all edges that leave it; the weight of a convolution is the scale of its last BatchNorm; sums grow in
place; depthwise convolutions bring their own gradients; on a CPU a 1x1 convolution of the input and its norm are one
product (`State.product`). Everything can be differentiated as often as wanted.

Under autocast on a CPU, dense convolutions alone leave float32: sums, norms and pools wait for memory and not for
arithmetic, and depthwise convolutions have no quick kernel in bfloat16 there. Other devices do as autocast does.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.holes import NUMBER
from winnow.nn.depthwise import average_pool, depthwise
from winnow.nn.ops import FactorizedReduce, Zero

WORTH = 128  # multiplications a number from which bfloat16 gains more than its casts cost: at 144 it does, at 64 not

Edge = tuple[nn.ModuleDict, Mapping[str, Tensor]]  # candidates by option; weights () of those that count, `NUMBER`


def add_edges(totals: Sequence[Tensor | None], x: Tensor, edges: Sequence[Edge]) -> list[Tensor | None]:
    """total + the sum of weight * candidate(x), for each of `totals` and its edge; totals are changed in place.

    x is (batch, channels, h, w), channels last. A total of None is a sum without terms.
    """
    kind = x.device.type
    if not x.is_cpu or not torch.is_autocast_enabled(kind):
        return _added(totals, State(x), edges)
    low = torch.get_autocast_dtype(kind)
    with torch.autocast(kind, enabled=False):
        return _added([None if total is None else total.float() for total in totals], State(x.float(), low), edges)


def _added(totals: Sequence[Tensor | None], state: "State", edges: Sequence[Edge]) -> list[Tensor | None]:
    sums, numbers = list(totals), []
    products: list[tuple[int, Tensor]] = []
    shared: dict[int, tuple[Tensor, list[int], list[Tensor]]] = {}
    for i, (candidates, weights) in enumerate(edges):
        for option, weight in weights.items():
            if option == NUMBER:
                numbers.append((i, weight))
                continue
            candidate = candidates[option]
            if isinstance(candidate, Zero) and NUMBER not in weights:
                continue
            same_for_all = state.shared(candidate)
            if same_for_all is None and (kernel := state.product(candidate, weight)) is not None:
                products.append((i, kernel))
            elif same_for_all is None:
                y = state.weighted(candidate, weight)
                sums[i] = y if (before := sums[i]) is None else before.add_(y)
            else:
                _, indices, factors = shared.setdefault(id(same_for_all), (same_for_all, [], []))
                indices.append(i)
                factors.append(weight)
    for y, indices, factors in shared.values():
        for i, total in zip(indices, add_scaled(_starts(sums, indices, y), y, factors), strict=True):
            sums[i] = total
    if products:  # a stride of 1 and as many channels: totals are like x
        at, kernels = zip(*products, strict=True)
        for i, total in zip(at, add_products(_starts(sums, at, state.x), state.centred[0], kernels), strict=True):
            sums[i] = total
    for i, number in numbers:
        before = sums[i]
        assert before is not None  # a number counts beside candidates
        before.add_(number)
    return sums


def _starts(sums: Sequence[Tensor | None], indices: Sequence[int], like: Tensor) -> list[Tensor]:
    return [torch.zeros_like(like) if (total := sums[i]) is None else total for i in indices]


def mixed_nodes(
    inputs: Sequence[Tensor],
    nodes: Sequence[int],
    edge: Callable[[int, int], Edge | None],
    zeros: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """The nodes of a cell of two `inputs`, source by source, so that what an input alone decides is computed once.

    Node i adds up what comes from the `nodes[i]` states before it. `edge(i, source)` is its edge from there, None where
    there is none; `zeros(x)` is a node without any, given an input.
    """
    states = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
    sums: list[Tensor | None] = [None] * len(nodes)
    for source in range(nodes[-1]):
        leaving = {i: found for i, node in enumerate(nodes) if source < node and (found := edge(i, source)) is not None}
        added = add_edges([sums[i] for i in leaving], states[source], list(leaving.values()))
        for i, total in zip(leaving, added, strict=True):
            sums[i] = total
        if source + 1 in nodes:  # complete: nothing more leads to it
            total = sums[nodes.index(source + 1)]
            states.append(zeros(states[0]) if total is None else total)
    return states[2:]


class State:
    """A feature map with all that several candidates need of it, each computed at most once.

    `low` is the type that dense convolutions compute in, where it is another than that of the map.
    """

    def __init__(self, x: Tensor, low: torch.dtype | None = None):
        self.x, self.low = x, low
        self.maps: dict[tuple, tuple[Tensor, ...]] = {}

    @cached_property
    def relu(self) -> Tensor:
        return F.relu(self.x)

    @cached_property
    def relu_low(self) -> Tensor:
        assert self.low is not None
        return self.relu.to(self.low)

    @cached_property
    def centred(self) -> tuple[Tensor, Tensor, Tensor]:
        """The ReLU less its means, these means (channels), and the covariances of its channels (channels, channels)."""
        return _Centred.apply(self.relu)  # type: ignore[no-untyped-call]

    def product(self, candidate: nn.Module, weight: Tensor) -> Tensor | None:
        """A kernel (channels in, channels out): `centred` times it is weight * candidate(x). None where there is none.

        What a 1x1 convolution makes of a batch has as its variances those of the batch, seen through its kernel. So
        the norm becomes a scale of the kernel, and neither the convolution nor the norm a map in memory.
        """
        if not self.x.is_cpu or self.x.dtype.itemsize < 4 or (found := _pointwise(candidate)) is None:
            return None
        convolution, norm = found
        count = self.x.numel() // self.x.shape[1]
        if norm.affine or not uses_batch(norm) or count < 2:  # of one pixel the norm itself says what is wrong
            return None
        _, means, covariances = self.centred
        kernel = convolution.weight.flatten(1)  # (channels out, channels in)
        variances = ((kernel @ covariances) * kernel).sum(1).clamp_min(0)  # rounding
        share = _count(norm)
        if share and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.lerp_(kernel.detach() @ means, share)
            norm.running_var.lerp_(variances.detach() * (count / (count - 1)), share)
        return (kernel * (weight * (variances + norm.eps).rsqrt())[:, None]).t()

    @cached_property
    def halves(self) -> tuple[Tensor, Tensor]:
        """Every second pixel of the ReLU, and of the ReLU shifted by one pixel; odd sides are filled up with zeros."""
        pixels = self.relu.permute(0, 2, 3, 1)  # slices keep the format of their gradient only in this order
        height, width = pixels.shape[1:3]
        shifted = F.pad(pixels[:, 1:, 1:], (0, 0, 0, width % 2, 0, height % 2))
        first, second = (half[:, ::2, ::2].contiguous().permute(0, 3, 1, 2) for half in (pixels, shifted))
        return first, second

    def shared(self, candidate: nn.Module) -> Tensor | None:
        """What `candidate` makes of x, where other edges make the very same of it; None where they do not."""
        if isinstance(candidate, nn.Identity):
            return self.x
        pool, *norms = _layers(candidate)
        if not isinstance(pool, nn.MaxPool2d | nn.AvgPool2d) or [type(n) for n in norms] not in ([], [nn.BatchNorm2d]):
            return None
        key = (type(pool), pool.kernel_size, pool.stride)
        if key not in self.maps:
            average = isinstance(pool, nn.AvgPool2d) and pool.kernel_size == 3
            self.maps[key] = (average_pool(self.x, cast(int, pool.stride)) if average else pool(self.x),)
        if not norms:
            return self.maps[key][0]
        norm = cast(nn.BatchNorm2d, norms[0])
        if not uses_batch(norm) or norm.affine:
            return norm(self.maps[key][0])
        share = _count(norm)
        if (*key, "norm") not in self.maps:
            pooled = self.maps[key][0]
            mean, variance = torch.zeros(2, pooled.shape[1], dtype=_statistics_type(pooled), device=pooled.device)
            y = F.batch_norm(pooled, mean, variance, None, None, True, 1.0, norm.eps)  # 1.0: of this batch alone
            self.maps[*key, "norm"] = y, mean, variance
        y, mean, variance = self.maps[*key, "norm"]
        if share and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(variance, share)
        return y

    def weighted(self, candidate: nn.Module, weight: Tensor) -> Tensor:
        """weight * candidate(x)."""
        layers = _layers(candidate)
        if isinstance(candidate, FactorizedReduce):
            convolutions = zip(self.halves, (candidate.conv1, candidate.conv2), strict=True)
            return scaled_norm(torch.cat([F.conv2d(x, c.weight) for x, c in convolutions], 1), candidate.bn, weight)
        if not (isinstance(layers[0], nn.ReLU) and isinstance(layers[-1], nn.BatchNorm2d)):
            return weight * candidate(self.x)
        x = self.relu
        for layer in layers[1:-1]:
            if isinstance(layer, nn.ReLU):
                x = F.relu_(x)  # of a norm, which does not need its own output
            elif _is_depthwise(layer):
                x = self._depthwise(x, layer)
            elif self.low is not None and _is_dense(layer):
                x = self._dense(x, layer)
            else:
                x = layer(x)
        return scaled_norm(x, layers[-1], weight)

    def _dense(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        """The convolution in `low`; its sum, which the norm reads, in float32."""
        assert self.low is not None
        x = self.relu_low if x is self.relu else x.to(self.low)
        return F.conv2d(x, layer.weight.to(self.low), None, layer.stride, layer.padding, layer.dilation).float()

    def _depthwise(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        stride, padding, dilation = layer.stride[0], int(layer.padding[0]), layer.dilation[0]
        if x is self.relu and stride == dilation == 2:  # all its taps fall on every second pixel
            return depthwise(self.halves[0], layer.weight, 1, padding // 2, 1)
        return depthwise(x, layer.weight, stride, padding, dilation)


def scaled_norm(x: Tensor, norm: nn.BatchNorm2d, weight: Tensor) -> Tensor:
    """weight * norm(x): the weight is the scale of the norm, so the product costs nothing."""
    scale, offset = weight.to(_statistics_type(x)).expand(norm.num_features).contiguous(), None
    if norm.affine:
        scale, offset = scale * norm.weight, weight * norm.bias
    share = _count(norm)
    known = not norm.training or norm.track_running_stats
    mean, variance = (norm.running_mean, norm.running_var) if known else (None, None)
    return F.batch_norm(x, mean, variance, scale, offset, uses_batch(norm), share, norm.eps)


def uses_batch(norm: nn.BatchNorm2d) -> bool:
    """Whether the forward of `norm` normalises with the statistics of its batch."""
    return norm.training or norm.running_mean is None


def _statistics_type(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)  # of bfloat16 features too


def _count(norm: nn.BatchNorm2d) -> float:
    """Count one more batch, where `norm` keeps count; the share of its running statistics that the batch becomes."""
    if not (norm.training and norm.track_running_stats and norm.running_mean is not None):
        return 0.0
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum


def add_scaled(totals: Sequence[Tensor], x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """total + weight * x for each of `totals`, in place; the gradient of x is summed in place too."""
    return _AddScaled.apply(x, len(weights), *weights, *totals)  # type: ignore[no-untyped-call]


class _AddScaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, *rest: Tensor) -> tuple[Tensor, ...]:
        weights, totals = rest[:count], rest[count:]
        ctx.save_for_backward(x if any(ctx.needs_input_grad[2 : 2 + count]) else None, *weights)
        ctx.mark_dirty(*totals)
        for total, weight in zip(totals, weights, strict=True):
            total.addcmul_(x, weight)
        return totals

    @staticmethod
    def backward(ctx: Any, *of_totals: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        of_totals = tuple(g.contiguous(memory_format=torch.channels_last) for g in of_totals)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = of_totals[0] * weights[0]
            for g, weight in zip(of_totals[1:], weights[1:], strict=True):
                of_x.addcmul_(g, weight)
        asked = ctx.needs_input_grad[2 : 2 + len(weights)]
        of_weights = [_inner_product(g, x) if ask else None for g, ask in zip(of_totals, asked, strict=True)]
        return of_x, None, *of_weights, *of_totals


def add_products(totals: Sequence[Tensor], x: Tensor, kernels: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """total + x @ kernel, over channels, for each of `totals`, in place; a kernel is (channels in, channels out)."""
    return _AddProducts.apply(x, len(kernels), *kernels, *totals)  # type: ignore[no-untyped-call]


class _AddProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, *rest: Tensor) -> tuple[Tensor, ...]:
        kernels, totals = rest[:count], rest[count:]
        ctx.save_for_backward(x, *kernels)
        ctx.mark_dirty(*totals)
        for total, kernel in zip(totals, kernels, strict=True):
            _pixels(total).addmm_(_pixels(x), kernel)
        return totals

    @staticmethod
    def backward(ctx: Any, *of_totals: Tensor) -> tuple[Tensor | None, ...]:
        x, *kernels = ctx.saved_tensors
        of_totals = tuple(g.contiguous(memory_format=torch.channels_last) for g in of_totals)
        rows = [_pixels(g) for g in of_totals]
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = rows[0] @ kernels[0].t()
            for g, kernel in zip(rows[1:], kernels[1:], strict=True):
                of_x.addmm_(g, kernel.t())
            of_x = _like(of_x, x)
        asked = ctx.needs_input_grad[2 : 2 + len(kernels)]
        of_kernels = [_products(x, g) if ask else None for g, ask in zip(of_totals, asked, strict=True)]
        return of_x, None, *of_kernels, *of_totals


class _Centred(torch.autograd.Function):
    """`State.centred`. Written out, as autograd would take another six maps to get back through a mean."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means = _means(x)
        centred = x - means[:, None, None]
        ctx.save_for_backward(centred)
        ctx.mark_non_differentiable(means)
        return centred, means, _products(centred, centred) / len(_pixels(x))

    @staticmethod
    def backward(ctx: Any, of_centred: Tensor, _: Tensor, of_covariances: Tensor) -> Tensor:
        (centred,) = ctx.saved_tensors
        pixels = _pixels(centred)
        kernel = (of_covariances + of_covariances.t()) / len(pixels)
        of_centred = of_centred.contiguous(memory_format=torch.channels_last)
        of_x = _like(torch.addmm(_pixels(of_centred), pixels, kernel), centred)
        return of_x.sub_(_means(of_x)[:, None, None])


def _pixels(x: Tensor) -> Tensor:
    """A view of `x`, channels last, as (batch * height * width, channels)."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _like(pixels: Tensor, x: Tensor) -> Tensor:
    """The inverse of `_pixels`: in the shape of `x`."""
    batch, channels, height, width = x.shape
    return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _means(x: Tensor) -> Tensor:
    """Of each channel. By a product, which reads a map three times as fast as a sum that keeps its last dimension."""
    pixels = _pixels(x)
    return (pixels.new_ones(1, len(pixels)) @ pixels)[0] / len(pixels)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Sums over all pixels of a * b, for each channel of `a` and each of `b`: image by image, as one product waits."""
    a, b = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (a, b))
    return (a.transpose(1, 2) @ b).sum(0)


def _inner_product(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a * b, both channels last."""
    if a.dtype != _statistics_type(a):
        return (a * b).sum(dtype=_statistics_type(a))
    return torch.dot(a.permute(0, 2, 3, 1).reshape(-1), b.permute(0, 2, 3, 1).reshape(-1))  # no product in memory


def _layers(module: nn.Module) -> list[nn.Module]:
    if not isinstance(module, nn.Sequential):
        return [module]
    return [layer for child in module for layer in _layers(child)]


def _is_dense(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a plain convolution of one group that does enough for each number."""
    if type(layer) is not nn.Conv2d or layer.groups > 1 or layer.bias is not None or layer.padding_mode != "zeros":
        return False
    return layer.weight[0].numel() >= WORTH


def _pointwise(candidate: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    """Convolution and norm of a candidate that is a ReLU, a 1x1 convolution of all channels to as many, and a norm."""
    layers = _layers(candidate)
    if [type(layer) for layer in layers] != [nn.ReLU, nn.Conv2d, nn.BatchNorm2d]:
        return None
    layer, norm = cast(nn.Conv2d, layers[1]), cast(nn.BatchNorm2d, layers[2])
    plain = (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((1, 1), (1, 1), (0, 0), 1)
    return (layer, norm) if plain and layer.bias is None and layer.in_channels == layer.out_channels else None


def _is_depthwise(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1
