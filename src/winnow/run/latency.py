"""Limits on milliseconds: of this machine, where children are measured, or of devices that files tell of.

What was measured here lies in .winnow/latency/, a file a network, machine and number of threads: no child is measured
twice, so that a stage that was stopped goes on to the same decisions, and whoever draws networks later decides alike.
"""

import contextlib
import json
import os
import platform
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.measure.latency import fingerprint, latency_within
from winnow.predictors.device import Device, Reading
from winnow.run import fingerprint as stood
from winnow.run.device import Network, read_device
from winnow.run.outside import digests, resolved
from winnow.run.work import device_of
from winnow.tracking import state_folder
from winnow.train.building import timed

KEY = "select.max_latency_ms"
PATIENCE = 300  # children measured one after another of which none is within the limit


def limited(params: Params, folder: Path, space: Space) -> Iterator[tuple[str, Device, float]]:
    """(metric, device, milliseconds) of each limit that `params` set; `space` is what is retrained.

    Refused for a file that does not tell of this network, and where a limit's device is in no file.
    """
    most, paths = params.select.max_latency_ms, params.select.devices
    if most is None:
        return
    if not paths:
        assert not isinstance(most, dict)
        yield "latency_ms", here(params, folder, space, most), most
        return
    network = Network.of(params, folder, space)
    found = {}
    for i, path in enumerate(paths):
        key = "select.device" if len(paths) == 1 else f"select.device.{i}"
        device = read_device(resolved(folder, path, key), network, space)
        if device.name in found:
            raise Refused(f"{key}: {path} tells of {device.name!r}, as another file before it does: name one of them")
        found[device.name] = device
    limits = most if isinstance(most, dict) else dict.fromkeys(found, most)
    for name, limit in limits.items():
        if name not in found:
            raise Refused(f"{KEY}: no file of select.device tells of {name!r}; they tell of {', '.join(found)}")
        plain = re.sub(r"[^\w.-]", "_", name)  # of names of metrics MLflow takes no others
        yield "latency_ms" if len(limits) == 1 else f"latency_ms.{plain}", found[name], limit
    if unread := found.keys() - limits.keys():
        raise Refused(f"{KEY} sets no limit on {min(unread)!r}, which select.device tells of: set one, or leave it out")


@dataclass(frozen=True)
class Measured:
    """Of one child on this machine; `limit` is what it was held against, and a reading beyond it is cut short."""

    ms: float
    low: float
    high: float
    limit: float

    def tells(self, limit: float) -> bool:
        """Whether it says all that it ever will about another limit."""
        return self.high <= self.limit or self.low > limit or limit <= self.limit


def here(params: Params, folder: Path, space: Space, limit: float) -> Device:
    """This machine, as the stages run on it: with the threads that are set now, on the device of `params`.

    Reading is Refused where too many children one after another are not within `limit`.
    """
    device, seconds = device_of(params), params.select.latency_seconds
    known, name = _Known.of(params, folder, space, device), f"this machine ({fingerprint(device)})"
    asked: dict[str, Measured] = {}
    example = space.example
    assert example is not None

    def read(arch: Architecture) -> Reading:
        before = known.found.get(arch.digest)
        if before is None or not before.tells(limit):
            seen = latency_within(timed(space, arch, device), example, limit, device=device, seconds=seconds)
            before = known.add(arch.digest, Measured(seen.median, seen.low, seen.high, limit))
        asked[arch.digest] = before
        last = [seen for _, seen in zip(range(PATIENCE), reversed(asked.values()), strict=False)]
        if len(last) == PATIENCE and all(seen.high > limit for seen in last):
            beyond = sum(seen.low > limit for seen in last)
            raise Refused(
                f"{KEY}: of the last {PATIENCE} children measured on {name} none is within {limit:g} ms for certain, "
                f"{beyond} are beyond, and {PATIENCE - beyond} the noise leaves open; the fastest took "
                f"{min(seen.ms for seen in asked.values()):.3g}: raise the limit, or stop what else runs"
            )
        return Reading(before.ms, before.low, before.high)

    def remark() -> str:
        told = Counter("yes" if m.high <= limit else "no" if m.low > limit else "open" for m in asked.values())
        whole = [(m.high - m.low) / m.ms for m in asked.values() if m.high <= m.limit]
        noise = f"; rounds of one lie within {sum(whole) / len(whole):.0%} of its median" if whole else ""
        return (
            f"{len(asked)} children measured, {told['yes']} within {limit:g} ms, {told['no']} beyond, {told['open']} "
            f"that the noise leaves open, which were not taken{noise}"
        )

    return Device(name, read, remark=remark)


@dataclass(frozen=True)
class _Known:
    """What was measured of one network, on this machine, by digest; kept in `path` at once, a line each."""

    path: Path
    found: dict[str, Measured]

    @classmethod
    def of(cls, params: Params, folder: Path, space: Space, device: torch.device) -> "_Known":
        basis = stood.fingerprint(
            network=Network.of(params, folder, space).record(),
            outside=digests(params, folder, ("space",)),
            machine=[platform.node(), fingerprint(device), torch.__version__],
            seconds=params.select.latency_seconds,
        )
        path = state_folder(folder) / "latency" / f"{basis}.jsonl"
        return cls(path, dict(_lines(path)))

    def add(self, digest: str, seen: Measured) -> Measured:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"digest": digest, **asdict(seen)}) + "\n"
        with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), "w") as file:
            file.write(line)
        self.found[digest] = seen
        return seen


def _lines(path: Path) -> Iterator[tuple[str, Measured]]:
    """The last of each digest; a line that a full disk cut is measured again."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            told = json.loads(line)
            yield told.pop("digest"), Measured(**told)
