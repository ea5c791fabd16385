"""Addresses (of servers, databases, repositories) as they may be shown, and texts that must not tell a secret.

An address can carry a secret as `user:password@`, as a lone `token@`, after `?`, or in a password whose `@ / # [ ]`
were never encoded, where every parser sees something else. So there is one reading of addresses, here; what it cannot
read is refused, and shown as its scheme alone. Standard library only.
"""

import os
import re
import sys
import traceback
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote, unquote

from winnow.core.errors import Refused

HIDDEN = "…"
SHORTEST = 4  # characters of a password that is looked for in texts; shorter ones are found by their place only
SHORTEST_TOKEN = 8  # of a lone `name@`, which may be a user's name as well
ENCODED = "@ is %40, : is %3A, / is %2F, # is %23, ? is %3F, [ is %5B, ] is %5D, a blank is %20"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(:[A-Za-z][A-Za-z0-9+.\-]*)?\Z")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@\s\\]*)(:\d*)?\Z")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://(?:(?!://)\S)*")
_PAGE = re.compile(r"[\w/.\-]*\Z")
_OPTION = re.compile(r"(?i)(?<![\w-])(password|passwd|pwd|pgpassword)=[^\s&;,'\"]+")
_SECRET_NAME = re.compile(
    r"(?i)(password|passwd|passphrase|token|secret|api_?key|access_key|secret_key|signature|sig)\Z"
)

_known: set[str] = set()  # passwords and tokens of addresses this process was given


class Address(NamedTuple):
    """`scheme://user:password@host/path?query#fragment`; `host` has the port. User and password are decoded."""

    scheme: str
    user: str
    password: str
    host: str
    path: str
    query: str
    fragment: str

    @property
    def shown(self) -> str:
        """Without user, password and the values after `?`."""
        fragment = f"#{self.fragment if _PAGE.match(self.fragment) else HIDDEN}" if self.fragment else ""
        return f"{self.scheme}://{self.host}{self.path}{f'?{HIDDEN}' if self.query else ''}{fragment}"

    @property
    def without_user(self) -> str:
        query, fragment = f"?{self.query}" if self.query else "", f"#{self.fragment}" if self.fragment else ""
        return f"{self.scheme}://{self.host}{self.path}{query}{fragment}"


def read_address(text: str, name: str) -> Address:
    """The parts of an address; its secrets are remembered, for `redact`. `name` says whose it is, for the refusal.

    Refused where two parsers could disagree on where the password ends; the sentence shows none of it.
    """
    found = _parsed(text.strip())
    if found is None:
        _known.update(part for part in _pieces(text) if len(part) >= SHORTEST)
        raise Refused(
            f"{name} is {public(text)}, which is no address as it stands: in a user name, a password or a path, "
            f"characters that have a meaning in addresses are written encoded ({ENCODED}), and a port is a number"
        )
    _known.update(_secrets(found))
    return found


def public(text: str) -> str:
    """An address as it may be shown: without user, password and options; of what cannot be read only the scheme."""
    text = text.strip()
    scheme, mark, rest = text.partition("://")
    if not mark:
        head, at, tail = text.rpartition("@")
        return tail if at and (":" in head or "/" in head) else text
    if rest.startswith("/"):  # a file
        return f"{scheme}://{rest.partition('?')[0]}{f'?{HIDDEN}' if '?' in rest else ''}"
    found = _parsed(text)
    return found.shown if found else f"{scheme if _SCHEME.match(scheme) else ''}://{HIDDEN}"


def redact(text: str) -> str:
    """The text with its addresses as they may be shown, and without the secrets this process knows."""
    for secret in sorted(_known | _of_environment(), key=len, reverse=True):
        if secret in text:
            before, after = (r"(?<!\w)" if secret[0].isalnum() else ""), (r"(?!\w)" if secret[-1].isalnum() else "")
            text = re.sub(f"{before}{re.escape(secret)}{after}", HIDDEN, text)
    return _OPTION.sub(lambda found: f"{found[1]}={HIDDEN}", _IN_TEXT.sub(_shown, text))


def redacted_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For `sys.excepthook`: what MLflow, SQLAlchemy and drivers raise may quote an address."""
    lines = traceback.format_exception(kind, error, trace)
    print(redact("".join(lines)), end="", file=sys.stderr)


def _parsed(text: str) -> Address | None:
    scheme, mark, rest = text.partition("://")
    if not mark or not _SCHEME.match(scheme):
        return None
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    behind, named = rest[len(authority) :], scheme.lower().startswith(("databricks", "uc"))  # host:port or name:prefix
    user, at, host = authority.rpartition("@")
    if (authority and "@" in behind) or "@" in user or re.search(r"[\[\]\s\\]", user):
        return None
    if not _HOST.match(host) and not (named and not at):
        return None
    path, mark, rest = re.fullmatch(r"([^?#]*)([?#]?)(.*)", behind, re.S).groups()  # type: ignore[union-attr]
    query, fragment = (rest, "") if mark == "?" else ("", rest)  # SQLAlchemy's options may hold a #
    name, _, password = user.partition(":")
    return Address(scheme.lower(), unquote(name), unquote(password), host, path, query, fragment)


def _shown(found: re.Match[str]) -> str:
    """An address within a text, where quotes and punctuation end it; a stray @ behind them hides all of it."""
    token = found[0]
    head = re.split(r"[\"'<>`]", token, maxsplit=1)[0].rstrip(".,;:!?)}")
    if head.endswith("]") and "[" not in head:
        head = head.rstrip("].,;:!?)}")
    tail = token[len(head) :]
    if "@" in tail:
        return f"{head.partition('://')[0]}://{HIDDEN}"
    options = (option.partition("=")[0] for option in re.split("[?&;#]", head)[1:])
    return public(head) + tail if "@" in head or any(map(_SECRET_NAME.search, options)) else token


def _secrets(address: Address) -> set[str]:
    """Password, lone token and secret options, as they are and as they may be written."""
    options = [option.partition("=") for option in address.query.split("&")]
    values = [value if mark else key for key, mark, value in options if not mark or _SECRET_NAME.search(key)]
    found = {address.password, *(unquote(value) for value in values)}
    if address.scheme in ("http", "https") and not address.password and len(address.user) >= SHORTEST_TOKEN:
        found.add(address.user)
    return {form for secret in found if len(secret) >= SHORTEST for form in (secret, quote(secret, safe=""))}


def _pieces(text: str) -> set[str]:
    """What might be a secret in an address that cannot be read: the whole, and what stands before its last @."""
    rest = text.strip().partition("://")[2]
    user = rest.rpartition("@")[0]
    return {rest, user, user.partition(":")[2]}


def _of_environment() -> set[str]:
    """What variables with telling names hold (MLFLOW_TRACKING_TOKEN, WANDB_API_KEY), and passwords of addresses."""
    found: set[str] = set()
    for name, value in os.environ.items():
        value = value.strip()
        if _SECRET_NAME.search(name):
            found.add(value)
        elif "://" in value and (address := _parsed(value)):
            found |= _secrets(address)
    return {secret for secret in found if len(secret) >= SHORTEST}
