"""Peaks of the memory that a process holds."""

import pathlib
import resource
import sys
import threading
import types


def peak_megabytes() -> float:
    """The largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class OwnMemory:
    """Watches what this process, and those that it starts, hold for themselves while a block of code runs.

    Resident memory also counts pages of files that are mapped, which the system takes back whenever it needs them, and
    which grow with the files; here they are left out (`RssAnon` of Linux).

    Attributes:
      peak: MB, the largest sum over the processes that was seen.
    """

    _INTERVAL = 0.05  # seconds

    def __init__(self) -> None:
        self.peak = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "OwnMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, _own_megabytes("self"))
            if self._ended.wait(self._INTERVAL):
                return


def _own_megabytes(process: str) -> float:
    """Of a process and its children."""
    folder = pathlib.Path("/proc") / process
    try:
        status = (folder / "status").read_text(encoding="utf-8")
        children = [child for task in (folder / "task").iterdir() for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return 0.0
    held = [int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")]
    return sum(held) * 1024 / 1e6 + sum(map(_own_megabytes, children))
