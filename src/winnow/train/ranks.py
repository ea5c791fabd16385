"""Several processes that train one network: each takes its share of every batch, and their gradients meet.

All run the same code from the same seeds, so they draw the same paths, orders and augmentations, and ask each other in
the same order. Behind a meeting their weights are equal to the bit; nothing else has to be sent.
"""

import contextlib
import functools
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

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


class Parted(Refused):
    """The connection between the processes broke: one of them has ended."""


@contextlib.contextmanager
def joined(
    meeting: Callable[[], Any],
    which: int,
    count: int,
    device: torch.device,
    basis: Mapping[str, Any] = MappingProxyType({}),
    *,
    near: bool = True,
) -> Iterator[None]:
    """Inside, this is process `which` of `count`, which find each other by the store that `meeting` opens.

    `basis` (JSON) is what all have to agree on, by names for people. `near`: all are on this machine, and talk over the
    loopback interface alone. Refused where the device has no way for them to talk, in all of them where one has another
    basis than the first, and, as `Parted`, where another ends.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    if not dist.is_available() or not dist.is_backend_available(backend):
        raise Refused(
            f"runtime.processes: this torch has no {backend}, by which processes on {device.type} talk; set 1"
        )
    loopback = [name for name, at in psutil.net_if_addrs().items() if any(each.address == "127.0.0.1" for each in at)]
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        if loopback and near:
            os.environ.setdefault(variable, loopback[0])
    try:
        store = meeting()
        _agree(store, which, count, {**basis, "kind of device": device.type})
        dist.init_process_group(backend, store=store, rank=which, world_size=count, timeout=PATIENCE)
        try:
            yield
        finally:
            dist.destroy_process_group()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise Parted(
            f"another of the {count} processes that train together has ended; what was finished is kept, the same "
            "command goes on from the last checkpoint"
        ) from error


def in_folder(meeting: Path, count: int) -> Callable[[], Any]:
    """A meeting by a file in a folder of this machine: no port is asked for."""
    return lambda: dist.FileStore(str(meeting / "meeting"), count)


_meetings = itertools.count()  # a process may meet the others again, and nobody may read what was left before


def at_the_launchers() -> Any:
    """A store for one more meeting of the processes that torchrun started, which meet equally often.

    Refused where it cannot be opened.
    """
    return dist.PrefixStore(f"winnow/{next(_meetings)}", _launchers())


@functools.cache
def _launchers() -> Any:
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=PATIENCE))
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        at = f"{os.environ.get('MASTER_ADDR')}, MASTER_PORT {os.environ.get('MASTER_PORT')}"
        taken = "the port is taken: name another" if "EADDRINUSE" in str(error) else str(error).splitlines()[0]
        raise Refused(f"the processes cannot meet at MASTER_ADDR {at}: {taken}") from error
    return store


def _agree(store: Any, which: int, count: int, basis: Mapping[str, Any]) -> None:
    """Wait until all have told by what they work. Refused, in each of them, where one differs from the first."""
    every = [json.loads(told) for told in _of_all(store, "basis", which, count, json.dumps(basis))]
    for number, theirs in enumerate(every):
        if differ := [what for what, value in every[0].items() if theirs.get(what) != value]:
            with contextlib.suppress(Refused):  # the first keeps the store, and must not leave before the others
                _of_all(store, "read", which, count, "", timedelta(seconds=10))
            raise Refused(
                f"runtime.processes: process {number} has other {' and '.join(differ)} than process 0; bring both "
                "machines or folders to one state, and start the stage again"
            )


def _of_all(store: Any, name: str, which: int, count: int, mine: str, patience: timedelta = PATIENCE) -> list[str]:
    """What each of them set as `name`, waited for in a way that Ctrl-C and SIGTERM end at once."""
    store.set(f"{name} {which}", mine)
    names, until = [f"{name} {each}" for each in range(count)], time.monotonic() + patience.total_seconds()
    while not store.check(names):
        if time.monotonic() > until:
            raise Refused(f"not all of the {count} processes that train together came within {patience}")
        time.sleep(0.02)
    return [store.get(each).decode() for each in names]


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
