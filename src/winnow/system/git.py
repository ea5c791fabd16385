"""Asking git, and its own reason where it does not answer."""

import os
import subprocess
from pathlib import Path

SECONDS = 60.0
NO_REPOSITORY = "not a git repository"
NO_SUCH = ("Needed a single revision", "unknown revision", "bad revision", "ambiguous argument")


def asked(folder: Path, *words: str) -> tuple[str | None, str]:
    """What `git` answers in `folder` and ""; or None and why not, as git says it: one line, without "fatal: "."""
    command = ["git", "-C", str(folder.resolve()), *words]
    english = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, env=english)
    except FileNotFoundError:
        return None, "git is not installed"
    except OSError as error:
        return None, f"git cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return None, f"git {words[0]} did not answer within {SECONDS:.0f} seconds"
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        return None, said.partition("fatal: ")[2] or said or f"git {words[0]} ended with status {done.returncode}"
    return done.stdout.decode(errors="replace"), ""


def nothing_wrong(reason: str) -> bool:
    """Whether the reason is only that there is no git, no repository or no such commit."""
    return reason.startswith((NO_REPOSITORY, *NO_SUCH, "git is not installed"))
