"""What the builders of spaces share: what they are told of images, and checks."""

from collections.abc import Mapping, Sequence


def facts_of(shape: Sequence[int]) -> dict[str, object]:
    """What a builder is told of images of `shape` (channels, height, width); the one place where a size is made of it.

    `image_size` is the side where images are square, else (height, width).
    """
    channels, height, width = shape
    size = height if height == width else (height, width)
    return {"image_channels": channels, "image_height": height, "image_width": width, "image_size": size}


def shape_of(facts: Mapping[str, object]) -> tuple[int, int, int]:
    """(channels, height, width) of the images that `facts`, as `facts_of` makes them, tell of."""
    return facts["image_channels"], facts["image_height"], facts["image_width"]  # type: ignore[return-value]


def positive(**options: object) -> None:
    """ValueError, with the option's name, unless each is a whole number of 1 or more."""
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} takes a whole number of 1 or more, not {value!r}")
