"""Whose photographs to reconstruct: files, patterns and folders as people."""

import dataclasses
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from tfface import files as paths
from tfface.photographs import photograph, video

_SUFFIXES = (*photograph.SUFFIXES, *video.SUFFIXES)
_IMAGES = "images"
"""A capture folder keeps a subject's photographs in a folder of this name."""
RESULTS = "results.jsonl"
"""An output folder has a file of this name."""
_PARTS = 8
"""A name has fewer commas."""


@dataclasses.dataclass(frozen=True)
class Person:
    """A person and the photographs and videos that show them.

    Attributes:
      name: Unlike all others, fit for a folder.
      files: May be none, which is a fault of this person's folder.
      folder: Where they were looked for.
      fault: What is wrong with the folder, if it is known.
    """

    name: str
    files: tuple[Path, ...]
    folder: Path
    fault: str = ""


def find_people(images: Sequence[str], each: bool, out: str | os.PathLike[str]) -> list[Person]:
    """The people that a list of files, patterns and folders names.

    Photographs and videos that are named one by one, or by a pattern, are of one person; so are those of a folder. A
    folder that holds folders holds people, one in each, in it or in its folder ``images``. A link that leads nowhere is
    a fault of that photograph or person alone.

    Args:
      images: Paths and patterns; a name with commas may have been taken apart at them.
      each: Whether every photograph and every video is another person instead.
      out: The output folder; nobody is looked for in it, nor in that of another run.

    Returns:
      The people, in the order given, folders' by name; a name that comes again gets a number.

    Raises:
      OSError: If a folder that is named cannot be read.
      ValueError: If nothing is named, a pattern matches nothing, a path does not exist, a folder holds both photographs
        and people, or its photographs are where the output goes.
    """
    if not images:
        raise ValueError("images: expected photographs, a video or a folder")
    loose: list[Path] = []
    found: list[Person] = []
    output = Path(os.path.realpath(out))
    for path in [path for text in _rejoined(images) for path in _expanded(text)]:
        if not path.is_dir():
            loose.append(path)
            continue
        if Path(os.path.realpath(path)) == output:
            raise ValueError(f"out: expected another folder than that of the photographs, got {path}")
        files, folders = _media(path), _folders(path, output)
        if folders and not any(map(os.path.exists, files)):  # links that lead nowhere are people's faults
            folders, files = sorted((*folders, *files)), []
        if files and folders:
            raise ValueError(
                f"{path}: expected photographs of one person, or a folder for each person, got {files[0].name} beside "
                f"the folder {folders[0].name}"
            )
        found += [_in_folder(one) for one in folders or [path]]
    if loose:
        found.insert(0, Person(loose[0].stem, tuple(loose), loose[0].parent))
    if each:
        found = [Person(file.stem, (file,), person.folder) for person in found for file in person.files] + [
            person for person in found if not person.files
        ]
    return _named_apart([dataclasses.replace(person, name=paths.printable(person.name)) for person in found])


def _rejoined(images: Sequence[str]) -> list[str]:
    """The texts, put together again where a name with commas was taken apart."""
    rest, whole = list(images), []
    while rest:
        joined = {
            glue.join(rest[:count]): count for count in range(1, min(_PARTS, len(rest)) + 1) for glue in (",", ", ")
        }
        text = next((text for text in joined if os.path.lexists(text)), rest[0])
        whole.append(text)
        del rest[: joined[text]]
    return whole


def _expanded(text: str) -> list[Path]:
    path = Path(text)
    if os.path.lexists(path):
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


def _folders(folder: Path, output: Path) -> list[Path]:
    """Folders of people; links that lead nowhere stand for people where there are others."""
    shown = sorted(path for path in folder.iterdir() if path.name[0] not in "._")
    inside = [path for path in shown if path.is_dir() and not _is_output(path, output)]
    if not inside or [path.name for path in inside] == [_IMAGES]:
        return []
    return [path for path in shown if path in inside or not (path.suffix.lower() in _SUFFIXES or path.exists())]


def _is_output(folder: Path, output: Path) -> bool:
    """Whether a folder is this output or another, or holds it and nothing of a person."""
    real = Path(os.path.realpath(folder))
    return real == output or (real / RESULTS).exists() or (real in output.parents and not _in_folder(folder).files)


def _in_folder(folder: Path) -> Person:
    if not folder.is_dir():
        return Person(folder.name, (), folder, "a link that leads nowhere")
    try:
        files = _media(folder)
        if not files and (folder / _IMAGES).is_dir():
            files = _media(folder / _IMAGES)
    except OSError as error:
        return Person(folder.name, (), folder, f"cannot be read: {error.strerror}")
    return Person(folder.name, tuple(files), folder)


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
