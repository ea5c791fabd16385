"""What an operating system refuses of files, as a sentence."""

import errno
import os
import tempfile
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
SHUT = (errno.EROFS, errno.EACCES, errno.EPERM)
BROKEN = (errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ENOTDIR, errno.EISDIR)


def sentence(error: OSError) -> str | None:
    """One for the person at the keyboard; None where it is no matter of the disk, or nobody knows of which file."""
    if no_temporary(error):
        return f"there is no folder for temporary files ({error.strerror or error}): set TMPDIR to one with room"
    if error.filename is None and error.errno == errno.ENOENT and _here_is_gone():
        return "the present folder is gone: go to one that is there, with cd, and run the same command again"
    if error.errno in FULL:
        place = f" writing {error.filename}" if error.filename else ""
        if error.filename and _is_temporary(Path(str(error.filename))):
            place += ", a temporary file: set TMPDIR to a folder with room, or"
        else:
            place += ":"
        return f"the disk is full{place} free some space and run the same command again"
    if error.filename is None or error.errno not in SHUT + BROKEN:
        return None
    what = "make it readable and writable" if error.errno in SHUT else "mend that"
    return f"{error.filename} cannot be used ({error.strerror}): {what} and run the same command again"


def no_temporary(error: OSError) -> bool:
    """Whether it is what `tempfile`, or matplotlib on its behalf, says when no folder will do."""
    return error.filename is None and "temporary directory" in str(error)


def _here_is_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _is_temporary(path: Path) -> bool:
    """By its name: a project may lie below /tmp as well."""
    place = Path(tempfile.gettempdir())
    return path.is_relative_to(place) and path.relative_to(place).as_posix().startswith(tempfile.template)
