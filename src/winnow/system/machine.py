"""How much of the machine this process may use; `os.cpu_count`, which counts all of it, is asked nowhere else."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def threads() -> int:
    """How many threads one computation takes: OMP_NUM_THREADS where it is set, else the usable cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2": nested levels, ours is the first
    return int(asked) if asked.isdigit() and int(asked) else usable_cores()


def usable_cores() -> int:
    """Cores that this process may run on: of its affinity (taskset, SLURM, cpusets) and of its container's quota.

    A quota of 1.5 cores counts as two, so that none of it lies idle.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, quota())))


def quota(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float:
    """Cores' worth of time that the control groups of this process grant, the least of all levels; inf for no limit.

    Of version 2 (`cpu.max`: "150000 100000") and version 1 (`cpu.cfs_quota_us`, -1 for none).
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return math.inf
    least = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root  # a folder of version 1 is named by its controllers
        place = Path(path.lstrip("/"))
        for level in (place, *place.parents):
            least = min(least, _limit(top / level))
    return least


def _limit(group: Path) -> float:
    try:
        if (group / "cpu.max").is_file():
            time, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            time, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        return float(time) / float(period) if time.strip() not in ("max", "-1") else math.inf
    except (OSError, ValueError):  # no such group here, as in a container that sees only its own
        return math.inf


def memory_left(told: Path = Path("/proc/meminfo"), root: Path = CGROUPS) -> float:
    """Bytes that a process may still take: what the machine has available, and its control group; inf if unknown."""
    left = math.inf
    try:
        for line in told.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                left = float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):  # not Linux
        return math.inf
    try:
        most, used = ((root / f"memory.{name}").read_text(encoding="utf-8").strip() for name in ("max", "current"))
        return left if most == "max" else min(left, float(most) - float(used))
    except (OSError, ValueError):  # no such group here
        return left
