"""params.yaml, read: what is wrong with it, one sentence a mistake."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from winnow.config.params import Params
from winnow.config.sentences import sentence
from winnow.core.errors import Refused


def read_params(path: Path, methods: bool = True) -> Params:
    """The checked content of a params.yaml. Refused, one line a mistake, where it is not one.

    Without `methods`, what it says to strategies, selections and spaces is left as it stands: checking that takes
    torch, some seconds that commands which run none of them need not wait for.
    """
    try:
        content = _once(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"no {path.name} in {path.parent.resolve()}: run winnow in the folder that holds it") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also no UTF-8, no such date, a tower of brackets
        raise Refused(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise Refused(f"{path}: takes sections like 'data:' and 'search:', not {type(content).__name__}")
    return check_params(content, path.name, methods)


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


def check_params(content: dict[str, Any], source: str = "params.yaml", methods: bool = True) -> Params:
    """The content of a params.yaml, checked; Refused likewise."""
    try:
        params = Params.model_validate(content)
        if methods:
            from winnow.config.methods import checked  # torch
            from winnow.config.plans import check_tried

            params = checked(params)
            check_tried(params)
    except ValidationError as error:
        raise Refused("\n".join(f"{source}: {sentence(each, Params)}" for each in error.errors())) from error
    except ValueError as error:
        raise Refused(f"{source}: {error}") from error
    except Refused as refusal:
        raise Refused("\n".join(f"{source}: {line}" for line in str(refusal).splitlines())) from refusal
    return params
