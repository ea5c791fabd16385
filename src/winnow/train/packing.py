"""State as bytes and back: nested plain values and tensors as one safetensors file, without pickle."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from winnow.core.errors import Refused

PLAIN = bool | int | float | str | None  # JSON brings floats back to the bit


Flat = dict[str, list[Tensor]]  # by dtype and device, one after another: thousands of small tensors are few large ones


def to_bytes(state: Any) -> bytes:
    """`state`, of dicts, lists, tuples, plain values and tensors. TypeError, naming the type, for anything else."""
    flat: Flat = {}
    shape = json.dumps(_packed(state, flat))
    plain, _ = apart({group: torch.cat(parts) for group, parts in flat.items()})
    return save(plain, {"winnow": shape})


def from_bytes(data: bytes) -> Any:
    """What `to_bytes` was given; tensors with the strides and on the device they had. ValueError for other bytes."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        shape = json.loads(data[8 : 8 + length])["__metadata__"]["winnow"]
        offsets: dict[str, int] = {}
        tensors = load(data)
        pairs = [group for group in tensors if group.startswith(f"{torch.complex128} ")]
        return _unpacked(json.loads(shape), together(tensors, {"pairs": pairs}), offsets)
    except (struct.error, SafetensorError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"not a state of winnow: {error}") from error


def apart(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU as safetensors takes them, each once, and in plain values what `together` needs for the rest.

    Tied weights, and a module under two names, are one tensor; of several views of one storage each is a copy. Refused
    where something is no tensor.
    """
    plain: dict[str, Tensor] = {}
    known: dict[Any, Any] = {}
    alike, pairs, storages = {}, [], set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise Refused(f"{name!r} of the network's state is a {kind}, and files hold tensors: make it a buffer")
        place = (tensor.device, tensor.untyped_storage().data_ptr(), tensor.storage_offset())
        same = known.setdefault((*place, tensor.shape, tensor.stride(), tensor.dtype), name)
        if same != name and tensor.numel():
            alike[name] = same
            continue
        flat = tensor.detach().cpu().resolve_conj().contiguous()
        if flat.dtype == torch.complex128:
            pairs.append(name)
            flat = torch.view_as_real(flat)
        storage = flat.untyped_storage()
        if storage.nbytes() != flat.nbytes or storage.data_ptr() in storages:
            flat = flat.clone(memory_format=torch.contiguous_format)
        storages.add(flat.untyped_storage().data_ptr())
        plain[name] = flat
    rest = {"alike": alike, "pairs": pairs}
    return plain, {key: value for key, value in rest.items() if value}


def together(plain: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Tensor]:
    """What `apart` was given. KeyError where `rest` is of other tensors."""
    tensors = dict(plain)
    for name in rest.get("pairs", ()):
        tensors[name] = torch.view_as_complex(tensors[name])
    for name, same in rest.get("alike", {}).items():
        tensors[name] = tensors[same]
    return tensors


def _packed(value: Any, flat: Flat) -> Any:
    """`value` as JSON: lists as they are, everything else that JSON has no word for as an object of one key."""
    if isinstance(value, Tensor):
        group = f"{value.dtype} {value.device}"
        flat.setdefault(group, []).append(value.detach().reshape(-1))
        return {"tensor": [group, list(value.shape), list(value.stride()), str(value.device)]}
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, list):
        return [_packed(each, flat) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_packed(each, flat) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[_packed(key, flat), _packed(each, flat)] for key, each in value.items()]}
    raise TypeError(f"a checkpoint holds dicts, lists, tuples, plain values and tensors, no {type(value).__name__}")


def _unpacked(value: Any, flat: dict[str, Tensor], offsets: dict[str, int]) -> Any:
    """In the order of packing: `offsets` say how much of each group is read."""
    if isinstance(value, list):
        return [_unpacked(each, flat, offsets) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        group, shape, strides, device = content
        start, size = offsets.get(group, 0), math.prod(shape)
        offsets[group] = start + size
        return _laid(flat[group][start : start + size].view(shape), strides).to(device)
    if kind == "tuple":
        return tuple(_unpacked(each, flat, offsets) for each in content)
    return {_unpacked(key, flat, offsets): _unpacked(each, flat, offsets) for key, each in content}


def _laid(tensor: Tensor, strides: Sequence[int]) -> Tensor:
    """A copy, in memory as it was: fused optimisers take momentum in the layout of its weight."""
    if list(tensor.stride()) == strides or 0 in strides:
        return tensor.clone()
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)
