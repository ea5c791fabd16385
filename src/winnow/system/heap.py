"""glibc's malloc, told to keep what is freed: a step of training frees its activations and takes as many again."""

import ctypes
import os
import sys
from collections.abc import Mapping

# By malloc.h. A mapping of its own only for what is as large as glibc allows here; the heap's top is never given back.
OPTIONS = {-3: 32 * 2**20, -1: 2**31 - 1}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def keep(variables: Mapping[str, str] = os.environ) -> bool:
    """Keep freed memory from here on, in this process; whether it is so.

    Else the system takes each activation back and gives empty pages for the next. No number changes by this. Nothing is
    done where somebody chose: by a variable MALLOC_..., glibc's own, or another malloc that is preloaded; nor where the
    C library has no such options (musl, macOS, Windows).
    """
    chosen = any(name.startswith("MALLOC_") for name in variables)
    if (
        sys.platform != "linux"
        or chosen
        or any("malloc" in variables.get(n, "") for n in ("GLIBC_TUNABLES", "LD_PRELOAD"))
    ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(option, value) == 1 for option, value in OPTIONS.items()])
