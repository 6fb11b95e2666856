"""What worker processes would do is done in this process: for tests of what comes of it, not of the processes.

Each fresh process loads what it needs anew, which takes longer than to make tiny people.
"""

import contextlib
from collections.abc import Iterator
from unittest import mock

from tfface.data import workers as worker_processes


@contextlib.contextmanager
def _pool(shared: object, *, workers: int | None = None) -> Iterator[worker_processes.Run]:
    yield lambda function, jobs: (function(shared, job) for job in jobs)


def workers() -> contextlib.AbstractContextManager[object]:
    """Meanwhile `tfface.data.workers.pool` gives no processes."""
    return mock.patch.object(worker_processes, "pool", _pool)
