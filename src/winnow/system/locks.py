"""File locks that end with the process, however it ends: the kernel's, or process numbers where there are none."""

import contextlib
import errno
import fcntl
import functools
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)  # some NFS, Lustre, FUSE mounts
POLL = 0.05  # seconds between two looks at a process that holds what we wait for


def take(file: IO[Any], *, shared: bool = False, wait: bool = False) -> bool:
    """Lock the open `file`, which `let_go` or the end of the process undoes; False where another process has it.

    Where the file system has no locks, `<file>.holder` names the process that has it, and one line says what that is
    worth. Open for writing what is locked: an exclusive lock on NFS takes that.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _say_once()
        while not (ours := _noted(_holder(file.name))) and wait:
            time.sleep(POLL)
        return ours
    return True


def let_go(file: IO[Any], now: Path | None = None) -> None:
    """Undo a `take` that was True; `now` is where the file lies if it was moved since it was opened."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
        return
    _holder(now or file.name).unlink(missing_ok=True)


def _holder(path: Path | str) -> Path:
    return Path(f"{path}.holder")


def _noted(path: Path) -> bool:
    """Whether `path` names this process now, as no living one was there; True as well where nothing can be written."""
    for _ in range(2):
        try:
            with open(path, "x") as file:
                file.write(_name(os.getpid()))
            return True
        except FileExistsError:
            with contextlib.suppress(OSError, ValueError):
                named = path.read_text(encoding="utf-8")
                if not named or named == _name(int(named.split()[1])):  # empty: just being written
                    return False
            path.unlink(missing_ok=True)  # of a process that is gone, or of another machine
        except OSError:
            return True
    return False


def _name(pid: int) -> str:
    """A process as no later one is called: host, number, and when it began; "gone" for one that does not live."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    began = ""
    with contextlib.suppress(OSError, IndexError):  # outside Linux the number alone
        began = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return f"{socket.gethostname()} {pid} {began}"


@functools.cache
def _say_once() -> None:
    print(
        "warning: this file system has no file locks: winnow goes by process numbers instead, which tell nothing of "
        "other machines: let one machine at a time work on this project",
        file=sys.stderr,
        flush=True,
    )
