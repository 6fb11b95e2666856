"""Several folders of records as one, to train on people of several kinds."""

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfface import files
from tfface.data import manifest, preparation, recipes

_MIXED = "mixed"
"""Name of a source that is several."""


def join(folders: Sequence[str | os.PathLike[str]], out_dir: str | os.PathLike[str]) -> manifest.Manifest:
    """Makes a folder of records of everybody in some others, split by split, in their order.

    The shards are linked where the file system can do that, copied where it cannot; the others stay as they are. Killed
    anywhere, the same call continues; on a finished folder it returns at once.

    Args:
      folders: of finished records with one 3DMM, at least two: make the later ones with the `face_model.h5` of the
        first. Their images have one size.
      out_dir: the folder, made if it does not exist.

    Returns:
      The manifest.

    Raises:
      ValueError: naming the folder, if its records are unfinished, damaged or do not fit those of the first, if two
        hold the same subject, or if `out_dir` holds other records, or others that are not finished.
    """
    out = Path(out_dir)
    if len(folders) < 2:
        raise ValueError(f"join: expected at least two folders of records, got {len(folders)}")
    sets = [manifest.read(folder) for folder in folders]
    command = _command(sets)
    if (out / manifest.FILE_NAME).exists():
        recipes.refuse_other(out / manifest.FILE_NAME, manifest.read(out).command, command)
        return manifest.read(out)
    if (out / preparation.IN_PROGRESS).exists():
        raise ValueError(f"{out}: a preparation was begun there and is not finished; choose another folder")
    joined = _below(sets[0], 0, command)
    for number, (folder, contents) in enumerate(zip(folders[1:], sets[1:], strict=True), 1):
        try:
            joined = joined.with_more(_below(contents, number, command))
        except ValueError as error:
            raise ValueError(f"{folder}: does not fit {folders[0]}: {error}") from error
    with files.held(out, "output"):
        for number, (folder, contents) in enumerate(zip(folders, sets, strict=True)):
            _link(Path(folder), contents, out / _name(number))
        face_model = Path(folders[0]) / manifest.FACE_MODEL_NAME
        if files.sha256(face_model) != joined.face_model:
            raise ValueError(
                f"{face_model}: expected the 3DMM of {manifest.FILE_NAME}, got a file with another SHA-256"
            )
        with files.written(out / manifest.FACE_MODEL_NAME) as beside:
            shutil.copyfile(face_model, beside)
        manifest.write(out, joined)
    return joined


def _name(number: int) -> str:
    return f"joined-{number}"


def _command(sets: Sequence[manifest.Manifest]) -> dict[str, Any]:
    """What all sets have in common, their people counted together, and the commands of each."""
    commands = [contents.command for contents in sets]
    sources: list[Mapping[str, Any]] = [command["source"] for command in commands]
    names = {source["name"] for source in sources}
    name = names.pop() if len(names) == 1 else _MIXED
    subjects = sum(source["subjects"] for source in sources)
    return {"source": {"name": name, "subjects": subjects}, "joined": commands}


def _below(contents: manifest.Manifest, number: int, command: Mapping[str, Any]) -> manifest.Manifest:
    """A manifest of the same records in the folder of that number."""
    moved = {
        split: tuple(dataclasses.replace(shard, file=f"{_name(number)}/{shard.file}") for shard in shards)
        for split, shards in contents.shards.items()
    }
    return dataclasses.replace(contents, command=command, shards=moved)


def _link(folder: Path, contents: manifest.Manifest, to: Path) -> None:
    """Shards, and what TensorFlow Datasets wrote beside them, into a folder."""
    shards = [path for split in contents.shards for path in contents.shard_paths(folder, split)]
    described = {path for shard in shards for path in shard.parent.glob("*.json")}
    for path in sorted({*shards, *described}):
        target = to / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.written(target) as beside:
            try:
                os.link(path, beside)
            except OSError:  # another file system, or one without links
                shutil.copyfile(path, beside)
