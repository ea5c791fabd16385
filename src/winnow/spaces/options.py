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
