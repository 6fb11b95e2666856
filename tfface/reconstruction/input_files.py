"""Whose photographs to reconstruct: files, patterns and folders as people."""

import dataclasses
import glob
from collections.abc import Sequence
from pathlib import Path

from tfface.photographs import photograph, video

_SUFFIXES = (*photograph.SUFFIXES, *video.SUFFIXES)
_IMAGES = "images"
"""A capture folder keeps a subject's photographs in a folder of this name."""


@dataclasses.dataclass(frozen=True)
class Person:
    """A person and the photographs and videos that show them.

    Attributes:
      name: Unlike all others, fit for a folder.
      files: May be none, which is a fault of this person's folder.
      folder: Where they were looked for.
    """

    name: str
    files: tuple[Path, ...]
    folder: Path


def find_people(images: Sequence[str], each: bool) -> list[Person]:
    """The people that a list of files, patterns and folders names.

    Photographs and videos that are named one by one, or by a pattern, are of one person; so are those of a folder. A
    folder that holds folders holds people, one in each, in it or in its folder ``images``.

    Args:
      images: Paths and patterns.
      each: Whether every photograph and every video is another person instead.

    Returns:
      The people, in the order given, folders' by name; a name that comes again gets a number.

    Raises:
      ValueError: If nothing is named, a pattern matches nothing, a path does not exist, or a folder holds both
        photographs and people.
    """
    if not images:
        raise ValueError("images: expected photographs, a video or a folder")
    loose: list[Path] = []
    found: list[Person] = []
    for path in [path for text in images for path in _expanded(text)]:
        if not path.is_dir():
            loose.append(path)
            continue
        files, folders = _media(path), _folders(path)
        if files and folders:
            raise ValueError(
                f"{path}: expected photographs of one person, or a folder for each person, got {files[0].name} beside "
                f"the folder {folders[0].name}"
            )
        found += [Person(one.name, _in_folder(one), one) for one in folders or [path]]
    if loose:
        found.insert(0, Person(loose[0].stem, tuple(loose), loose[0].parent))
    if each:
        found = [Person(file.stem, (file,), person.folder) for person in found for file in person.files] + [
            person for person in found if not person.files
        ]
    return _named_apart(found)


def _expanded(text: str) -> list[Path]:
    path = Path(text)
    if path.exists():
        return [path]
    if not glob.has_magic(text):
        raise ValueError(f"{text}: no such file or folder")
    matches = sorted(glob.glob(text, recursive=True))
    if not matches:
        raise ValueError(f"{text}: no file matches")
    return [Path(match) for match in matches]


def _media(folder: Path) -> list[Path]:
    """Photographs and videos of a folder, by name; hidden files are none."""
    entries = (path for path in folder.iterdir() if path.name[0] != "." and path.suffix.lower() in _SUFFIXES)
    return sorted(path for path in entries if not path.is_dir())


def _folders(folder: Path) -> list[Path]:
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    return [] if [path.name for path in inside] == [_IMAGES] else inside


def _in_folder(folder: Path) -> tuple[Path, ...]:
    files = _media(folder)
    if not files and (folder / _IMAGES).is_dir():
        files = _media(folder / _IMAGES)
    return tuple(files)


def _named_apart(people: list[Person]) -> list[Person]:
    taken: set[str] = set()
    named = []
    for person in people:
        name, number = person.name, 2
        while name in taken:
            name, number = f"{person.name}-{number}", number + 1
        taken.add(name)
        named.append(dataclasses.replace(person, name=name))
    return named
