"""Memory that a server has used goes back to the system; glibc would keep it for the next large request of a thread."""

import ctypes
from typing import Any

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
_LARGE = 1 << 20
"""Bytes. glibc raises its own bound to 32 MB with the first buffers that are freed; those below it then stay with the
arena of the thread that had them, of which a server has dozens."""


def return_large_buffers() -> None:
    """From now on, buffers of a megabyte and more go back to the system when they are freed; glibc alone has this."""
    allocator = _libc()
    if hasattr(allocator, "mallopt"):
        allocator.mallopt(_MMAP_THRESHOLD, _LARGE)


def trim() -> None:
    """Gives back what is free within the arenas of all threads; glibc alone has this."""
    allocator = _libc()
    if hasattr(allocator, "malloc_trim"):
        allocator.malloc_trim(0)


def _libc() -> Any:
    return ctypes.CDLL(None)
