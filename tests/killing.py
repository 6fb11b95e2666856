"""Commands of the package in processes of their own, which a test kills, limits and starves.

`make test` kills each once. Ten times each:

    TFFACE_KILLS=10 PYTHONPATH=. python -m pytest tests/faults_*_test.py
"""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

KILLS = int(os.environ.get("TFFACE_KILLS", "1"))
PATIENCE = 900
"""Seconds that a process may take; far more than it needs, but a busy machine is no fault."""

_PATHS = [str(pathlib.Path(__file__).parents[1]), str(pathlib.Path(__file__).parent)]


@contextlib.contextmanager
def running(
    *command: object, environment: Mapping[str, str] | None = None, log: pathlib.Path | None = None
) -> Iterator[subprocess.Popen]:
    """Starts a Python program in a session of its own; whatever the test does, it is gone in the end."""
    paths = os.pathsep.join([*_PATHS, *filter(None, sys.path)])
    with contextlib.ExitStack() as stack:
        printed = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_until(happened: Callable[[], bool], process: subprocess.Popen | None = None) -> None:
    """Waits for something that a living process does."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process is None or process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


def kill(process: subprocess.Popen) -> None:
    """Kill -9, and waits for the end."""
    process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL


def die_within(number: int, steps: Sequence[str]) -> None:
    """Has kill -9 end this process at the `number`-th of some steps; writing at a place (pwrite) ends half-way.

    Args:
      number: counts all of them together, from 1.
      steps: functions of `os`, by name.
    """
    left = [number]

    def die_in(name: str) -> None:
        step = getattr(os, name)

        def counted(*given, **options):
            left[0] -= 1
            if left[0] == 0 and name == "pwrite":
                step(given[0], given[1][: len(given[1]) // 2], given[2])
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*given, **options)

        setattr(os, name, counted)

    for name in steps:
        die_in(name)


def alive(process: int) -> bool:
    """Whether a process lives on."""
    return os.path.exists(f"/proc/{process}")


def without_privileges() -> None:
    """Permissions of files hold for root, too, once the capabilities that override them are given up."""
    version_3, dac_override, dac_read_search, fowner = 0x20080522, 1, 2, 3
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of the lower and of the upper 32
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    for index in range(3):
        sets[index] &= ~(1 << dac_override | 1 << dac_read_search | 1 << fowner)
    assert libc.capset(header, sets) == 0
