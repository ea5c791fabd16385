"""What a command prints is not its work: streams that show what they can and never end it."""

import contextlib
import errno
import os
import sys
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO, errno.ENXIO)  # the reader of a pipe, or a terminal, went away: that is no news


class Loose:
    """A text stream whose reader may go away and whose disk may be full: then it goes to nowhere, and work goes on."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._leave(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        """From here on the file behind the stream is the null device, for what is still in its buffer, too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError, ValueError):  # a stream that is no file has nothing to be sent elsewhere
            os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if error.errno not in GONE and sys.stderr is not self:
            print(f"warning: what is printed cannot be written ({error.strerror}): going on without", file=sys.stderr)


def loosen() -> None:
    """Make `sys.stdout` and `sys.stderr` such streams; characters that the terminal has not become question marks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Loose):
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace" if name == "stdout" else "backslashreplace")
        setattr(sys, name, Loose(stream))
