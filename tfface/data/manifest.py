"""The manifest beside a set of records: what is in it, what it was made from, and what its files must look like."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfface import files, schema
from tfface.data import part_files
from tfface.data.splits import SPLITS

FILE_NAME = "manifest.json"
FACE_MODEL_NAME = "face_model.h5"

MAX_VIEWS = 4096
"""A subject may have so many photographs."""

MAX_VERTICES = 1 << 24
"""A shape may have so many vertices."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file of a split.

    Attributes:
      file: its path below the folder of the records, with forward slashes.
      records: the number of records, one a subject.
      bytes: its size.
      sha256: of its content, hexadecimal.
    """

    file: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a folder of records contains.

    Attributes:
      conventions: `schema.CONVENTIONS_VERSION` of the writer.
      command: what decides the content: the options of `preparation.prepare` and the fingerprint of its source; under
        "grown", of records that got more people, the numbers of subjects and to how many the 3DMM is due.
      versions: of the programs that wrote it, by name.
      image_size: height and width of every stored image, px.
      num_vertices: P of the stored shapes.
      face_model: SHA-256 of `FACE_MODEL_NAME`, hexadecimal.
      shards: by split, in the order of the records.
      subjects: by split, the subject ids in the order of the records.
      views: by split, the number of stored images.
      max_views: the largest number of images of one subject.
      expressions: names of the expressions whose weights stand with each view; the deltas are the 3DMM's.
    """

    conventions: int
    command: Mapping[str, Any]
    versions: Mapping[str, str]
    image_size: tuple[int, int]
    num_vertices: int
    face_model: str
    shards: Mapping[str, tuple[Shard, ...]]
    subjects: Mapping[str, tuple[str, ...]]
    views: Mapping[str, int]
    max_views: int
    expressions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_types()
        for name in ("shards", "subjects", "views"):
            if set(getattr(self, name)) != set(SPLITS):
                raise ValueError(f"{name}: expected the splits {SPLITS}, got {tuple(getattr(self, name))}")
        for split in SPLITS:
            recorded = sum(shard.records for shard in self.shards[split])
            if recorded != len(self.subjects[split]):
                raise ValueError(f"shards[{split!r}]: {recorded} records for {len(self.subjects[split])} subjects")
            for shard in self.shards[split]:
                if Path(shard.file).is_absolute() or ".." in Path(shard.file).parts:
                    raise ValueError(f"shards[{split!r}]: {shard.file!r} leaves the folder of the records")
        sides = list(self.image_size)
        if len(sides) != 2 or not 0 < sides[0] * sides[1] <= part_files.MAX_PIXELS:
            raise ValueError(f"image_size: expected at most {part_files.MAX_PIXELS} pixels, got {self.image_size}")
        if not (0 < self.num_vertices <= MAX_VERTICES and 0 <= self.max_views <= MAX_VIEWS):
            raise ValueError(
                f"num_vertices, max_views: expected 1..{MAX_VERTICES} and 0..{MAX_VIEWS}, got {self.num_vertices} and "
                f"{self.max_views}"
            )
        everybody = [subject for split in SPLITS for subject in self.subjects[split]]
        if len(set(everybody)) != len(everybody):
            raise ValueError("subjects: a subject id appears more than once")

    def _check_types(self) -> None:
        shards = [shard for listed in self.shards.values() for shard in listed]
        subjects = [subject for listed in self.subjects.values() for subject in listed]
        counts: list[Any] = [
            self.conventions,
            self.num_vertices,
            self.max_views,
            *self.image_size,
            *self.views.values(),
        ]
        counts += [count for shard in shards for count in (shard.records, shard.bytes)]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("expected sizes, numbers of views, records and bytes as integers from 0")
        texts = [self.face_model, *self.expressions, *subjects]
        texts += [text for shard in shards for text in (shard.file, shard.sha256)]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("expected files, checksums, expressions and subjects as texts")

    def with_more(self, added: "Manifest") -> "Manifest":
        """What the folder contains when shards of more people stand behind these.

        Args:
          added: of those shards, with the command of all.

        Raises:
          ValueError: naming what differs, if images, shapes, expressions or the 3DMM are not the same.
        """
        for name in ("image_size", "num_vertices", "expressions", "face_model"):
            if getattr(added, name) != getattr(self, name):
                raise ValueError(f"{name}: expected {getattr(self, name)} as before, got {getattr(added, name)}")
        return dataclasses.replace(
            added,
            shards={split: (*self.shards[split], *added.shards[split]) for split in SPLITS},
            subjects={split: (*self.subjects[split], *added.subjects[split]) for split in SPLITS},
            views={split: self.views[split] + added.views[split] for split in SPLITS},
            max_views=max(self.max_views, added.max_views),
        )

    def shard_paths(self, folder: str | os.PathLike[str], split: str) -> list[Path]:
        """Paths of a split's shards.

        Args:
          folder: of the records.
          split: which one.

        Raises:
          ValueError: naming the shard that leaves the folder by a symbolic link.
        """
        for shard in self.shards[split]:
            try:
                files.inside(folder, shard.file)
            except ValueError as error:
                raise ValueError(f"{Path(folder) / FILE_NAME}: shards[{split!r}]: {error}") from error
        return [Path(folder) / shard.file for shard in self.shards[split]]


def write(folder: str | os.PathLike[str], manifest: Manifest) -> None:
    """Writes `manifest` into `folder`, in one step."""
    fields = dataclasses.asdict(manifest)
    if not manifest.expressions:  # The manifest of neutral people says nothing of expressions.
        del fields["expressions"]
    files.write_json(Path(folder) / FILE_NAME, fields)


def read(folder: str | os.PathLike[str]) -> Manifest:
    """Reads the manifest of `folder`.

    Raises:
      ValueError: naming the file, if it is missing, not JSON, not a manifest, or of other conventions.
    """
    path = Path(folder) / FILE_NAME
    try:
        fields = files.read_json(path)
        fields["image_size"] = tuple(fields["image_size"])
        fields["shards"] = {k: tuple(Shard(**shard) for shard in v) for k, v in fields["shards"].items()}
        fields["expressions"] = tuple(fields.get("expressions", ()))
        fields["subjects"] = {k: tuple(v) for k, v in fields["subjects"].items()}
        manifest = Manifest(**fields)
    except FileNotFoundError:
        raise ValueError(f"{path}: not found; the folder holds no finished records") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        text = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a manifest of records: {text}") from error
    if manifest.conventions != schema.CONVENTIONS_VERSION:
        raise ValueError(
            f"{path}: written under conventions version {manifest.conventions}, this program is at "
            f"{schema.CONVENTIONS_VERSION}; prepare the records again"
        )
    return manifest


def differences(before: Any, after: Any, name: str = "") -> list[str]:
    """Lists where two trees of mappings, sequences and numbers differ, one line for each leaf.

    Args:
      before: a tree as `json.loads` gives it.
      after: another.
      name: path of the two in a larger tree.

    Returns:
      Lines `name.of.leaf: before -> after`, empty if the trees are equal.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        lines = []
        for key in sorted({*before, *after}):
            inner = f"{name}.{key}" if name else str(key)
            lines += differences(before.get(key), after.get(key), inner)
        return lines
    return [] if before == after else [f"{name}: {before!r} -> {after!r}"]
