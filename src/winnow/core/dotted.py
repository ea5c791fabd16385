"""What users name by a dotted path, "my_package.my_module:build"."""

import difflib
import importlib
from collections.abc import Callable
from typing import Any

from winnow.core.errors import Refused, blamed


def function_at(path: str, what: str) -> Callable[..., Any]:
    """The function (or class) at "package.module:name". Refused, beginning with `what`, where there is none."""
    module, _, function = path.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), function]):
        raise Refused(f"{what} is no dotted path: write it like 'my_package.my_module:build'")
    try:
        with blamed(what):
            imported = importlib.import_module(module)
    except Refused as refusal:
        missing = refusal.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{module}.".startswith(f"{missing.name}."):
            raise Refused(f"{what}: no module {missing.name!r} beside params.yaml or on PYTHONPATH") from missing
        raise
    found: Callable[..., Any] | None = getattr(imported, function, None)
    if not callable(found):
        known = [name for name, value in vars(imported).items() if callable(value)]
        near = difflib.get_close_matches(function, known, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise Refused(f"{what}: module {module!r} has no function {function!r}{hint}")
    return found
