"""system.heap: pages that are freed are taken again, unless somebody chose otherwise."""

import os
import subprocess
import sys

import pytest

from winnow.system import heap

FAULTS = """
import ctypes, resource
from winnow.system import heap
print(heap.keep())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    at = [libc.malloc(4 * 2**20) for _ in range(8)]
    for each in at:
        ctypes.memset(each, 1, 4 * 2**20)
    for each in at:
        libc.free(each)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
ONCE = 8 * 4 * 2**20 // os.sysconf("SC_PAGE_SIZE")  # pages of one round


def faults(**variables: str) -> tuple[bool, int]:
    """Whether it was told to keep, and how many pages twenty equal rounds of memory took."""
    own = {name: value for name, value in os.environ.items() if "MALLOC" not in name + value.upper()}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=own | variables
    )
    told, count = done.stdout.split()
    return told == "True", int(count)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", ()), reason="needs glibc")
def test_memory_that_is_freed_is_taken_again_and_a_choice_of_the_users_stands():
    kept, few = faults()
    assert kept
    assert few < 2 * ONCE
    kept, many = faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    assert many > 10 * ONCE


@pytest.mark.parametrize(
    "variables",
    [
        {"MALLOC_ARENA_MAX": "2"},
        {"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"},
        {"GLIBC_TUNABLES": "glibc.malloc.check=0"},
    ],
)
def test_who_chose_is_not_overruled(monkeypatch, variables):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: pytest.fail("malloc was told something"))
    assert not heap.keep(variables)


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())  # musl: no mallopt
    assert not heap.keep({})
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not heap.keep({})
