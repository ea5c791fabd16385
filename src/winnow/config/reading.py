"""params.yaml, read: what is wrong with it, one sentence a mistake."""

import re
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from winnow.config.params import Params
from winnow.config.plans import check_tried
from winnow.config.section import nearest
from winnow.core.errors import Refused


def read_params(path: Path) -> Params:
    """The checked content of a params.yaml. Refused, one line a mistake, where it is not one."""
    try:
        content = _once(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"no {path.name} in {path.parent.resolve()}: run winnow in the folder that holds it") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also no UTF-8, no such date, a tower of brackets
        raise Refused(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise Refused(f"{path}: takes sections like 'data:' and 'search:', not {type(content).__name__}")
    return check_params(content, path.name)


def _once(text: str) -> Any:
    loader = _Once(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _Once(yaml.SafeLoader):
    """Refuses what YAML forbids and its readers let pass: a key that is there twice, of which the last would win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(f"key {key.value!r} is there twice, again in line {line}: leave one")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def check_params(content: dict[str, Any], source: str = "params.yaml") -> Params:
    """The content of a params.yaml, checked; Refused likewise."""
    try:
        params = Params.model_validate(content)
        check_tried(params)
    except ValidationError as error:
        raise Refused("\n".join(f"{source}: {_sentence(problem)}" for problem in error.errors())) from error
    except ValueError as error:
        raise Refused(f"{source}: {error}") from error
    return params


def _sentence(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = list(_fields(problem["loc"][:-1]))
        return f"unknown key {key}{nearest(str(problem['loc'][-1]), known)}; there are {', '.join(known)}"
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


def _fields(loc: tuple) -> typing.Iterable[str]:
    """The names that the section at `loc` takes, also below a name of the user's own, as in tune.ranges.lr."""
    model: Any = Params
    for part in loc:
        if hasattr(model, "model_fields"):
            model = model.model_fields[part].annotation if part in model.model_fields else None
        else:
            model = (typing.get_args(model) or [None])[-1]
    return getattr(model, "model_fields", {})
