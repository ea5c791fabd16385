"""SIGTERM and SIGHUP end work as Ctrl-C does: what was finished is kept, runs are closed, workers end."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # `docker stop`, a scheduler at its limit; a terminal that was closed


class Stopped(KeyboardInterrupt):
    """What one of those signals raises; `status` is how a shell tells of it, 143 for SIGTERM."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` in the block at the first such signal; later ones are ignored, while things are put in order.

    As process 1 of a container, too, where a signal without a handler does nothing. What the caller ignores stays
    ignored, as SIGHUP is under nohup. Outside the main thread, which alone may set handlers, nothing changes.
    """
    ours = [s for s in SIGNALS if signal.getsignal(s) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []

    def stop(number: int, _: FrameType | None) -> None:
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for each in ours:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


def how_it_ended(status: int) -> str:
    """Of a process that nobody asked to end."""
    return f"ended with {signal.Signals(-status).name if status < 0 else f'status {status}'}"
