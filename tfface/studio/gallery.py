"""The people of the page: their files in a folder, and how far each is."""

import dataclasses
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from absl import logging

from tfface import files
from tfface.photographs import photograph, video

UPLOADING, WAITING, WORKING, DONE, FAILED = "uploading", "waiting", "working", "done", "failed"
"""What may be with a person."""

PHOTOGRAPHS, RESULT, STATE = "photographs", "result", "person.json"
SUFFIXES = (*photograph.SUFFIXES, *video.SUFFIXES)

_ID = re.compile(r"[0-9a-f]{16}")
_LONGEST_NAME = 80  # bytes


class RefusedError(ValueError):
    """Something that is not taken; the message is for whoever sent it."""


@dataclasses.dataclass
class Person:
    """A person of the page. What JSON says of them is `told`.

    Attributes:
      id: Of the folder.
      name: For people to read.
      status: One of `UPLOADING`, `WAITING`, `WORKING`, `DONE`, `FAILED`.
      step: What is being done.
      share: Of the work that is done, 0 to 1.
      seconds_left: Estimate; None if nobody knows.
      faces: Of each photograph that shows one: its name, its size, box and points in its pixels.
      faults: One line for each file that could not be used.
      files: That may be fetched.
    """

    id: str
    name: str = ""
    status: str = UPLOADING
    step: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    faces: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)
    files: list[str] = dataclasses.field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Of JSON types."""
        return dataclasses.asdict(self)


class Gallery:
    """All people, for any number of threads. Whoever listens is told of every change."""

    def __init__(self, root: Path, max_people: int, max_files: int, max_bytes: int):
        """Finds the people who are done in a folder, which is made if it is not there; what was left half-way goes.

        Args:
          root: The folder.
          max_people: That it may hold.
          max_files: Of a person.
          max_bytes: Of a person's files together.

        Raises:
          OSError: If the folder cannot be written.
        """
        self.root = root.resolve()
        self._max_people, self._max_files, self._max_bytes = max_people, max_files, max_bytes
        self._lock = threading.RLock()
        self._people: dict[str, Person] = {}
        self._doomed: set[str] = set()
        self._listeners: list[Callable[[dict[str, Any]], None]] = []
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in sorted(self.root.iterdir()):
            if _ID.fullmatch(folder.name) and folder.is_dir():
                person = _read(folder)
                if person is None:
                    shutil.rmtree(folder)
                else:
                    self._people[person.id] = person

    def people(self) -> list[dict[str, Any]]:
        """All of them, the oldest first."""
        with self._lock:
            return [person.told() for person in self._people.values()]

    def listen(self, listener: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Has a function called with every change, in the thread that made it; what comes back ends that."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return end

    def add(self) -> str:
        """A new person without files; the id.

        Raises:
          RefusedError: If there are too many.
        """
        with self._lock:
            if len(self._people) >= self._max_people:
                raise RefusedError(f"{self._max_people} people are here already; delete some")
            person = Person(secrets.token_hex(8))
            self._people[person.id] = person
            (self.root / person.id / PHOTOGRAPHS).mkdir(parents=True)
            self.tell({"person": person.told()})
        return person.id

    def place_for(self, person_id: str, name: str) -> tuple[Path, int]:
        """Where a file goes, and how many bytes it may have.

        Args:
          person_id: The person, who is still `UPLOADING`.
          name: As whoever sent it calls the file.

        Raises:
          KeyError: If there is no such person.
          RefusedError: If it is no photograph or video by its name, or there are too many.
        """
        with self._lock:
            person = self._people[person_id]
            if person.status != UPLOADING:
                raise RefusedError("this person is under way already")
            plain = PurePosixPath(PureWindowsPath(name).name).name
            suffix = Path(plain).suffix.lower()
            if suffix not in SUFFIXES:
                raise RefusedError(f"{plain or 'a file'} is neither a photograph nor a video that can be read")
            folder = self._photographs(person_id)
            taken = list(folder.iterdir())
            if len(taken) >= self._max_files:
                raise RefusedError(f"more than {self._max_files} files for one person")
            stem = files.name_of(Path(plain).stem).strip(".").encode()[:_LONGEST_NAME].decode(errors="ignore")
            stem = stem or "photograph"
            path, number = folder / f"{stem}{suffix}", 2
            while path.exists():
                path, number = folder / f"{stem}-{number}{suffix}", number + 1
            path.touch()
            return path, self._max_bytes - sum(file.stat().st_size for file in taken)

    def start(self, person_id: str) -> None:
        """Lets a person wait for their turn.

        Raises:
          KeyError: If there is no such person.
          RefusedError: If there is no file, or the person is under way already.
        """
        with self._lock:
            person = self._people[person_id]
            dropped = self.dropped(person_id)
            if person.status != UPLOADING or not dropped:
                raise RefusedError("this person has no photograph" if not dropped else "this person is under way")
            self.change(person_id, status=WAITING, name=dropped[0].stem)

    def dropped(self, person_id: str) -> list[Path]:
        """The files of a person, in the order of their names."""
        folder = self._photographs(person_id)
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def change(self, person_id: str, **values: Any) -> None:
        """Changes what is with a person, tells it, and keeps it on disk at the end; nothing if they were deleted."""
        with self._lock:
            person = self._people.get(person_id)
            if person is None:
                return
            for name, value in values.items():
                setattr(person, name, value)
            if person.status in (DONE, FAILED):
                files.write_json(self.root / person_id / STATE, person.told())
            self.tell({"person": person.told()})

    def add_face(self, person_id: str, face: dict[str, Any]) -> None:
        """Adds a face that was found."""
        with self._lock:
            if person_id in self._people:
                self.change(person_id, faces=[*self._people[person_id].faces, face])

    def delete(self, person_id: str) -> None:
        """Deletes a person's files. If the person is being worked on, they are gone when that ends.

        Raises:
          KeyError: If there is no such person.
        """
        with self._lock:
            person = self._people.pop(person_id)
            if person.status == WORKING:
                self._doomed.add(person_id)
            else:
                shutil.rmtree(self.root / person_id)
            self.tell({"deleted": person_id})

    def finished(self, person_id: str) -> None:
        """Says that nobody works on a person any more."""
        with self._lock:
            if person_id in self._doomed:
                self._doomed.remove(person_id)
                shutil.rmtree(self.root / person_id)

    def file(self, person_id: str, name: str) -> Path:
        """A result that may be fetched.

        Raises:
          KeyError: If there is none.
        """
        with self._lock:
            if name not in self._people[person_id].files:
                raise KeyError(name)
            return self.result(person_id) / name

    def result(self, person_id: str) -> Path:
        """The folder of a person's results."""
        return self.root / person_id / RESULT

    def has(self, person_id: str) -> bool:
        """Whether there is such a person."""
        with self._lock:
            return person_id in self._people

    def _photographs(self, person_id: str) -> Path:
        return self.root / person_id / PHOTOGRAPHS

    def tell(self, change: dict[str, Any]) -> None:
        """Tells whoever listens."""
        with self._lock:
            for listener in self._listeners:
                listener(change)


def _read(folder: Path) -> Person | None:
    """A person of an earlier run; None if nothing was finished."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        values = files.read_json(path)
        person = Person(**{field.name: values[field.name] for field in dataclasses.fields(Person)})
    except (ValueError, TypeError, KeyError, OSError) as error:
        logging.warning("%s: %s; its person is left out", path, error)
        return None
    return person if person.id == folder.name and person.status in (DONE, FAILED) else None


def without_folders(path: Path, root: Path) -> None:
    """Rewrites a JSON file so that it names files below a folder by their names alone.

    Args:
      path: The file.
      root: The folder, which is nobody's business.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return value.removeprefix(f"{root}{os.sep}")
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    files.write_text(path, json.dumps(plain(files.read_json(path)), indent=1) + "\n")
