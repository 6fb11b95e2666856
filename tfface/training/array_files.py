"""Array files that several processes fill, each its own rows, and the notes on what is filled."""

import contextlib
import glob
import json
import math
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from tfface import files, partial_paths
from tfface.data.record_streams import Worker


def create_array(path: str, shape: tuple[int, ...], dtype: str) -> None:
    """Makes an array file of zeros, if none is there, with room for it on the disk.

    Raises:
      OSError: If there is no room.
    """
    if os.path.isfile(path):
        return
    beside = partial_paths.path_beside(pathlib.Path(path))
    try:
        array = np.lib.format.open_memmap(beside, mode="w+", shape=shape, dtype=dtype)
        size = array.offset + array.nbytes
        del array
        with open(beside, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        with contextlib.suppress(FileExistsError):  # of two workers, the first to come made it
            os.link(beside, path)
    except OSError as error:
        raise OSError(f"cache: {path} ({math.prod(shape) * np.dtype(dtype).itemsize} bytes): {error}") from error
    finally:
        beside.unlink(missing_ok=True)


def open_array(path: str, shape: tuple[int, ...], dtype: str) -> np.memmap:
    """Opens an array file for reading.

    Raises:
      ValueError: If it is not the array that is expected.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(f"cache: {path}: {error}; remove {os.path.dirname(path)}") from error
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"cache: {path}: expected {dtype} {shape}, got {array.dtype} {array.shape}; remove {os.path.dirname(path)}"
        )
    return array


class RowWriter:
    """Writes rows of an array file in place.

    Not through a map of the file into memory: there, machines that share the file write whole pages over one another's
    rows.
    """

    def __init__(self, path: str, shape: tuple[int, ...], dtype: str):
        self._offset = open_array(path, shape, dtype).offset
        self._dtype = dtype
        self._leading = shape[:2]
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write_copy(self, begin: int, copy: int, rows: np.ndarray) -> None:
        """Writes ``[begin : begin + len(rows), copy]``."""
        for number, row in enumerate(np.ascontiguousarray(rows, self._dtype)):
            _write_at(self._file, row, self._offset + ((begin + number) * self._leading[1] + copy) * row.nbytes)

    def write(self, begin: int, rows: np.ndarray) -> None:
        """Writes ``[begin : begin + len(rows)]``."""
        rows = np.ascontiguousarray(rows, self._dtype)
        _write_at(self._file, rows, self._offset + begin * rows[0].nbytes)

    def flush(self) -> None:
        """Returns when what was written is on disk."""
        os.fsync(self._file)


def _write_at(file: int, array: np.ndarray, offset: int) -> None:
    view = memoryview(array).cast("B")
    while len(view):
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


class Progress:
    """Which subjects of which copies are computed, kept as one small file a worker.

    Attributes:
      done: [copies, S] bool, by all workers, of this run and of those before it.
      begin: First subject of this worker's part.
      end: Behind its last subject.
    """

    def __init__(self, folder: str, subjects: int, copies: int, worker: Worker):
        index, workers = worker
        self.begin, self.end = subjects * index // workers, subjects * (index + 1) // workers
        self.done = np.zeros((copies, subjects), bool)
        self._path = os.path.join(folder, f"progress-{self.begin}-{self.end}.json")
        for path in glob.glob(os.path.join(glob.escape(folder), "progress-*.json")):
            with open(path, encoding="utf-8") as file:
                noted = json.load(file)
            for copy, count in enumerate(noted["done"]):
                self.done[copy, noted["begin"] : noted["begin"] + count] = True

    def todo(self, copy: int) -> tuple[int, int]:
        """Begin and end of what this worker has to compute of a copy."""
        missing = np.flatnonzero(~self.done[copy, self.begin : self.end])
        return (self.begin + int(missing[0]), self.end) if len(missing) else (self.end, self.end)

    def mark(self, copies: Iterable[int], end: int) -> None:
        """Notes that this worker's part of some copies is computed, and on disk, up to a subject."""
        for copy in copies:
            self.done[copy, self.begin : end] = True
        part = self.done[:, self.begin : self.end]
        counts = [int(np.argmin(row)) if not row.all() else len(row) for row in part]
        files.write_text(self._path, json.dumps({"begin": self.begin, "done": counts}))
