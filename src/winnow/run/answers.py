"""Which test rows each network told rightly, packed into text: what lets two revisions be compared row by row."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed(answers: Iterable[Sequence[bool]]) -> list[str]:
    """One text a network: a bit a row, eight to a byte, in base64."""
    return [base64.b64encode(np.packbits(np.asarray(each, dtype=bool)).tobytes()).decode() for each in answers]


def unpacked(texts: Any, rows: Any) -> NDArray[np.bool_] | None:
    """(networks, rows) of what `packed` made; None where it is no such thing, as in a file of an older winnow."""
    if not isinstance(texts, list) or not texts or not isinstance(rows, int) or isinstance(rows, bool):
        return None
    try:
        found = [np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8) for text in texts]
    except (TypeError, ValueError):  # no text, no base64
        return None
    if rows < 1 or any(len(each) != (rows + 7) // 8 for each in found):
        return None
    return np.stack([np.unpackbits(each, count=rows).astype(bool) for each in found])
