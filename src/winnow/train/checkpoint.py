"""What a long computation keeps of itself so that it can be stopped anywhere: its state, in and out, without paths.

A loop hands everything that changes to `Keeper.rounds` and says after each step that it could be left here:

    for epoch in keeper.rounds(epochs, "epoch", model=model, optimiser=optimiser, batches=cursor, losses=losses):
        for batch in cursor.epoch():
            ...
            keeper.due()

A method with state of its own adds it by one more line before the loop: `keeper.add(draws=generator)`.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from winnow.core.errors import Refused
from winnow.train.seeds import put_streams_back, streams

MOST = 0.02  # the share of time that may go into checkpoints: large states are kept less often than asked for


@dataclass
class Level:
    """A loop that is running: which round it is in, and the parts that it and whoever it calls have added."""

    label: str
    parts: dict[str, Any] = field(default_factory=dict)
    at: int = 0


class Keeper:
    """Keeps the state of nested loops by `save` every `seconds`, and begins them where `found`, once saved, left off.

    Without `save` it keeps nothing, which is what tests and library callers want. Parts are tensors, generators,
    `random.Random`, dicts and lists of plain values and tensors, what has `state_dict` (modules, optimisers,
    schedulers), and what has `state()` and `restore(state)`. All are restored in place. torch's global streams are kept
    too: a loop runs inside `seeded`.
    """

    def __init__(
        self,
        save: Callable[[dict[str, Any]], None] | None = None,
        found: Mapping[str, Any] | None = None,
        seconds: float = 0.0,
    ):
        self.save, self.seconds = save, seconds
        self.levels = [Level("")]
        self.found: list[dict[str, Any]] = [] if found is None else list(found["levels"])  # not entered yet
        self.streams = None if found is None else found["streams"]
        self.last, self.cost = time.monotonic(), 0.0

    def add(self, **parts: Any) -> None:
        """Keep these, too, until the round of the loop around ends; those in the checkpoint are restored at once."""
        level, found = self.levels[-1], self.found[len(self.levels) - 1 : len(self.levels)]
        for name, part in parts.items():
            if part is not None:
                level.parts[name] = part
                if found and name in found[0]["parts"]:
                    try:
                        put_back(part, found[0]["parts"].pop(name))
                    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
                        raise _misfit(f"its {name!r} does not fit ({' '.join(str(error).split())})") from error

    def rounds(self, count: int, label: str, /, **parts: Any) -> Iterator[int]:
        """The numbers below `count` of the rounds of a loop that are still to do, the one that was left included."""
        depth, level = len(self.levels), Level(label)
        self.levels.append(level)
        try:
            if depth < len(self.found):
                self._check(self.found[depth], count, label, parts)
            self.add(**parts)
            first = 0
            if depth < len(self.found):
                first = self.found[depth]["at"]
                if depth == len(self.found) - 1:  # the loop that was left
                    assert self.streams is not None
                    put_streams_back(self.streams)
            for level.at in range(first, count):
                yield level.at
                del self.found[depth + 1 :]
                level.parts = {name: part for name, part in level.parts.items() if name in parts}
        finally:
            del self.levels[depth:], self.found[depth:]

    def _check(self, found: Mapping[str, Any], count: int, label: str, parts: Mapping[str, Any]) -> None:
        """Refused where `found` is of another loop than the one that is entered: what it lacks would begin anew."""
        outer = {id(part) for level in self.levels for part in level.parts.values()}
        kept = (name for name, part in parts.items() if part is not None and id(part) not in outer)
        lacking = [name for name in kept if name not in found["parts"]]
        if found["label"] != label or found["at"] >= count:
            raise _misfit(f"it was left in {found['label']} {found['at']}, which is none of {label} 0 to {count - 1}")
        if lacking:
            raise _misfit(f"it holds no {lacking[0]!r} of {label} {found['at']}")

    @contextlib.contextmanager
    def piece(self, **parts: Any) -> Iterator[None]:
        """Work that is no loop: run again, it finds in `parts` what it knew."""
        yield from self.rounds(1, "", **parts)  # type: ignore[misc]

    def given(self) -> dict[str, Any]:
        """What it was given to begin with and nobody has taken yet, for the `found` of another keeper."""
        return {"levels": self.found, "streams": self.streams}

    def due(self) -> None:
        """The computation could be left here: keep it, if it is time."""
        if self.save is not None and time.monotonic() - self.last >= max(self.seconds, self.cost / MOST):
            began = time.monotonic()
            self.keep()
            self.last = time.monotonic()
            self.cost = self.last - began

    def keep(self) -> None:
        """Keep the computation as it is here and now."""
        if self.save is not None:
            self.save(self.state())

    def state(self) -> dict[str, Any]:
        """Everything as plain values and tensors; what two loops share is in the outer one's."""
        seen: set[int] = set()
        levels = []
        for level in self.levels:
            own = {name: part for name, part in level.parts.items() if id(part) not in seen}
            seen |= {id(part) for part in own.values()}
            parts = {name: state_of(part) for name, part in own.items()}
            levels.append({"label": level.label, "at": level.at, "parts": parts})
        return {"levels": levels, "streams": streams()}


def _misfit(why: str) -> Refused:
    return Refused(
        f"the checkpoint is not of this run: {why}; `winnow clean --yes` removes it, and the run begins anew"
    )


def state_of(part: Any) -> Any:
    """The state of one part as plain values and tensors, not copied."""
    if isinstance(part, Tensor | dict | list):
        return part
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, random.Random):
        return part.getstate()
    return part.state_dict() if hasattr(part, "state_dict") else part.state()


def put_back(part: Any, state: Any) -> None:
    """Bring `part` to `state`, in place."""
    if isinstance(part, Tensor):
        with torch.no_grad():
            part.copy_(state)
    elif isinstance(part, dict):
        part.clear()
        part.update(state)
    elif isinstance(part, list):
        part[:] = state
    elif isinstance(part, torch.Generator):
        part.set_state(state)
    elif isinstance(part, random.Random):
        part.setstate(state)
    elif hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
        if isinstance(part, torch.optim.Optimizer):
            # it has made steps: a scheduler warns of those that it takes before any
            part._opt_called = True  # type: ignore[attr-defined]
    else:
        part.restore(state)


def reached(found: Mapping[str, Any]) -> str:
    """Where the loops of a saved state were left, as in "method 1, event 3, epoch 0"; rounds count from 0."""
    return ", ".join(f"{level['label']} {level['at']}" for level in found["levels"] if level["label"])
