"""A file is written whole or not at all, and as the umask of its writer has it."""

import contextlib
import glob
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well and goes away when it does not.

    A device or a pipe (/dev/null, /dev/stdout) is written to and stays what it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and (not (path.is_file() or path.is_dir()) or (path.is_symlink() and path.is_relative_to("/dev"))):
        with tempfile.TemporaryDirectory() as passing:
            yield Path(passing) / path.name
            path.write_bytes((Path(passing) / path.name).read_bytes())
        return
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????"):  # by a process that was killed
        left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # less the umask, unlike tempfile's
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors puts a file of its own there, which only its owner reads
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary)):  # what is asked for is what can be named to a user
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # as where all is read-only: the first error is the one to show
            temporary.unlink(missing_ok=True)
