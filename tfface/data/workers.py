"""Spreading work over processes that know no TensorFlow, use one core each and never outlive the process that asked."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_JOBS_AHEAD = 4
"""Jobs a process that are under way or wait for it: neither it nor the memory of this process has to wait for more."""

_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

_PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when the thread that started it ends."""

_shared: Any = None  # What `pool` was told to share, in a worker process.


class WorkerDiedError(RuntimeError):
    """A worker process ended in the middle of its job, while the process that asked lived on.

    Attributes:
      processes: ids of those that ended by themselves: by a crash, or because the system took their memory back.
    """

    def __init__(self, processes: Sequence[int], causes: Sequence[str]):
        super().__init__(f"a worker process ended in the middle of its work ({', '.join(causes) or 'no cause known'})")
        self.processes = tuple(processes)


Run = Callable[[Callable[[Any, Job], Result], Iterable[Job]], Iterator[Result]]


@contextlib.contextmanager
def pool(shared: Any, *, workers: int | None = None) -> Iterator[Run]:
    """Opens a pool of fresh processes.

    The processes are spawned, not forked, with single-threaded linear algebra, so a result does not depend on their
    number. They end with the process that asked: at an error, at an interrupt and if it is killed.

    Args:
      shared: sent to each process once.
      workers: number of processes, all cores by default.

    Yields:
      A function `run(function, jobs)` that calls `function(shared, job)` for every job and yields the results as they
      come, in no particular order. `function` is of a module's top level; its arguments and results are pickled. Jobs
      are taken a few ahead of the processes, and a result is not kept once it was yielded. The first exception that
      `function` raises is raised by `run`, and jobs that have not begun are dropped.

    Raises:
      ValueError: if `workers` is not positive.
      WorkerDiedError: if a process ends in the middle of a job; the other processes are ended then.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    context = _Context()
    with _one_thread_each:
        executor = concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_start, initargs=(shared,))

        def run(function: Callable[[Any, Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
            waiting: set[concurrent.futures.Future[Result]] = set()
            for job in jobs:
                waiting.add(executor.submit(_call, function, job))
                if len(waiting) >= _JOBS_AHEAD * workers:
                    done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                    while done:
                        yield done.pop().result()
            for future in concurrent.futures.as_completed(waiting):
                yield future.result()

        try:
            yield run
        except concurrent.futures.process.BrokenProcessPool as error:
            executor.shutdown(wait=True)
            dead = [process for process in context.started if process.exitcode not in (None, 0, -signal.SIGTERM)]
            raise WorkerDiedError(
                [process.pid or 0 for process in dead], [_cause(one.exitcode) for one in dead]
            ) from error
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


class _Context(multiprocessing.context.SpawnContext):
    """Starts fresh processes and remembers them."""

    def __init__(self) -> None:
        self.started: list[multiprocessing.process.BaseProcess] = []

    def Process(self, *arguments: Any, **named: Any) -> multiprocessing.process.BaseProcess:  # type: ignore[override]  # noqa: N802
        process = multiprocessing.context.SpawnProcess(*arguments, **named)
        self.started.append(process)
        return process


def _cause(exit_code: int | None) -> str:
    """How a process ended, in words."""
    return signal.Signals(-exit_code).name if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"


def _call(function: Callable[[Any, Job], Result], job: Job) -> Result:
    return function(_shared, job)


def _start(shared: Any) -> None:
    """Prepares a worker process: an interrupt is the parent's business, and so is the end of its life."""
    global _shared  # noqa: PLW0603
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # the system ends it then, even in the middle of a long call of a library
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The thread ends it elsewhere, and where the parent died before the line above.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


class _OneThreadEach:
    """Processes that are started inside have one thread each in their linear algebra libraries.

    Several pools may be open at once, in several threads: the first one changes the environment, the last one restores
    it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = {name: os.environ.get(name) for name in _THREAD_COUNTS}
                os.environ.update(dict.fromkeys(_THREAD_COUNTS, "1"))
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


_one_thread_each = _OneThreadEach()
