"""An architecture: immutable answers to the decisions of a space."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from winnow.core.decision import Value


@dataclass(frozen=True)
class Architecture(Mapping[str, Value]):
    """Sorted (decision name, value) pairs; holds the decisions that were reached and no others."""

    choices: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, choices: Mapping[str, object]) -> "Architecture":
        """From any mapping; lists, as JSON has them, become tuples. ValueError on a value that is no option."""
        return cls(tuple((name, _value(name, value)) for name, value in sorted(choices.items())))

    @classmethod
    def from_json(cls, text: str) -> "Architecture":
        """The inverse of `to_json`. ValueError where `text` is not a JSON object of options."""
        choices = json.loads(text)
        if not isinstance(choices, dict):
            raise ValueError(f"an architecture is a JSON object of decisions, not {type(choices).__name__}")
        return cls.of(choices)

    def to_json(self) -> str:
        return json.dumps(dict(self.choices), separators=(",", ":"))

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits; equal answers have equal digests in every process and on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def __getitem__(self, name: str) -> Value:
        for known, value in self.choices:
            if known == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.choices)

    def __len__(self) -> int:
        return len(self.choices)


def _value(name: str, value: object) -> Value:
    parts = value if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in parts):
        raise ValueError(f"decision {name!r} takes text, an integer, or a list of them, not {value!r}")
    return tuple(value) if isinstance(value, list | tuple) else value  # type: ignore[return-value]
