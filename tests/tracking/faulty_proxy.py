"""A reverse proxy that answers in the server's place where a rule says so: refusals, old servers, limits, delays."""

import contextlib
import http.client
import re
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace


@contextlib.contextmanager
def faulty_proxy(port: int, certificate: Path | None = None) -> Iterator[SimpleNamespace]:
    """In front of 127.0.0.1:`port`. `rules` are (pattern of "METHOD path", status, body); `seen` are such lines."""
    told = SimpleNamespace(rules=[], delay=0.0, seen=[])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            line = f"{self.command} {self.path}"
            told.seen.append(line)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(told.delay)
            for pattern, status, said in told.rules:
                if re.search(pattern, line):
                    self.reply(status, said, "text/html")
                    return
            server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            server.request(self.command, self.path, body, {**headers, "Host": f"127.0.0.1:{port}"})
            answer = server.getresponse()
            self.reply(answer.status, answer.read(), answer.getheader("Content-Type") or "text/plain")
            server.close()

        def reply(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        told.port, told.address = (
            server.server_port,
            f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}",
        )
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield told
        server.shutdown()
