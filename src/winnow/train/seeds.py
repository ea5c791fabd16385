"""Randomness as explicit objects: the one place that touches torch's global generators."""

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from torch import nn


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run the block with torch's global streams (CPU, every CUDA device) seeded; afterwards they go on as before.

    For code that takes no generator: initialisation, dropout, drop-path, noise operations.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """`seeded`, for a user's builder: Python's and numpy's global streams too, and what it sets globally goes back."""
    python, array = random.getstate(), np.random.get_state()
    kind, asking = torch.get_default_dtype(), torch.is_grad_enabled()
    device = torch.get_default_device()
    threads, strict = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    with seeded(seed):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)
            torch.set_default_dtype(kind)
            torch.set_grad_enabled(asking)
            if device != torch.get_default_device():
                torch.set_default_device(device)
            if threads != torch.get_num_threads():
                torch.set_num_threads(threads)
            if strict != torch.get_deterministic_debug_mode():
                torch.set_deterministic_debug_mode(strict)


def streams() -> list[torch.Tensor]:
    """The states of torch's global streams, the CPU's first, for a checkpoint made inside `seeded`."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def put_streams_back(states: list[torch.Tensor]) -> None:
    """Go on as if from where `streams` was called."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


def derived(seed: int, *names: str | int) -> int:
    """A number below 2^63 that is as good as independent for every other (seed, names); the same on every machine."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """The stream of tensors called `names`, as in generator(0, "search", "shuffle")."""
    return torch.Generator(device).manual_seed(derived(seed, *names))


def rng(seed: int, *names: str | int) -> random.Random:
    """The stream of plain numbers called `names`, as in rng(0, "select", "evolution")."""
    return random.Random(derived(seed, *names))


def materialise(model: nn.Module, device: str | torch.device, seed: int) -> nn.Module:
    """`model` itself, built on the meta device or anywhere, with fresh values from `seed` and on `device`.

    Every module's `reset_parameters` draws on the CPU, inner modules first, so that devices get equal values. TypeError
    where a module holds a parameter or a buffer and has no `reset_parameters`: it would stay uninitialised.
    """
    places: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for name, module in model.named_modules():
        held = list(chain(module.parameters(recurse=False), module.buffers(recurse=False)))
        if held and not callable(getattr(module, "reset_parameters", None)):
            raise TypeError(
                f"module {name or 'at the root'!r} ({type(module).__name__}) holds parameters or buffers but has no "
                "reset_parameters() to initialise them with"
            )
        for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            places.setdefault(parameter, []).append((module, key))
    model.to_empty(device="cpu")
    for (first, key), *others in places.values():  # to_empty parts what modules share
        for module, other in others:
            setattr(module, other, getattr(first, key))
    with seeded(seed):
        for module in reversed(list(model.modules())):
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return model.to(device)
