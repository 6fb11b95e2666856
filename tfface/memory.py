"""Whether memory that was used goes back to the system: at once for a server, never for a training.

glibc alone can be told; elsewhere nothing changes.
"""

import ctypes
import os
from typing import Any

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8  # M_... of malloc.h
_LARGE = 1 << 20
"""Bytes. glibc raises its own bound to 32 MB with the first buffers that are freed; those below it then stay with the
arena of the thread that had them, of which a server has dozens."""

_NEVER = (1 << 31) - 1  # bytes; the largest that mallopt takes
_STEP = 64 << 20
"""Bytes that the heap grows by."""

_ARENAS = 2
"""Few, or what one thread has freed is of no use to another: there would be eight for each core."""


def return_large_buffers() -> None:
    """From now on, buffers of a megabyte and more go back to the system when they are freed."""
    _set({_MMAP_THRESHOLD: _LARGE})


def keep_buffers() -> None:
    """From now on, what is freed is kept for the next request, however large.

    Every large buffer is otherwise a mapping of its own, which the system fills with zeros, page by page, whenever it
    is asked for again: an eighth of the time of a training step, for which a third more memory is held at the peak
    (`benchmarks/allocation.py`). To be called before TensorFlow starts its threads. What the user has told glibc in
    the environment holds.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return
    _set({_TRIM_THRESHOLD: _NEVER, _TOP_PAD: _STEP, _MMAP_MAX: 0, _ARENA_MAX: _ARENAS})


def trim() -> None:
    """Gives back what is free within the arenas of all threads."""
    allocator = _libc()
    if hasattr(allocator, "malloc_trim"):
        allocator.malloc_trim(0)


def _set(values: dict[int, int]) -> None:
    allocator = _libc()
    if hasattr(allocator, "mallopt"):
        for parameter, value in values.items():
            allocator.mallopt(parameter, value)


def _libc() -> Any:
    return ctypes.CDLL(None)
