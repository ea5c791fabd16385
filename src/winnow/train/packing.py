"""State as bytes and back: nested plain values and tensors as one safetensors file, without pickle."""

import json
import struct
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

PLAIN = bool | int | float | str | None  # JSON brings floats back to the bit


def to_bytes(state: Any) -> bytes:
    """`state`, of dicts, lists, tuples, plain values and tensors. TypeError, naming the type, for anything else."""
    tensors: list[Tensor] = []
    shape = json.dumps(_packed(state, tensors))
    return save({str(number): tensor for number, tensor in enumerate(_apart(tensors))}, {"winnow": shape})


def from_bytes(data: bytes) -> Any:
    """What `to_bytes` was given; tensors with the strides and on the device they had. ValueError for other bytes."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        shape = json.loads(data[8 : 8 + length])["__metadata__"]["winnow"]
        return _unpacked(json.loads(shape), load(data))
    except (struct.error, SafetensorError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"not a state of winnow: {error}") from error


def _packed(value: Any, tensors: list[Tensor]) -> Any:
    """`value` as JSON: lists as they are, everything else that JSON has no word for as an object of one key."""
    if isinstance(value, Tensor):
        tensors.append(value.detach())
        return {"tensor": [len(tensors) - 1, list(value.stride()), str(value.device)]}
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, list):
        if _scalars(value):  # the losses of an epoch: thousands of numbers
            return {"scalars": _packed(torch.stack(value), tensors)}
        return [_packed(each, tensors) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_packed(each, tensors) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[_packed(key, tensors), _packed(each, tensors)] for key, each in value.items()]}
    raise TypeError(f"a checkpoint holds dicts, lists, tuples, plain values and tensors, no {type(value).__name__}")


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        number, strides, device = content
        return _laid(tensors[str(number)], strides).to(device)
    if kind == "scalars":
        return list(_unpacked(content, tensors).unbind())
    if kind == "tuple":
        return tuple(_unpacked(each, tensors) for each in content)
    return {_unpacked(key, tensors): _unpacked(each, tensors) for key, each in content}


def _scalars(values: Sequence[Any]) -> bool:
    """Whether these are tensors of one number each that go into one."""
    first = values[0] if values else None
    return isinstance(first, Tensor) and all(
        isinstance(v, Tensor) and v.dim() == 0 and (v.dtype, v.device) == (first.dtype, first.device) for v in values
    )


def _apart(tensors: Sequence[Tensor]) -> list[Tensor]:
    """On the CPU and contiguous; safetensors takes no two tensors of one memory."""
    found, seen = [], set()
    for tensor in tensors:
        plain = tensor.cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        found.append(plain.clone() if memory in seen else plain)
        seen.add(memory)
    return found


def _laid(tensor: Tensor, strides: Sequence[int]) -> Tensor:
    """`tensor` in memory as it was: fused optimisers take momentum in the layout of its weight."""
    if list(tensor.stride()) == strides or 0 in strides:
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)
