"""What every section of params.yaml is made of."""

import difflib
import math
import re
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from winnow.core.errors import Refused
from winnow.system.addresses import read_address

Threads = Annotated[int, Field(ge=1, le=4096)]
LARGEST = 2**63 - 1  # of whole numbers; torch takes no more
LARGEST_SIDE = 8192  # of images, pixels: a split lies in memory whole


def share_of(limit: str) -> float:
    """0.5 for "50%". ValueError for what is no share above 0 and up to 100 %."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%", limit, re.ASCII)
    if found is None or not 0 < float(found[1]) <= 100:
        raise ValueError(limit)
    return float(found[1]) / 100


def _limit(value: Any) -> Any:
    try:
        if value is None or (type(value) is int and value > 0) or share_of(value):
            return value
    except (TypeError, ValueError):
        pass
    raise ValueError(
        'takes a whole number of 1 or more, or a share of the whole network from above 0% to 100%, like "50%", '
        f"not {value!r}"
    )


def _image_size(value: Any) -> Any:
    sides = value if isinstance(value, list | tuple) and len(value) == 2 else [value]
    if value is not None and not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"takes a number of pixels, like 32, or [height, width], like [24, 32], not {value!r}")
    if value is not None and max(sides) > LARGEST_SIDE:
        raise ValueError(f"takes sides of at most {LARGEST_SIDE} pixels, as splits lie in memory whole, not {value!r}")
    return list(value) if isinstance(value, tuple) else value


def _milliseconds(value: Any) -> Any:
    given = list(value.values()) if isinstance(value, dict) and value else [value]
    if value is None or all(type(ms) in (int, float) and 0 < ms < math.inf for ms in given):
        return value
    raise ValueError(
        f"takes milliseconds above 0, like 5.0, or some by the name of a device, like {{pixel: 5.0}}, not {value!r}"
    )


def _paths(value: Any) -> Any:
    given = value if isinstance(value, list) and value else [value]
    if value is None or all(isinstance(path, str) and path for path in given):
        return value
    raise ValueError(f"takes a file of `winnow calibrate` or `winnow measure`, or a list of such, not {value!r}")


Milliseconds = Annotated[float | dict[str, float] | None, BeforeValidator(_milliseconds)]
DeviceFiles = Annotated[str | list[str] | None, BeforeValidator(_paths)]
Limit = Annotated[int | str | None, BeforeValidator(_limit)]
ImageSize = Annotated[int | list[int] | None, BeforeValidator(_image_size)]


def _readable(text: str) -> str:
    """Blanks around it, as secrets of CI have them, go; what parsers would read differently is refused."""
    text = text.strip()
    if "://" in text:
        try:
            read_address(text, "it")
        except Refused as refusal:
            raise ValueError(str(refusal)) from None
    return text


Place = Annotated[str, AfterValidator(_readable)]  # the address of a server or database, or a path


class Section(BaseModel):
    """Unknown keys are refused, values are not coerced ("3" is not 3) and nothing changes after reading.

    A key that is a word of Python's (from) is a field with an alias.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, serialize_by_alias=True, validate_by_name=True
    )

    @model_validator(mode="after")
    def in_range(self) -> Self:
        for name, value in vars(self).items():
            values = value if isinstance(value, list | tuple) else [value]
            if any(type(each) is int and abs(each) > LARGEST for each in values):
                raise ValueError(f"{name} takes whole numbers below 2^63, not {value}")
        return self


class Named(Section):
    """A section that holds others by the name of what takes them; which there are is checked by `config.methods`."""

    model_config = ConfigDict(extra="allow")

    def section(self, name: str) -> dict[str, Any]:
        """What stands in section `name`; nothing where there is none."""
        return dict((self.model_extra or {}).get(name, {}))


def nearest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean …?)", or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
