"""Checks that the builders of spaces share."""

from collections.abc import Sequence


def positive(**options: object) -> None:
    """ValueError, with the option's name, unless each is a whole number of 1 or more."""
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} takes a whole number of 1 or more, not {value!r}")


def sizes(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """Different whole numbers, smallest first. ValueError, with the option's name, on anything else."""
    whole = isinstance(given, list | tuple) and all(isinstance(n, int) and not isinstance(n, bool) for n in given)
    if not whole or not given or min(given) < 1 or len(set(given)) < len(given):
        raise ValueError(f"{name} takes a list of different whole numbers of 1 or more, not {given!r}")
    return tuple(sorted(given))


def shares(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """The same of percent. ValueError on scales, 0.2 for 20, and on anything else."""
    if isinstance(given, list | tuple) and any(isinstance(n, float) for n in given):
        raise ValueError(f"{name} takes whole numbers of percent, 20 for a fifth, not {given!r}")
    return sizes(name, given)
