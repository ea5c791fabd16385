"""Joules that a stage took, where the machine counts them: processor packages by Linux' powercap, a GPU by NVML.

A counter is of the whole package or board: what others ran there meanwhile is in it, and what two stages ran at once is
in both. Memory, disks, fans and losses of the supply are in none. Most kernels show powercap to root alone, and virtual
machines have none.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
EVERY = 60.0  # seconds between readings: at 500 W, a counter of 65 kJ, the smallest in use, begins anew after 131 s


@dataclass(frozen=True)
class Counter:
    """`read` gives microjoules; behind `most` of them it begins at nought again (0: never)."""

    read: Callable[[], int]
    most: int = 0


def counters(gpu: str = "", root: Path = POWERCAP) -> dict[str, Counter]:
    """Those that this process may read, by name: "package-0", and "gpu", of which `gpu` is the UUID; "" for none."""
    found = {}
    for zone in sorted(root.glob("intel-rapl:*")):  # so called on AMD too
        with contextlib.suppress(OSError, ValueError):  # not root, or no such zone
            name = (zone / "name").read_text(encoding="utf-8").strip()
            if name.startswith("package"):  # core is a part of it; psys has all packages in it once more
                counter = Counter(partial(_number, zone / "energy_uj"), _number(zone / "max_energy_range_uj"))
                counter.read()
                found[name] = counter
    return {**found, **_nvml(gpu)}


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))


def _nvml(gpu: str) -> dict[str, Counter]:
    """Of GPUs since Volta."""
    if not gpu:
        return {}
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # no such package, driver, device or counter: each has an error of its own
        return {}
    return {"gpu": Counter(lambda: 1000 * pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))}


class Meter:
    """Adds up what counters tell from one `look` to the next."""

    def __init__(self, read: Mapping[str, Counter]):
        self.counters, self.lock = read, threading.Lock()
        self.before = {name: counter.read() for name, counter in read.items()}
        self.sums = dict.fromkeys(read, 0)

    def look(self) -> dict[str, float]:
        """Joules so far, by counter; one that is not to be read any more, or was set back, tells nothing."""
        with self.lock:
            for name in list(self.sums):
                counter = self.counters[name]
                try:
                    now = counter.read()
                except Exception:  # NVML's errors are its own
                    del self.sums[name]
                    continue
                gap, self.before[name] = now - self.before[name], now
                if gap < 0 and not counter.most:
                    del self.sums[name]
                else:
                    self.sums[name] += gap + counter.most if gap < 0 else gap
            return {name: microjoules / 1e6 for name, microjoules in self.sums.items()}


@contextlib.contextmanager
def metered(read: Mapping[str, Counter], every: float = EVERY) -> Iterator[Meter]:
    """Count what the block takes; looks on the way, as a counter of hours would begin anew more than once."""
    meter, ended = Meter(read), threading.Event()

    def looking() -> None:
        while not ended.wait(every):
            meter.look()

    if read:
        threading.Thread(target=looking, daemon=True).start()
    try:
        yield meter
    finally:
        ended.set()
