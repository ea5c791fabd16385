"""What every section of params.yaml is made of."""

import difflib
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Distinct = Field(min_length=1)


class Section(BaseModel):
    """Unknown keys are refused, values are not coerced ("3" is not 3) and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def nearest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean …?)", or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
