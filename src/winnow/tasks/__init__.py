"""What is learnt: what is read, how right an answer is, what is looked at. A task is one file and one row here."""

import dataclasses
import difflib
import functools
import importlib
from typing import TYPE_CHECKING

from winnow.core.errors import Refused, blamed

if TYPE_CHECKING:  # the names are known without torch
    from winnow.tasks.task import Task

TASKS = {  # imported when asked for
    "image_classification": "winnow.tasks.classify:IMAGES",
    "audio_classification": "winnow.tasks.audio:AUDIO",
    "clicks": "winnow.tasks.clicks:CLICKS",
    "detection": "winnow.tasks.detection:DETECTION",
    "retrieval": "winnow.tasks.retrieval:RETRIEVAL",
}


USUAL = "image_classification"  # where nobody says what is learnt


def usual() -> "Task":
    return task_named(USUAL)


def task_named(name: str) -> "Task":
    """The task called `name`, or a user's own at "my_package.my_module:TASK". Refused otherwise."""
    if name in TASKS:
        return _at(TASKS[name])
    if ":" not in name:
        close = difflib.get_close_matches(name, TASKS, 1)
        hint = f"; nearest: {close[0]!r}" if close else ""
        raise Refused(f"no task {name!r}{hint} (known: {', '.join(TASKS)}, or your own my_package.my_module:TASK)")
    return _at(name)


@functools.cache
def _at(path: str) -> "Task":
    from winnow.tasks.task import Task

    module, _, variable = path.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), variable]):
        raise Refused(f"task {path!r} is no dotted path: write it like 'my_package.my_module:TASK'")
    with blamed(f"task {path!r}"):
        found = getattr(importlib.import_module(module), variable, None)
    if not isinstance(found, Task):
        raise Refused(f"task {path!r}: module {module!r} has no winnow.tasks.task.Task called {variable!r}")
    return found if found.name in TASKS else dataclasses.replace(found, name=path)
