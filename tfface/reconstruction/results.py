"""The outcome for each person: one line of JSON a person, from which a later run continues."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tfface.files import written
from tfface.reconstruction import json_file
from tfface.reconstruction.input_files import RESULTS, Person

DONE, FAILED = "done", "failed"


@dataclasses.dataclass(frozen=True)
class Result:
    """A line.

    Attributes:
      name: Of the reconstruction.
      person: Whose photographs it is from; several reconstructions share it with ``--face=all``.
      status: `DONE` or `FAILED`.
      folder: Of what was written, below the output folder; empty if nothing was.
      photographs: The names of the photographs that it was made from.
      faults: One line for each photograph that could not be used, or why there is no reconstruction.
      key: Of the files and settings that it was made from; see `key_of`.
    """

    name: str
    person: str
    status: str
    folder: str
    photographs: tuple[str, ...]
    faults: tuple[str, ...]
    key: str


def key_of(person: Person, settings: Mapping[str, Any]) -> str:
    """A hash that changes when a file of a person does, by size or time of change, or the settings do."""
    files = []
    for path in person.files:
        try:
            status = path.stat()
            changes = [status.st_size, status.st_mtime_ns]
        except OSError:  # a fault of this photograph, which is told when it is read
            changes = []
        files.append([os.path.realpath(path), *changes])
    return hashlib.sha256(json.dumps([files, settings], sort_keys=True).encode()).hexdigest()[:16]


class Results:
    """The results of an output folder, which a run adds to; a context manager.

    Lines that a stopped run left are kept where all of a person is done and its key is the same; the others are dropped
    when the file is opened, so that a name stands in it once.

    Args:
      output: The output folder, which is made.
      keys: Of every person of this run, by name.

    Raises:
      OSError: If the folder cannot be written.
    """

    def __init__(self, output: Path, keys: Mapping[str, str]):
        self.path = output / RESULTS
        self.kept = _still_good(output, _read(self.path), keys)
        with written(self.path) as beside:
            beside.write_text("".join(_line(result) for result in self.kept), encoding="utf-8")
        self._file: IO[str] = self.path.open("a", encoding="utf-8")

    def add(self, result: Result) -> None:
        """Writes a line; when it returns, the line survives the end of the process."""
        self._file.write(_line(result))
        self._file.flush()

    def __enter__(self) -> "Results":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _read(path: Path) -> list[Result]:
    """The lines of a file; the last one may have been cut off when a run was killed."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
            known = {field.name: values[field.name] for field in dataclasses.fields(Result)}
        except (ValueError, KeyError, TypeError):
            continue  # an unreadable line is a person that is not finished
        lists = {name: tuple(known[name]) for name in ("photographs", "faults")}
        found.append(Result(**{**known, **lists}))
    return found


def _still_good(output: Path, results: list[Result], keys: Mapping[str, str]) -> list[Result]:
    bad = {result.person for result in results if not _is_good(output, result, keys)}
    return [result for result in results if result.person not in bad]


def _is_good(output: Path, result: Result, keys: Mapping[str, str]) -> bool:
    same = result.status == DONE and keys.get(result.person) == result.key
    return same and (output / result.folder / json_file.FILE).is_file()


def _line(result: Result) -> str:
    return json.dumps(dataclasses.asdict(result), ensure_ascii=False) + "\n"
