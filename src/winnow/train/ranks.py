"""Several processes that train one network: each takes its share of every batch, and their gradients meet.

All run the same code from the same seeds, so they draw the same paths, orders and augmentations, and ask each other in
the same order. Behind a meeting their weights are equal to the bit; nothing else has to be sent.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn

from winnow.core.errors import Refused

PATIENCE = timedelta(
    hours=2
)  # one of them may be writing a checkpoint or judging children; one that ended is seen at once


def part() -> tuple[int, int]:
    """Which of how many processes this is: (0, 1) where it is alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


@contextlib.contextmanager
def joined(meeting: Path, which: int, count: int, device: torch.device) -> Iterator[None]:
    """Inside, this is process `which` of `count`, which find each other by a file in folder `meeting`, on this machine.

    They talk over the loopback interface alone. Refused where the device has no way for them to talk.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    if not dist.is_available() or not dist.is_backend_available(backend):
        raise Refused(
            f"runtime.processes: this torch has no {backend}, by which processes on {device.type} talk; set 1"
        )
    loopback = [name for name, at in psutil.net_if_addrs().items() if any(each.address == "127.0.0.1" for each in at)]
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        if loopback:
            os.environ.setdefault(variable, loopback[0])
    store = dist.FileStore(str(meeting / "meeting"), count)
    dist.init_process_group(backend, store=store, rank=which, world_size=count, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def meet(weights: Iterable[nn.Parameter], *numbers: Tensor) -> tuple[Tensor, ...]:
    """Bring the gradients of `weights` to their means over all processes, in place; the means of `numbers` ().

    Weights without a gradient stay without: they lie off a path, which is the same for all. Alone, nothing changes.
    """
    if part()[1] == 1:
        return numbers
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    means = tuple(number.detach().clone() for number in numbers)
    _mean([*gradients, *means])
    return means


def total(number: Tensor) -> Tensor:
    """The sum of `number` over all processes."""
    if part()[1] > 1:
        number = number.clone()
        dist.all_reduce(number)
    return number


def alike(buffers: Iterable[Tensor]) -> None:
    """Give `buffers` the values that they have in the first process: running statistics are of its share of a batch."""
    if part()[1] == 1:
        return
    for each in _by_kind(buffers):
        flat = torch.cat([tensor.reshape(-1) for tensor in each])
        dist.broadcast(flat, 0)
        _spread(flat, each)


def handed_on(data: bytes | None, device: torch.device) -> bytes:
    """The bytes that the first process gives, in all of them; the others give None."""
    size = torch.tensor([0 if data is None else len(data)], device=device)
    dist.broadcast(size, 0)
    whole = torch.empty(int(size), dtype=torch.uint8, device=device)
    if data:
        whole.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    if len(whole):
        dist.broadcast(whole, 0)
    return whole.cpu().numpy().tobytes()


def _mean(tensors: Sequence[Tensor]) -> None:
    count = part()[1]
    with torch.no_grad():
        for each in _by_kind(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in each])
            dist.all_reduce(flat)
            _spread(flat / count, each)


def _by_kind(tensors: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    """One message for all tensors of a dtype: a step has thousands of small ones."""
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault(tensor.dtype, []).append(tensor)
    return kinds.values()


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(values.view(tensor.shape))
