"""Descriptions of operations as numbers: "convolution 3 by 3, ReLU" fills the columns of those words.

TG-NAS embeds sentences by a language model; here each word that is understood has a column, and numbers beside it fill
it by their size, so that what is alike in words is alike in numbers, an operation that nobody listed included.
"""

import math
import re
from collections.abc import Callable
from functools import cache

from winnow.core.errors import Refused

CHANNELS, HEAD = 16, 64  # at which weights are counted where nothing is said; numbers of an attention head
Number = Callable[[float], float]


def _by(most: float) -> Number:
    return lambda number: number / most


def _log(most: float) -> Number:
    return lambda number: math.log2(1 + number) / math.log2(1 + most)


# Column: how it is written, and what becomes of the number; words without one fill their column with 1.
WORDS: dict[str, tuple[str, Number]] = {
    "input": (r"input", _by(1)),
    "output": (r"output", _by(1)),
    "convolution": (r"convolution", _by(1)),
    "kernel": (r"(\d+) by \d+", _by(3)),
    "pooling": (r"pooling", _by(1)),
    "maximum": (r"maximum", _by(1)),
    "average": (r"average", _by(1)),
    "identity": (r"identity", _by(1)),
    "nothing": (r"nothing", _by(1)),
    "noise": (r"noise", _by(1)),
    "normalised": (r"batch normalisation", _by(1)),
    "relu": (r"ReLU", _by(1)),
    "depthwise": (r"depthwise", _by(1)),
    "separable": (r"of a row and a column", _by(1)),
    "dilation": (r"dilation (\d+)", _by(3)),
    "groups": (r"(\d+) groups", _by(4)),
    "times": (r"(\d+) times", _by(3)),
    "bottleneck": (r"bottleneck", _by(1)),
    "expansion": (r"expansion (\d+)", _by(6)),
    "excited": (r"squeeze and excitation", _by(1)),
    "half": (r"on half of the channels", _by(1)),
    "share": (r"inner width (\d+) percent", _by(100)),
    "weight_bits": (r"weights of (\d+) bits", _log(32)),
    "activation_bits": (r"activations of (\d+) bits", _log(32)),
    "attention": (r"attention", _by(1)),
    "heads": (r"(\d+) heads", _by(4)),
    "mlp": (r"MLP", _by(1)),
    "ratio": (r"ratio ([\d.]+)", _by(4)),
    "patches": (r"patches", _by(1)),
    "coarse_to_fine": (r"coarse to fine", _by(1)),
    "fine_to_coarse": (r"fine to coarse", _by(1)),
    "channels": (r"(\d+) channels", _log(1024)),
    "reduction": (r"at 1/(\d+) of the image", _log(32)),
}
COLUMNS = (*WORDS, "size")  # of what is described: ln(1 + weights) / 10
FILLERS = {"a", "an", "and", "as", "at", "by", "each", "in", "is", "of", "on", "the", "then", "to", "with"}


@cache
def vector(description: str) -> tuple[float, ...]:
    """One number a column, 0 where its word is not said. Refused, with those that are known, for other words."""
    numbers: dict[str, float] = {}
    rest = description
    for column, (pattern, _) in WORDS.items():
        if found := re.search(rf"(?<![\w/]){pattern}(?![\w/])", rest):
            numbers[column] = float(found[1]) if found.re.groups else 1.0
            rest = rest[: found.start()] + " " + rest[found.end() :]
    if strange := [word for word in re.findall(r"[^\s,.;:()]+", rest) if word not in FILLERS]:
        raise Refused(
            f"the description {description!r} says {strange[0]!r}, which is not understood (or twice); known are "
            + ", ".join(repr(_readable(pattern)) for pattern, _ in WORDS.values())
        )
    filled = [scale(numbers[column]) if column in numbers else 0.0 for column, (_, scale) in WORDS.items()]
    return (*filled, math.log1p(weights(numbers)) / 10)


def weights(numbers: dict[str, float]) -> float:
    """How many weights what is described has, by its numbers and without biases: roughly, and alike for all."""
    channels, kernel = numbers.get("channels", CHANNELS), numbers.get("kernel", 1)
    if "half" in numbers:
        channels /= 2
    wide = channels * numbers.get("expansion", 1) * numbers.get("share", 100) / 100
    pointwise, total = channels * wide, 0.0
    if "convolution" in numbers:
        total = wide * kernel**2 if "depthwise" in numbers else wide**2 * kernel ** (1 if "separable" in numbers else 2)
        total += pointwise if "depthwise" in numbers else 0
    total *= numbers.get("times", 1)
    if "bottleneck" in numbers:
        total += pointwise * (1 if "depthwise" in numbers else 2) / numbers.get("groups", 1)
    total += 4 * HEAD * numbers.get("heads", 0) * channels + 2 * numbers.get("ratio", 0) * channels**2
    if "patches" in numbers:
        total += channels
    return total


def _readable(pattern: str) -> str:
    return re.sub(r"\([^)]*\)|\\d\+", "3", pattern)
