"""The weights that a user brings, and which channels count most by them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.holes.cut import TRANSPOSED
from winnow.spaces.auto_layers import CHANNELS

SHOWN = 3
COUNTS = ("num_features", "num_channels", "num_parameters")  # of a norm, a GroupNorm, a PReLU


def load_weights(net: nn.Module, path: str, name: str) -> None:
    """Fill `net` from safetensors or a state dict; Refused, with keys and shapes, where it is of another network."""
    found = _read(Path(path).expanduser())
    wanted = net.state_dict()
    wrong = [f"no {key!r}" for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    wrong += [f"{key!r}, which the network has not" for key in found if key not in wanted]
    wrong += [
        f"{key!r} of shape {tuple(found[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in found and found[key].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise Refused(f"space.weights: {path} is of another network than {name!r}: {'; '.join(wrong[:SHOWN])}{more}")
    net.load_state_dict(found, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise Refused(f"space.weights: no file {path}; paths start at the present folder") from error
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise Refused(f"space.weights: {path} cannot be read as weights: {said[0]}") from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise Refused(f"space.weights: {path} holds no state dict, a mapping of names to tensors")
    return found


def importance_of(net: nn.Module) -> Callable[[str, str], Tensor]:
    """How much a layer weighs each channel that it takes: the sum of its absolute weights (Cai et al. 2020)."""
    modules = dict(net.named_modules())

    def importance(path: str, side: str) -> Tensor:
        module: Any = modules[path]
        if isinstance(module, CHANNELS):
            return torch.zeros(int(next(getattr(module, name) for name in COUNTS if hasattr(module, name))))
        weight = module.weight.detach().abs().double()
        if isinstance(module, TRANSPOSED):
            return weight.flatten(1).sum(1)
        groups = getattr(module, "groups", 1)
        parts = weight.reshape(groups, -1, *weight.shape[1:]).sum(1)  # (groups, inputs of a group, *kernel)
        return parts.reshape(groups * weight.shape[1], -1).sum(1)

    return importance
