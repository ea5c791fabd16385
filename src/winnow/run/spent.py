"""What the runs behind a result took, as their records tell: seconds, and joules where the machine counted them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from winnow.run.lineage import record_of
from winnow.run.progress import duration

COUNTED = (
    "Energy is that of whole processor packages and of the GPU, by their own counters: what others ran there meanwhile "
    "is in it, and what two runs took side by side is in both; memory, disks and fans are not."
)


@dataclass(frozen=True)
class Spent:
    seconds: float
    joules: Mapping[str, float] = field(default_factory=dict)  # by counter; empty where there was none to read

    def __str__(self) -> str:
        return ", ".join([duration(self.seconds), *([self.energy] if self.joules else [])])

    @property
    def energy(self) -> str:
        """ "1.2 kJ", of all counters together; "" where nothing was counted, which is not nought."""
        return f"{sum(self.joules.values()) / 1000:.3g} kJ" if self.joules else ""


def spent(folder: Path, names: Sequence[str]) -> dict[str, Spent]:
    """By run; none of one that has not run here, or by a winnow that kept no time. Refused where a record is damaged.

    Of a stage that was stopped and went on, what it took since.
    """
    records = {name: record_of(folder, name) for name in names}
    return {
        name: Spent(record["seconds"], record.get("joules", {}))
        for name, record in records.items()
        if isinstance(record.get("seconds"), int | float)
    }
