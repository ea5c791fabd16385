"""What each operation of PyTorch does to the labels of channels: rules by the name of the ATen operation.

A rule is called after the operation ran, with the tracer, the operation, what it took and what it returned.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from winnow.spaces.auto_units import compact, varying

Rule = Callable[[Any, Any, Sequence[Any], dict[str, Any], Any], None]
RULES: dict[str, Rule] = {}
SHAPING = {"view", "_unsafe_view", "reshape", "expand", "split", "split_with_sizes", "unsafe_split", "slice", "narrow"}


def _named(names: str, rule: Rule) -> None:
    RULES.update(dict.fromkeys(names.split(), rule))


def unknown(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
    """What is not known may read anything: all that goes in stays."""
    for tensor in _tensors([args, kwargs]):
        t.freeze(t.of(tensor), f"{func._schema.name.removeprefix('aten::')} is not followed")


def moves(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
    """It only brings numbers to other places: so it does with labels."""
    given = _tensors([args, kwargs])
    if not any(t.of(each).any() for each in given):
        return

    def label(value: Any) -> Any:
        if isinstance(value, Tensor):
            return t.of(value).expand(value.shape)
        return type(value)(label(each) for each in value) if isinstance(value, list | tuple) else value

    rows = list(args)
    if func._schema.name in ("aten::view", "aten::_unsafe_view", "aten::reshape"):
        moved: Any = label(rows[0]).reshape(rows[1])
    elif func._schema.name in ("aten::_to_copy", "aten::clone", "aten::contiguous"):
        moved = t.of(rows[0])
    else:
        moved = func(*label(rows), **kwargs)
    if func._schema.name.removeprefix("aten::") in SHAPING:
        t.counts(torch.cat([each.flatten() for each in (moved if isinstance(moved, list | tuple) else [moved])]))
    pairs = zip(out, moved, strict=True) if isinstance(out, list | tuple) else [(out, moved)]
    for tensor, labels in pairs:
        t.tell(tensor, labels)


def index(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor) -> None:
    """Places that are given by a tensor."""
    moved = func(t.of(args[0]).expand(args[0].shape), *args[1:], **kwargs)
    t.tell(out, moved)


def alike(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
    """Number by number: what meets at one place hangs together."""
    out = out[0] if isinstance(out, list | tuple) else out
    given = [(each, _lifted(t.of(each), out.dim())) for each in _tensors([args, kwargs]) if each.dim()]
    given = [(each, labels) for each, labels in given if each.dim() <= out.dim()]
    along = sorted({d for _, labels in given for d in varying(labels)})
    sizes = [_sized(each, out.dim()) for each, _ in given]
    full = [i for i, size in enumerate(sizes) if all(size[d] == out.shape[d] for d in along)]
    named = [i for i in full if given[i][1].any()]
    if not named:
        for _, labels in given:
            t.freeze(labels, "they meet others along other dimensions")
        return
    main = given[named[0]][1]
    what = f"{func._schema.name.removeprefix('aten::').rstrip('_')} brings them together"
    for i, (_, labels) in enumerate(given):
        if i == named[0]:
            continue
        if i in full and any(sizes[i][d] > 1 for d in along):
            t.unite(main, labels, what)
            main = torch.broadcast_tensors(main, labels)[0]
        elif i not in full and any(sizes[i][d] > 1 for d in along):
            t.freeze(main, what)
            t.freeze(labels, what)
        elif labels.any():
            t.freeze(labels, "one channel acts on many")
    t.tell(out, main)


def maps(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
    """Within each channel's map: pooling, resizing, padding of the sides."""
    labels = t.of(args[0])
    out = out[0] if isinstance(out, list | tuple) else out
    moving = [d for d in varying(labels) if args[0].shape[d] != out.shape[d] or d >= 2]
    if moving:
        t.freeze(labels, f"{func._schema.name.removeprefix('aten::')} reads across them")
    else:
        t.tell(out, labels)


def pads(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor) -> None:
    maps(t, func, args, kwargs, out)


