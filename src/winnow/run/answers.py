"""Which test images each network told rightly, packed into text: what lets two revisions be compared image by image."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed(answers: Iterable[Sequence[bool]]) -> list[str]:
    """One text a network: a bit an image, eight to a byte, in base64."""
    return [base64.b64encode(np.packbits(np.asarray(each, dtype=bool)).tobytes()).decode() for each in answers]


def unpacked(texts: Any, images: Any) -> NDArray[np.bool_] | None:
    """(networks, images) of what `packed` made; None where it is no such thing, as in a file of an older winnow."""
    if not isinstance(texts, list) or not texts or not isinstance(images, int) or isinstance(images, bool):
        return None
    try:
        rows = [np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8) for text in texts]
    except (TypeError, ValueError):  # no text, no base64
        return None
    if images < 1 or any(len(row) != (images + 7) // 8 for row in rows):
        return None
    return np.stack([np.unpackbits(row, count=images).astype(bool) for row in rows])
