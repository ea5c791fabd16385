"""Lists of architectures scored by several processes. Each has one thread, so their number changes no score."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.reduction import ForkingPickler

import torch

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.system import heap

Score = Callable[[Sequence[Architecture]], list[dict]]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums of several threads are rounded otherwise; and networks of this size gain nothing from a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def scored_by(
    workers: int, make: Callable[[], Score], lists: Sequence[Sequence[Architecture]]
) -> Iterator[tuple[int, list[dict]]]:
    """The index of each list and the rows of `make()` for it, as they become ready; `make` runs once in each process.

    Refused where `make` refuses, and where it cannot be sent to another process. Workers end with this process, however
    it ends.
    """
    workers = min(workers, len(lists))
    if workers <= 1:
        with one_thread():
            if lists:
                score = make()
                for index, archs in enumerate(lists):
                    yield index, score(archs)
        return
    if reason := unsendable(make):
        raise Refused(f"this cannot be sent to other processes, score with one worker: {reason}")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(make,)) as pool:
        running = {pool.submit(_score, archs): index for index, archs in enumerate(lists)}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def unsendable(what: object) -> str:
    """Why `what`, a space of somebody's own maybe, cannot be sent to another process; empty where it can."""
    try:
        ForkingPickler.dumps(what)
    except Exception as error:  # whatever one of its modules raises
        return str(error)
    return ""


class _Worker:
    """What a worker process has: how to make its scorer, and the scorer once it is asked for."""

    make: Callable[[], Score] | None = None
    score: Score | None = None


def _begin(make: Callable[[], Score]) -> None:
    heap.keep()
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Worker.make = make


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _score(archs: Sequence[Architecture]) -> list[dict]:
    if _Worker.score is None:
        assert _Worker.make is not None
        _Worker.score = _Worker.make()
    return _Worker.score(archs)
