"""What becomes of freed memory, counted in pages that the system had to fill anew."""

import ctypes
import os
import subprocess
import sys

import pytest

_LARGE = 64 << 20  # above 32 MB, glibc maps every buffer for itself

_PROGRAM = """
import resource, sys
from tfface import memory

getattr(memory, sys.argv[1])() if sys.argv[1] else None
def filled():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    len(b"x" * int(sys.argv[2]))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
filled(), filled()
print(filled())
"""


def faults(call, size, **environment):
    """Page faults of a buffer that is asked for again after it was freed, `call` of `memory` having been made."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, call, str(size)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(ended.stdout)


pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc can be told what becomes of freed memory"
)


def test_a_training_keeps_its_buffers():
    assert faults("", _LARGE) >= _LARGE >> 21  # a fault for each page, even if pages have 2 MB
    assert faults("keep_buffers", _LARGE) <= 3


def test_a_server_gives_them_back():
    size = 8 << 20  # below glibc's own bound, once one of them was freed
    assert faults("", size) <= 3
    assert faults("return_large_buffers", size) >= size >> 21


def test_what_the_user_has_told_glibc_holds():
    assert faults("keep_buffers", _LARGE, MALLOC_ARENA_MAX="4") >= _LARGE >> 21
    assert faults("keep_buffers", _LARGE, GLIBC_TUNABLES="glibc.malloc.arena_max=4") >= _LARGE >> 21
