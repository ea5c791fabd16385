"""The other end of `processes`: makes an evaluator and runs the jobs that come, until nobody is left to ask.

python -m winnow.trials.worker <pipe>, and what to do as the first line of standard input, as JSON.
"""

import importlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from winnow.core.errors import Refused
from winnow.trials.outcome import FAILED, Evaluate, Job, attempt

ORPHANED = 3


def evaluator(factory: str, settings: Mapping[str, Any]) -> Evaluate:
    """What "package.module:function" makes of `settings`. Refused where there is no such function."""
    module, _, function = factory.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"no evaluator {factory!r}: write it like 'my_package.my_module:make' ({error})") from error
    try:
        made: Evaluate = make(**settings)
    except Refused:
        raise
    except Exception as error:  # the user's code; without it no trial can run
        raise Refused(f"evaluator {factory!r} could not be made: {type(error).__name__}: {error}") from error
    return made


def serve(pipe: int, what: Mapping[str, Any]) -> int:
    """Exit status: 0 after jobs, 1 after one that failed."""
    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(inbox.put,), daemon=True).start()

    answers = os.fdopen(pipe, "wb")

    def send(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    def ask(step: int, values: list[float]) -> bool:
        send({"report": [step, values]})
        return bool(inbox.get()["stop"])

    try:
        evaluate = evaluator(what["factory"], what["settings"])
        while True:
            outcome = attempt(evaluate, Job.of(inbox.get()["job"], _own(what["device"]), ask))
            send({"outcome": {**outcome.described(), "device": what["device"]}})
            if outcome.state == FAILED:
                return 1
    except Refused as refusal:
        send({"refused": str(refusal)})
        return 2


def _own(device: str) -> str:
    """A lease is the only device that this process sees."""
    return "cuda:0" if device.startswith("cuda") else device


def _listen(put: Callable[[dict[str, Any]], None]) -> None:
    """Pass messages on; leave at once when the driver is gone, whatever the evaluator is doing."""
    for line in sys.stdin.buffer:
        put(json.loads(line))
    os._exit(ORPHANED)


if __name__ == "__main__":
    described = json.loads(sys.stdin.buffer.readline() or "null")
    if described is None:  # the driver is gone already
        sys.exit(ORPHANED)
    sys.path[:] = described["path"]
    sys.exit(serve(int(sys.argv[1]), described))
