"""Fetch one file with a checksum; a connection that breaks is taken up where it broke, also by a later run."""

import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import pooch

from winnow.core.errors import Refused

TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 20


def fetch(url: str, checksum: str, folder: Path | None = None, *, attempts: int = 5, wait: float = 1.0) -> Path:
    """The file behind `url` in `folder` (None: the user's cache), checked against `checksum` ("md5:…", "sha256:…").

    A file that is there and right is not fetched again. Raises Refused after `attempts` in a row without a byte
    (`wait` seconds apart), on an answer such as 404, and on a wrong checksum; what came so far is kept as .part.
    """
    folder = Path(folder or pooch.os_cache("winnow"))
    name = url.rsplit("/", 1)[-1]
    part = folder / f"{name}.part"

    def downloader(address: str, target: str, _pooch: object) -> None:
        _download(address, part, attempts, wait)
        os.replace(part, target)  # checked there; a wrong file is deleted, so that no resume builds on it

    try:
        return Path(pooch.retrieve(url, checksum, name, folder, downloader=downloader))
    except OSError as error:
        raise Refused(f"cannot write to {folder} ({error}); {_by_hand()}") from error
    except ValueError as error:
        raise Refused(f"{url} does not have the checksum {checksum}: the file there was changed; try again") from error


def _download(url: str, part: Path, attempts: int, wait: float) -> None:
    """Fill `part` to its full length."""
    failures, reason = 0, ""
    while failures < attempts:
        before = _size(part)
        try:
            if _append(url, part):
                return
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # more bytes here than there: another file
                part.unlink()
            elif error.code < 500:
                raise Refused(f"{url} answers {error.code} {error.reason}; {_by_hand()}") from error
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        failures = 1 if _size(part) > before else failures + 1
        if failures < attempts:
            time.sleep(wait)
    raise Refused(f"could not fetch {url} ({reason}); run again to go on from {_size(part):,} bytes, or {_by_hand()}")


def _append(url: str, part: Path) -> bool:
    """Ask for what is missing and write it as it comes; True when the file has its full length."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != 206:  # the server sends the whole file
            start = 0
        length = answer.headers.get("Content-Length")
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            while block := answer.read(BLOCK):
                file.write(block)
    return length is None or _size(part) == start + int(length)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _by_hand() -> str:
    return "fetch the file by other means and set data.path to it"
