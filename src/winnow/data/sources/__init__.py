"""The sources by name, and the door for a user's own."""

import difflib
from collections.abc import Callable
from typing import Any

from winnow.core.dotted import function_at
from winnow.core.errors import Refused, blamed
from winnow.data.source import Options, Source, checked
from winnow.data.sources import (
    audio_parquet,
    boxes_parquet,
    cifar10,
    cifar100,
    coco,
    digits,
    image_folder,
    omniglot,
    parquet,
    svhn,
    table_parquet,
    voc,
)

SOURCES: dict[str, Callable[..., Source]] = {
    "omniglot": omniglot.omniglot,
    "digits": digits.digits,
    "parquet": parquet.parquet,
    "cifar10": cifar10.cifar10,
    "cifar100": cifar100.cifar100,
    "svhn": svhn.svhn,
    "image_folder": image_folder.image_folder,
    "audio_parquet": audio_parquet.audio_parquet,
    "table_parquet": table_parquet.table_parquet,
    "boxes_parquet": boxes_parquet.boxes_parquet,
    "coco": coco.coco,
    "voc": voc.voc,
}


def load_source(name: str, options: Options, **own: Any) -> Source:
    """The data of the source `name`, or of a user's own `my_package.my_module:function`, checked.

    The function takes `Options` and, by keyword, its `own`; it returns a `Source`. Raises Refused on an unknown name
    and on unusable data.
    """
    found = find_source(name)
    with blamed(f"data.source {name!r}"):
        source = found(options, **own)
    if not isinstance(source, Source):
        raise Refused(f"data.source {name!r} must return a winnow.data.source.Source, not {type(source).__name__}")
    return checked(source)


def find_source(name: str) -> Callable[..., Source]:
    """The function behind a name or a dotted path; Refused where there is none."""
    if ":" in name:
        return function_at(name, f"data.source {name!r}")
    if name not in SOURCES:
        close = difflib.get_close_matches(name, SOURCES, 1)
        hint = f"; nearest: {close[0]!r}" if close else ""
        raise Refused(f"no data.source {name!r}{hint} (known: {', '.join(SOURCES)}, or your own my_module:function)")
    return SOURCES[name]
