"""What a section of params.yaml takes, in words: for `winnow strategies` and its like, and for docs."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


def described(section: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """The name of each option, what it takes, and its default."""
    schema = section.model_json_schema()
    for attribute, field in section.model_fields.items():
        name = field.alias or attribute
        given = field.get_default(call_default_factory=True)
        if isinstance(given, BaseModel):
            for inner, takes, default in described(type(given)):
                yield f"{name}.{inner}", takes, default
        else:
            yield name, _takes(schema["properties"][name], schema), _said(given) if not field.is_required() else "none"


def _takes(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _takes(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_takes(each, whole) for each in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(map(_said, schema["enum"]))
    if "const" in schema:
        return _said(schema["const"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_takes(schema.get('items', {}), whole)}"
    if kind == "object":
        return "names with values"
    bounds = " and ".join(text.format(f"{schema[key]:g}") for key, text in BOUNDS.items() if key in schema)
    return " ".join(filter(None, (WORDS.get(kind, kind), bounds)))


def _said(value: object) -> str:
    """As YAML has it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_said(each)}" for key, each in value.items()) + "}"
    return str(value)
