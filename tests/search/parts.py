"""Methods asked for their parts alone: what they hand to the outer loop of DARTS, which does not run."""

from types import ModuleType
from typing import Any

import pytest

from winnow.search.bench import Found


def handed(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[dict[str, Any]]:
    """What `module` hands to `bilevel`, by name, a row a call."""
    rows: list[dict[str, Any]] = []

    def bilevel(bench, recipe, **given):
        rows.append(given)
        return Found(bench.space)

    monkeypatch.setattr(module, "bilevel", bilevel)
    return rows
