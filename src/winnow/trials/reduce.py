"""Shorter trainings that keep the order of architectures (EcoNAS: Zhou et al. 2020, arXiv:2001.01233).

A proxy is written c_a r_b s_d e_x there: a steps fewer channels, b steps less resolution, a share of the images, x
epochs; c4r4s0e60 is the paper's pick for CIFAR-10. A step halves what dense convolutions cost.
"""

from winnow.core.errors import Refused


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
