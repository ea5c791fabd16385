"""core.streams and core.stop: neither what is printed nor who ends a process loses work."""

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys

import pytest

from winnow.system.stop import Stopped, stoppable
from winnow.system.streams import Loose, loosen


class Full(io.StringIO):
    """As a terminal that went away, or a log on a disk without room."""

    def __init__(self, code: int):
        super().__init__()
        self.code = code

    def write(self, text):
        raise OSError(self.code, os.strerror(self.code))


def test_a_reader_that_went_away_ends_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        loose = Loose(stream)
        for _ in range(3):
            loose.write("more than a buffer holds " * 10_000)
            print("and this", file=loose, flush=True)
        loose.writelines(["a", "b"])


@pytest.mark.parametrize(("code", "told"), [(errno.EIO, ""), (errno.EPIPE, ""), (errno.ENOSPC, "No space left")])
def test_only_a_full_disk_is_told(capsys, code, told):
    assert Loose(Full(code)).write("text") == 4
    err = capsys.readouterr().err
    assert told in err
    assert bool(err) == bool(told)


def test_it_is_the_stream_otherwise():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert Loose(stream).encoding == "latin-1"
    assert Loose(stream).buffer is stream.buffer


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_letters_that_a_terminal_has_not_are_replaced(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)  # closed by the caller
    loosen()
    print("→ perturbation\udcff")  # the second: a byte of a folder's name that is no letter
    sys.stdout.flush()
    arrow = "→" if encoding == "utf-8" else "?"
    assert stream.buffer.getvalue().decode(encoding) == f"{arrow} perturbation?\n"
    before = sys.stdout
    loosen()
    assert sys.stdout is before
    assert sys.stderr is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_block_once_and_as_ctrl_c_does(number):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)]
    put_in_order = []

    def work():
        try:
            os.kill(os.getpid(), number)
        finally:
            for again in (signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), again)
            put_in_order.append(True)

    with pytest.raises(KeyboardInterrupt) as found, stoppable():
        work()
    assert put_in_order
    assert isinstance(found.value, Stopped)
    assert found.value.status == 128 + number
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)] == before


def test_what_the_caller_ignores_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


PATIENT = """
import sys, time, click
from winnow.cli import main as cli

@cli.cli.command()
def wait():
    with open(sys.argv[-1], "w") as out:
        try:
            click.echo("begun")
            time.sleep(60)
        finally:
            out.write("in order")

sys.argv[1:] = ["wait"]
sys.argv.append(FOLDER)
cli.main(["wait"])
"""


def _command(path, **more):
    return subprocess.Popen([sys.executable, "-c", PATIENT.replace("FOLDER", repr(str(path)))], **more)


@pytest.mark.parametrize("closed", [False, True], ids=["read", "reader gone"])
def test_a_command_line_that_is_stopped_puts_things_in_order(tmp_path, closed):
    path = tmp_path / "out"
    process = _command(path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process, contextlib.ExitStack() as later:
        later.callback(process.kill)
        process.stdout.readline()
        if closed:
            process.stdout.close()
            process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        if not closed:
            assert process.stderr.read().strip().startswith("winnow: stopped; what was finished is kept")
    assert path.read_text() == "in order"
