"""Every reader of files against damaged and hostile input: a sentence (Refused) or a result, in time, and nothing left.

    python -m tests.fuzz --count 10000 [--seed 0]

A reader gets its file with bytes flipped, cut, doubled or exchanged, and, where it holds names and values, with values
exchanged for others in a file that is otherwise whole. Allowed: a result, or Refused. Found: any other exception, more
than `PATIENCE` seconds, and a file that was not there before.
"""

import argparse
import collections
import contextlib
import copy
import io
import json
import random
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from winnow.core.errors import Refused

PATIENCE = 20  # seconds
WEIRD: list[Any] = [
    None, True, 0, -1, 1, 3, 7, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.1, 1e308, float("nan"), float("inf"), "", "x",
    "0", "../../up", "a:b", "os:system", "\x00", "ä" * 300, [], [[]], {}, {"": None}, [None] * 3, ["x"] * 50,
    {"a": {"b": []}},
]  # fmt: skip
SPICE = [
    b"\0" * 8,
    b"\xff" * 8,
    b"{",
    b"[" * 5000,
    b"]",
    b'"',
    b"null",
    b": ",
    b"\n- ",
    b"*a",
    b"&a",
    b"!!python/name:os",
    b"1e999",
    b"-",
]


@dataclass(frozen=True)
class Target:
    """`read(path)` reads the file at `path`; `parse` and `dump` take its names and values out and put others in."""

    name: str
    original: Path
    read: Callable[[Path], object]
    parse: Callable[[Path], Any] | None = None
    dump: Callable[[Any, Path], None] | None = None


class Slow(BaseException):
    """Beyond patience; no reader may take it for an error of its own."""


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four accidents."""
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice([1, 1, 4, 16, 64, 256])
        match rng.randrange(6):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[at + length :]
            case 2:
                data = data[:at] + data[at : at + length] * 2 + data[at + length :]
            case 3:
                data = data[:at] + rng.choice(SPICE) + data[at:]
            case 4:
                data = data[:at] + rng.randbytes(length) + data[at + length :]
            case _:
                data = data[:at] + bytes(byte ^ (1 << rng.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]
    return data


def altered(tree: Any, rng: random.Random) -> Any:
    """The names and values with one to three of them exchanged, gone or doubled under another name."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            return rng.choice(WEIRD)
        holder, key = rng.choice(places)
        match rng.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[f"{key}{rng.choice(['', 's', ' ', '.x'])}" if isinstance(key, str) else "x"] = holder[key]
            case 2:
                other, source = rng.choice(places)
                with contextlib.suppress(KeyError, IndexError):
                    holder[key] = copy.deepcopy(other[source])
            case _:
                holder[key] = copy.deepcopy(rng.choice(WEIRD))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(entries):
        yield tree, key
        yield from _places(value)


def attack(target: Target, count: int, seed: int, folder: Path) -> tuple[collections.Counter, list[str]]:
    """What became of `count` inputs, and what was found, each once by the place where it was raised."""
    rng, outcomes, found = random.Random(f"{seed} {target.name}"), collections.Counter(), {}
    whole, path = target.original.read_bytes(), folder / target.original.name
    tree = target.parse(target.original) if target.parse else None
    signal.signal(signal.SIGALRM, _too_slow)
    for number in range(count):
        if target.dump and rng.random() < 0.6:
            with contextlib.suppress(TypeError, ValueError, OverflowError):  # what JSON or YAML cannot write
                target.dump(altered(tree, rng), path)
        else:
            path.write_bytes(damaged(whole, rng))
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.read(path)
            outcomes["read"] += 1
        except Refused as refusal:
            outcomes["refused"] += 1
            if "\n" in str(refusal) and target.name != "params.yaml":
                found.setdefault("a refusal of several lines", (number, str(refusal)))
        except (Exception, Slow) as error:
            outcomes["found"] += 1
            last = [
                f
                for f in traceback.extract_tb(error.__traceback__)
                if "winnow" in f.filename or "pipelines" in f.filename
            ]
            place = f"{type(error).__name__} in {Path(last[-1].filename).name}:{last[-1].name}" if last else repr(error)
            found.setdefault(place, (number, str(error)))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        left = {entry.name for entry in folder.iterdir()} - {path.name}
        if left:
            outcomes["found"] += 1
            found.setdefault(f"left behind: {sorted(left)[0]}", (number, ""))
    return outcomes, [f"{target.name} #{number}: {place}: {text[:160]}" for place, (number, text) in found.items()]


def _too_slow(*_: object) -> None:
    raise Slow(f"more than {PATIENCE} s")


def json_of(path: Path) -> Any:
    return json.loads(path.read_text())


def as_json(tree: Any, path: Path) -> None:
    path.write_text(json.dumps(tree))


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def as_yaml(tree: Any, path: Path) -> None:
    path.write_text(yaml.safe_dump(tree))


def main() -> int:
    from tests.fuzz_targets import targets

    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000, help="inputs over all readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    failures, total = [], collections.Counter()
    with tempfile.TemporaryDirectory() as made:
        with contextlib.redirect_stdout(io.StringIO()):
            chosen = [t for t in targets(Path(made)) if arguments.only in t.name]
        for target in chosen:
            place = Path(tempfile.mkdtemp(dir=made))
            outcomes, found = attack(target, -(-arguments.count // len(chosen)), arguments.seed, place)
            shutil.rmtree(place)
            total += outcomes
            failures += found
            print(
                f"{target.name:<24} " + "  ".join(f"{k} {outcomes[k]:>5}" for k in ("read", "refused", "found")),
                flush=True,
            )
    print(f"{'together':<24} " + "  ".join(f"{k} {total[k]:>5}" for k in ("read", "refused", "found")))
    print("\n".join(failures) or "nothing found")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
