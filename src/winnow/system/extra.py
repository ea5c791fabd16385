"""Packages that only an extra brings."""

import importlib
from types import ModuleType

from winnow.core.errors import Refused


def needed(module: str, extra: str = "onnx") -> ModuleType:
    """The module; Refused, naming the extra to install, where it is not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Refused(f"this takes {error.name}, which is not installed: pip install 'winnow[{extra}]'") from error
