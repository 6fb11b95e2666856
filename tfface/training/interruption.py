"""What stops a run from outside: a signal, or the loss of another worker; and the exit codes that say so.

The codes follow what schedulers make of them: Kubeflow's training operator restarts a replica whose code is above 128
and gives up on one whose code is lower, and Slurm requeues by what the batch script makes of them.
"""

import signal
import threading
import types
from typing import Any

import tensorflow as tf

EXIT_STOPPED = 128 + signal.SIGTERM
"""143: stopped by SIGTERM, the position is saved; the same command goes on."""
EXIT_WORKER_LOST = 138
"""Another worker is gone; start all workers again with the same command. (128 + SIGUSR1, Kubeflow's own for this.)"""

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)
"""How TensorFlow tells that a collective operation lost a worker, depending on where it notices."""


class StoppedError(Exception):
    """The run was asked to stop and did, in good order."""


class WorkerLostError(Exception):
    """A worker of a distributed run does not answer any more."""


class StopRequest:
    """Within its context, SIGTERM is noted instead of ending the process; outside of one it never asks.

    Python delivers signals to the main thread alone, so that a run in another thread is not stopped by them.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        del number, frame
        self.requested = True

    def check(self, where: str) -> None:
        """Stops the run if that was asked for.

        Raises:
          StoppedError: With what was being done.
        """
        if self.requested:
            raise StoppedError(f"stopped by SIGTERM {where}; the same command goes on from there")
