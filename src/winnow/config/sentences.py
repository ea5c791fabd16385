"""What is wrong with a value of params.yaml, in one sentence."""

import re
import typing
from typing import Any

from pydantic import BaseModel

from winnow.config.section import nearest


def sentence(problem: Any, model: type[BaseModel], place: str = "") -> str:
    """Of one error of pydantic about `model`, which is the section `place` of the file ("": the whole)."""
    key = ".".join(str(part) for part in ([place] if place else []) + list(problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = list(_fields(model, problem["loc"][:-1]))
        there = f"there are {', '.join(known)}" if known else "it takes none"
        return f"unknown key {key}{nearest(str(problem['loc'][-1]), known)}; {there}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}"
    came = repr(problem["input"])
    hint = "; YAML reads 1e-3 as text, 1.0e-3 as a number" if _scientific(problem["input"]) else ""
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        options = [part.strip("' ") for part in problem["ctx"]["expected"].replace(" or ", ",").split(",")]
        hint = nearest(problem["input"], options)
    return f"{key}: {message[0].lower() + message[1:]}, not {came if len(came) < 80 else came[:77] + '...'}{hint}"


def _scientific(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", value) is not None


def _fields(model: Any, loc: tuple) -> typing.Iterable[str]:
    """The names that the section at `loc` takes, also below a name of the user's own, as in tune.ranges.lr."""
    for part in loc:
        if hasattr(model, "model_fields"):
            model = model.model_fields[part].annotation if part in model.model_fields else None
        else:
            model = (typing.get_args(model) or [None])[-1]
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]
