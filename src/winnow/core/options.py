"""Options by signature: name, bounds and default of an option stand once, where a function takes it.

    def beta_darts(bench, recipe, *, strength: Weight = 50.0): ...

What is keyword-only is an option. The types below say what it takes; `Literal["a", "b"]`, `bool`, `str`, lists of such
and `None` do too.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen

from winnow.core.errors import Refused

Positive = Annotated[int, Ge(1)]
NotNegative = Annotated[int, Ge(0)]
Several = Annotated[int, Ge(2)]
Rate = Annotated[float, Gt(0)]
Weight = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Le(1)]
Distinct = MinLen(1)


def options_of(functions: Iterable[Callable[..., Any]], told: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Of each option that any of `functions` takes by keyword alone: its type, and its default or ... for none.

    Where `told` are names of what a function is told by the program, all others are options, by keyword or not.
    Refused where one has no annotation: nothing could be checked against it.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for function in functions:
        hints = get_type_hints(function, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            if name not in told if told else parameter.kind is parameter.KEYWORD_ONLY:
                if name not in hints:
                    raise Refused(
                        f"{function.__module__}:{function.__qualname__}: option {name!r} has no annotation: write what "
                        f"it takes, as in {name}: float = 1.0"
                    )
                given = parameter.default
                found.setdefault(name, (hints[name], ... if given is parameter.empty else given))
    return found


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether `function` has a parameter of that name, or takes any."""
    given = inspect.signature(function).parameters
    return name in given or any(each.kind is each.VAR_KEYWORD for each in given.values())


def taken(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that `function` takes by keyword alone."""
    names = options_of([function])
    return {name: value for name, value in options.items() if name in names}
