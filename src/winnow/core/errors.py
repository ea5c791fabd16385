"""The one exception whose text is meant for the person at the keyboard, and how a user's own code comes to raise it."""

import contextlib
import linecache
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

LONGEST = 400  # characters of what somebody else's exception says; some list every backend there is


class Refused(Exception):
    """What was asked cannot be done; the message says in one sentence what, why, and what would work.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """


@contextlib.contextmanager
def blamed(what: str) -> Iterator[None]:
    """Run code that a user brought, a builder or a data function: what it raises is Refused, with the user's own line.

    `what` begins the sentence, as in "space 'my_net:build'". Refused passes as it is, and so does a device that is out
    of memory: who runs the stage knows what to lower. `sys.exit()` in such code is an exception like any other.
    """
    try:
        yield
    except Refused:
        raise
    except (Exception, SystemExit) as error:
        if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported for a sentence
            raise
        raise Refused(f"{what}: {told(error)}") from error


def told(error: BaseException) -> str:
    """Type and first line of what an exception says, and on a line of its own the last line of a user's code it passed.

    Two lines where the first is a heading; cut where one runs on.

    A user's code is what lies outside winnow, Python and its installed packages; where there is none of that, what was
    installed beside them. A ValueError that no such code let through is a sentence of winnow already.
    """
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    said = said if len(said) <= LONGEST else said[: LONGEST - 1] + "…"
    place = _place(error)
    if place is None and said and isinstance(error, ValueError):
        return said
    sentence = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if place is None:
        return sentence
    path, number = place
    source = linecache.getline(path, number).strip()
    with contextlib.suppress(ValueError):
        path = str(Path(path).relative_to(Path.cwd()))
    return f"{sentence}\n  {path}, line {number}" + (f": {source}" if source else "")


def passed_users(error: BaseException) -> bool:
    """Whether an exception came through a user's code."""
    return _place(error) is not None


def _place(error: BaseException) -> tuple[str, int] | None:
    """File and line of the innermost frame that is a user's."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return error.filename, error.lineno or 1
    frames = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        path, top = frame.f_code.co_filename, frame.f_globals.get("__name__", "").partition(".")[0]
        if not path.startswith("<") and top not in ("winnow", "torch", *sys.stdlib_module_names):
            frames.append((path, number))
    own = [place for place in frames if not Path(place[0]).is_relative_to(sysconfig.get_path("purelib"))]
    found = own or frames
    return found[-1] if found else None
