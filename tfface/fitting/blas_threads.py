"""One thread for small matrices.

Threads of BLAS wait for each other longer than such products take; where processors are shared, or a container may use
fewer than it sees, ten times as long.
"""

import contextlib
import functools
from collections.abc import Iterator

import threadpoolctl


@functools.cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    """Those that are loaded; to look for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """NumPy's products have one thread meanwhile.

    The limit is the process's. If several threads need it at a time, the last to end may leave it behind, as OpenBLAS
    takes more threads from nobody but who limited them.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        yield
