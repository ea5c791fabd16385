"""A server on the loopback which breaks off half way; nothing leaves this machine."""

import hashlib
import logging
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from winnow.core.errors import Refused
from winnow.data.sources.download import fetch

DATA = bytes(range(256)) * 4000  # 1 MB
CHECKSUM = "md5:" + hashlib.md5(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Sends DATA, or what a Range header asks for, and breaks off after the next of `breaks` bytes of a reply."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.breaks, self.ranges, self.status = DATA, [], [], None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers["Range"]
        self.server.ranges.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        if self.server.status or start >= len(self.server.data):
            self.send_response(self.server.status or 416)
            self.end_headers()
            return
        body = self.server.data[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks.pop(0)] if self.server.breaks else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    logging.getLogger("pooch").setLevel(logging.WARNING)
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_broken_download_is_taken_up_where_it_broke(server, tmp_path):
    server.breaks = [300_000, 0, 500_000]
    file = fetch(server.url, CHECKSUM, tmp_path, wait=0)
    assert file.read_bytes() == DATA
    assert server.ranges == [None, "bytes=300000-", "bytes=300000-", "bytes=800000-"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.tar.gz"]


def test_a_later_run_goes_on_too_and_a_whole_file_is_not_fetched_again(server, tmp_path):
    server.breaks = [100_000, 0]
    with pytest.raises(
        Refused, match=r"the connection broke.*run again to go on from 100,000 bytes, or fetch the file"
    ):
        fetch(server.url, CHECKSUM, tmp_path, attempts=2, wait=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.tar.gz.part"]
    assert fetch(server.url, CHECKSUM, tmp_path, wait=0).read_bytes() == DATA
    assert server.ranges[-1] == "bytes=100000-"
    asked = len(server.ranges)
    fetch(server.url, CHECKSUM, tmp_path, wait=0)
    assert len(server.ranges) == asked


def test_a_wrong_file_is_refused_and_not_built_upon(server, tmp_path):
    server.data = DATA[:-1] + b"x"
    with pytest.raises(Refused, match="does not have the checksum md5"):
        fetch(server.url, CHECKSUM, tmp_path, wait=0)
    assert list(tmp_path.iterdir()) == []


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "some.tar.gz.part").write_bytes(b"x" * (len(DATA) + 1))
    assert fetch(server.url, CHECKSUM, tmp_path, wait=0).read_bytes() == DATA
    assert server.ranges == [f"bytes={len(DATA) + 1}-", None]


def test_an_absent_file_is_refused_at_once_and_an_ill_server_tried_again(server, tmp_path):
    server.status = 404
    with pytest.raises(Refused, match=r"answers 404 Not Found; fetch the file by other means and set data.path"):
        fetch(server.url, CHECKSUM, tmp_path, wait=0)
    assert len(server.ranges) == 1
    server.status = 503
    with pytest.raises(Refused, match=r"could not fetch .* \(503 Service Unavailable\)"):
        fetch(server.url, CHECKSUM, tmp_path, attempts=3, wait=0)
    assert len(server.ranges) == 4


def test_no_connection_is_refused_in_a_sentence(server, tmp_path):
    url = server.url
    server.server_close()
    with pytest.raises(Refused, match=r"could not fetch .*refused.* set data.path to it"):
        fetch(url, CHECKSUM, tmp_path, attempts=2, wait=0)
