"""The sources by name, and the door for a user's own."""

import difflib
import importlib
from collections.abc import Callable

from winnow.core.errors import Refused
from winnow.data.cifar10 import cifar10
from winnow.data.digits import digits
from winnow.data.image_folder import image_folder
from winnow.data.parquet import parquet
from winnow.data.source import Options, Source, checked

SOURCES: dict[str, Callable[[Options], Source]] = {
    "digits": digits,
    "parquet": parquet,
    "cifar10": cifar10,
    "image_folder": image_folder,
}


def load_source(name: str, options: Options) -> Source:
    """The data of the source `name`, or of a user's own `my_package.my_module:function`, checked.

    The function takes `Options` and returns a `Source`. Raises Refused on an unknown name and on unusable data.
    """
    source = find_source(name)(options)
    if not isinstance(source, Source):
        raise Refused(f"data.source {name!r} must return a winnow.data.source.Source, not {type(source).__name__}")
    return checked(source)


def find_source(name: str) -> Callable[[Options], Source]:
    """The function behind a name or a dotted path; Refused where there is none."""
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            return getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise Refused(f"data.source {name!r} cannot be imported ({error}); is it on PYTHONPATH?") from error
    if name not in SOURCES:
        close = difflib.get_close_matches(name, SOURCES, 1)
        hint = f"; nearest: {close[0]!r}" if close else ""
        raise Refused(f"no data.source {name!r}{hint} (known: {', '.join(SOURCES)}, or your own my_module:function)")
    return SOURCES[name]