def reduces(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
    """Along some dimensions: a mean, a sum, the largest."""
    x = args[0]
    labels = t.of(x)
    spec = func._schema.arguments
    place = next((i for i, each in enumerate(spec) if each.name == "dim"), None)
    dims = kwargs.get("dim", args[place] if place is not None and place < len(args) else None)
    dims = range(x.dim()) if dims is None or dims == [] else dims if isinstance(dims, list | tuple) else [dims]
    over = {d % x.dim() for d in dims}
    outs = [out] if isinstance(out, Tensor) else list(out)
    if over & set(varying(labels)):
        t.freeze(labels, f"{func._schema.name.removeprefix('aten::')} reads across them")
        return
    for tensor in outs:
        left = (
            labels
            if tensor.dim() == x.dim()
            else labels[tuple(0 if d in over else slice(None) for d in range(x.dim()))]
        )
        t.tell(tensor, left)


def across(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor) -> None:
    """Along one dimension, which stays: a softmax, a running sum."""
    d = kwargs.get("dim", args[1] if len(args) > 1 else None)
    labels = t.of(args[0])
    if d is None or d % args[0].dim() in varying(labels):
        t.freeze(labels, f"{func._schema.name.removeprefix('aten::').strip('_')} reads across them")
    else:
        t.tell(out, labels)


def multiplies(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor) -> None:
    """Products of matrices: what is summed over hangs together; of whole batches of them, an attention's heads."""
    *before, a, b = [each for each in args if isinstance(each, Tensor)]
    for tensor in before:
        t.freeze(t.of(tensor), "they are added to a product")
    la, lb = (_lifted(t.of(each), 3) for each in (a, b))
    if not (la.any() or lb.any()):
        return
    made = _product(t, la, lb, a.shape[-1])
    t.tell(out, made if out.dim() == 3 else made[0])


def _product(t: Any, la: Tensor, lb: Tensor, inner: int) -> Tensor:
    """Labels (batch, rows, columns) of a product from those of (batch, rows, inner) and (batch, inner, columns)."""
    nothing = torch.zeros(1, 1, 1, dtype=torch.long)
    rows, columns = la.shape[1] > 1, lb.shape[2] > 1
    if (rows and la.shape[2] > 1) or (columns and lb.shape[1] > 1) or (rows and columns):
        t.freeze(la, "a product of matrices reads across them")
        t.freeze(lb, "a product of matrices reads across them")
        return nothing
    if not rows and not columns:
        ka, kb = la, lb.transpose(1, 2)  # (batch or 1, 1, inner or 1)
        if max(la.shape[0], lb.shape[0]) == 1:
            t.unite(ka, kb, "a product of matrices brings them together")
            return nothing
        return _heads(t, ka, kb)
    one, other = (la, lb) if rows else (lb, la)
    if other.any():
        _unite_batches(t, one, other)
    return one


def _heads(t: Any, ka: Tensor, kb: Tensor) -> Tensor:
    """Each matrix of the batch is a unit: all that goes into it is left out together."""
    batch = max(ka.shape[0], kb.shape[0])
    made = []
    for i in range(batch):
        both = torch.cat([each[min(i, each.shape[0] - 1)].flatten() for each in (ka, kb)])
        t.seen.units.merge(both)
        made.append(both[0])
    return torch.stack(made).reshape(batch, 1, 1)


def _unite_batches(t: Any, one: Tensor, other: Tensor) -> None:
    if other.shape[1] > 1 or other.shape[2] > 1:
        t.freeze(one, "a product of matrices reads across them")
        t.freeze(other, "a product of matrices reads across them")
        return
    t.unite(one, other, "a product of matrices brings them together")


def attention(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
    """softmax(q k') v in one operation; tensors are (batch, heads, places, width)."""
    q, k, v = (t.of(each) for each in args[:3])
    if any(set(varying(each)) - {1, 3} for each in (q, k, v)) or not (q.any() and k.any() and v.any()):
        for each in (q, k, v):
            t.freeze(each, "an attention reads across them")
        return
    heads = max(each.shape[1] for each in (q, k, v))
    for i in range(heads):
        t.seen.units.merge(torch.cat([each[:, min(i, each.shape[1] - 1)].flatten() for each in (q, k, v)]))
    t.tell(out[0] if isinstance(out, list | tuple) else out, v)


def nothing(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
    """It makes numbers that do not depend on those of a tensor."""


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return [tensor for each in values for tensor in _tensors(each)] if isinstance(values, list | tuple) else []


def _lifted(labels: Tensor, dim: int) -> Tensor:
    return compact(labels)[(None,) * (dim - labels.dim())]


def _sized(tensor: Tensor, dim: int) -> list[int]:
    return [1] * (dim - tensor.dim()) + list(tensor.shape)


def follows(t: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor) -> None:
    """Numbers of its own, but in the shape of what it takes: the noise of a dropout."""
    t.tell(out, t.of(args[0]))


RULES["unknown"] = unknown
_named("zeros_like ones_like empty_like full_like rand_like randn_like", follows)
_named(
    """view _unsafe_view reshape permute transpose t numpy_T cat split split_with_sizes unsafe_split slice select
    unsqueeze squeeze expand clone _to_copy contiguous stack unbind flip roll repeat narrow pixel_shuffle
    pixel_unshuffle channel_shuffle native_channel_shuffle alias detach unfold movedim lift_fresh""",
    moves,
)
_named("index_select", index)
_named(
    """add sub rsub mul div add_ sub_ mul_ div_ relu relu_ hardtanh hardtanh_ sigmoid sigmoid_ silu silu_ gelu hardswish
    hardswish_ hardsigmoid hardsigmoid_ tanh tanh_ leaky_relu leaky_relu_ elu elu_ clamp clamp_ clamp_min clamp_min_ exp
    pow sqrt rsqrt abs neg maximum minimum softplus mish mish_ native_dropout threshold threshold_ copy_ addcmul where
    sign square reciprocal log bernoulli bernoulli_ dropout lerp _prelu_kernel celu selu relu6 floor round sin
    cos erf""",
    alike,
)
_named(
    """max_pool2d_with_indices max_pool2d avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d
    max_pool1d avg_pool1d avg_pool3d max_pool3d_with_indices upsample_nearest2d upsample_bilinear2d upsample_bicubic2d
    _upsample_bilinear2d_aa upsample_nearest1d upsample_linear1d constant_pad_nd reflection_pad2d replication_pad2d""",
    maps,
)
_named("mean sum amax amin max min argmax var var_mean std std_mean linalg_vector_norm norm prod", reduces)
_named("_softmax _log_softmax cumsum", across)
_named("mm bmm addmm baddbmm", multiplies)
_named("_scaled_dot_product_flash_attention_for_cpu", attention)
_named(
    """zeros ones empty full arange rand randn sym_size
    new_zeros new_ones new_empty new_full empty_strided scalar_tensor fill_ zero_ uniform_ normal_ linspace eye
    _local_scalar_dense is_same_size""",
    nothing,
)
