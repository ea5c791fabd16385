"""What a result stands on, as twelve hexadecimal digits: parameters, inputs and winnow's own code."""

import hashlib
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


def fingerprint(**parts: Any) -> str:
    """Of JSON by name, and of the code: what was begun is gone on with by the code that began it, or not at all.

    All of winnow's code, unless `code` is among the parts: whoever knows better what a result stands on.
    """
    text = json.dumps({"code": code_digest(), **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def code_digest() -> str:
    """Of every Python file of winnow and its pipelines, by name and content."""
    digest = hashlib.sha256()
    stages = importlib.util.find_spec("winnow.pipelines")
    assert stages is not None
    for root in (PACKAGE, *map(Path, stages.submodule_search_locations or ())):
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
