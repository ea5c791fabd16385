"""Checks that the builders of spaces share."""


def positive(**options: object) -> None:
    """ValueError, with the option's name, unless each is a whole number of 1 or more."""
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} takes a whole number of 1 or more, not {value!r}")
