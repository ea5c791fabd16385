"""Shorter trainings that keep the order of architectures (EcoNAS: Zhou et al. 2020, arXiv:2001.01233).

A proxy is written c_a r_b s_d e_x there: a steps fewer channels, b steps less resolution, a share of the images, x
epochs; c4r4s0e60 is the paper's pick for CIFAR-10. A step halves what dense convolutions cost.
"""

import re
from dataclasses import dataclass

from winnow.core.errors import Refused

NAME = re.compile(r"c(\d)r(\d)s(\d)e(\d+)('*)")


@dataclass(frozen=True)
class Reduction:
    """A proxy by its name: c4r4s1e20 has four steps fewer channels and pixels, half the images, 20 epochs.

    That a step of s halves the images is our reading. Marks at the end, c0r0s0e20', stand for another seed.
    """

    channels: int
    resolution: int
    halvings: int
    epochs: int

    @classmethod
    def of(cls, name: str) -> "Reduction":
        """Refused for what is no such name."""
        found = NAME.fullmatch(name)
        if found is None or not int(found[4]) or max(map(int, found.group(1, 2))) > 8:
            raise Refused(
                f"{name!r} is no reduced setting: write it like c4r4s1e20: 4 steps fewer channels, 4 less resolution "
                "(8 at most), images halved once, 20 epochs"
            )
        return cls(*map(int, found.group(1, 2, 3, 4)))

    def steps(self) -> dict[str, float]:
        """As the fields of evaluator `training`, epochs apart."""
        return {"channels": self.channels, "resolution": self.resolution, "samples": 0.5**self.halvings}


def reduced(size: int, steps: int) -> int:
    """`size` after `steps` halvings of its square: 36 channels are 9 after four, 32 pixels 8."""
    return max(1, round(size * 2 ** (-steps / 2)))


def reduced_options(space: str, options: dict[str, object], steps: int) -> dict[str, object]:
    """The options of a space with fewer channels. Refused where it has neither channels nor a width."""
    if not steps:
        return options
    if isinstance(options.get("channels"), int):
        return {**options, "channels": reduced(int(str(options["channels"])), steps)}
    if isinstance(options.get("width"), int | float):
        return {**options, "width": float(str(options["width"])) * 2 ** (-steps / 2)}
    raise Refused(f"space {space!r} has no option channels or width to reduce: leave search.trials.training.channels 0")
