"""Records: a TensorFlow Datasets data set, one subject a record, and the checks that its files are whole."""

import contextlib
import dataclasses
import io
import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm
from absl import logging

from tfface import files
from tfface.data import manifest, part_files, preprocess
from tfface.data.splits import SPLITS

FORMAT_VERSION = "1.0.0"
"""Of the layout of a record, in the sense of TensorFlow Datasets."""

UNREADABLE = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError)
"""What TensorFlow raises for a damaged record; the last where its message quotes bytes that are no text."""

_MIN_SHARD_BYTES, _MAX_SHARD_BYTES = 32 << 20, 128 << 20
_HEADER_BYTES, _FOOTER_BYTES = 12, 4  # of a TFRecord: length and its CRC before the data, the data's CRC behind


def features(num_vertices: int, image_size: tuple[int, int], num_expressions: int = 0) -> tfds.features.FeaturesDict:
    """The layout of a record: its keys, shapes and types.

    Args:
      num_vertices: P.
      image_size: height and width of the images, px.
      num_expressions: E.

    Returns:
      subject; vertices [P, 3], model frame, neutral; views, each with image, intrinsics [3, 3], quaternion [4] and
      translation [3], cam_from_model. With expressions, also rotation [4], see `part_files.Subject`, and in each view
      expressions [E] and expressions_known, 0 or 1.
    """
    view = {"image": tfds.features.Image(shape=(*image_size, 3))}
    view |= {
        key: tfds.features.Tensor(shape=shape, dtype=np.float32) for key, shape in _of_view(num_expressions).items()
    }
    # As raw bytes, vertices are read and written many times faster than as a list of numbers.
    vertices = tfds.features.Tensor(shape=(num_vertices, 3), dtype=np.float32, encoding=tfds.features.Encoding.BYTES)
    subject = {"subject": tfds.features.Text(), "vertices": vertices, "views": tfds.features.Sequence(view)}
    if num_expressions:
        subject["rotation"] = tfds.features.Tensor(shape=(4,), dtype=np.float32)
    return tfds.features.FeaturesDict(subject)


def _of_view(num_expressions: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the numbers of a view, by key."""
    shapes: dict[str, tuple[int, ...]] = {"intrinsics": (3, 3), "quaternion": (4,), "translation": (3,)}
    return shapes | ({"expressions": (num_expressions,), "expressions_known": ()} if num_expressions else {})


def parse(serialized: tf.Tensor, num_vertices: int, num_expressions: int = 0) -> dict[str, tf.Tensor]:
    """Reads one record of the layout of `features`, leaving its images encoded.

    Args:
      serialized: string scalar.
      num_vertices: P.
      num_expressions: E.

    Returns:
      subject, string; vertices [P, 3]; and of its V views image [V], string, intrinsics [V, 3, 3], quaternion [V, 4]
      and translation [V, 3]. With expressions, also rotation [4], expressions [V, E] and expressions_known [V].

    Raises:
      tf.errors.InvalidArgumentError: if it is no such record.
    """
    views = {"image": ((), tf.string)} | {key: (shape, tf.float32) for key, shape in _of_view(num_expressions).items()}
    layout = {key: tf.io.FixedLenFeature([], tf.string) for key in ("subject", "vertices")}
    layout |= {
        f"views/{key}": tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=True)
        for key, (shape, dtype) in views.items()
    }
    if num_expressions:
        layout["rotation"] = tf.io.FixedLenFeature([4], tf.float32)
    record = tf.io.parse_single_example(serialized, layout)
    vertices = tf.reshape(tf.io.decode_raw(record["vertices"], tf.float32), [num_vertices, 3])
    parsed = {key: record[f"views/{key}"] for key in views}
    counts = tf.stack([tf.shape(value)[0] for value in parsed.values()])
    message = [f"record: expected as many of each of {', '.join(parsed)}, got", counts]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(counts == counts[0]), message)]):
        vertices = tf.identity(vertices)
    subject = {"subject": record["subject"], "vertices": vertices, **parsed}
    return subject | ({"rotation": record["rotation"]} if num_expressions else {})


class _SameBytes(tfds.core.writer.ExampleWriter):
    """Writes each record with its features in one order; protobuf's is another in every process."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        return super().write(path, ((key, _in_order(serialized)) for key, serialized in examples))


def _in_order(serialized: bytes) -> bytes:
    return tf.train.Example.FromString(serialized).SerializeToString(deterministic=True)


class Faces(tfds.core.GeneratorBasedBuilder):
    """The data set of registered faces and photographs; `write` makes it from part files."""

    name = "faces"
    VERSION = tfds.core.Version(FORMAT_VERSION)
    code_path = None  # Nothing lies beside this module: TFDS need not look for download checksums there.

    def __init__(
        self,
        *,
        data_dir: str,
        part_paths: Mapping[str, Sequence[Path]],
        num_vertices: int,
        image_size: tuple[int, int],
        num_expressions: int,
        bar: tqdm.tqdm,
    ) -> None:
        self._part_files, self._bar = part_paths, bar
        self._num_vertices, self._image_size, self._num_expressions = num_vertices, image_size, num_expressions
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Registered 3D faces and photographs of them with known cameras, one subject a record.",
            features=features(self._num_vertices, self._image_size, self._num_expressions),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, Any]]]:
        return {split: self._generate_examples(paths) for split, paths in self._part_files.items()}

    def _generate_examples(self, paths: Sequence[Path]) -> Iterator[tuple[str, Any]]:
        for path in paths:
            subjects = part_files.read(path)
            size = part_files.image_size_of(subjects[0].views[0].image)
            if size != self._image_size:
                name = subjects[0].subject
                raise ValueError(f"subject {name!r}: image: expected {self._image_size} (height, width), got {size}")
            for subject in subjects:
                yield subject.subject, self._record(subject)
                self._bar.update()

    def _example_writer(self) -> tfds.core.writer.ExampleWriter:
        return _SameBytes(file_format=self.info.file_format)

    def _record(self, subject: part_files.Subject) -> dict[str, Any]:
        """A subject in the layout of `features`."""
        views: list[dict[str, Any]] = [
            {
                "image": view.image,
                "intrinsics": view.intrinsics,
                "quaternion": view.quaternion,
                "translation": view.translation,
            }
            for view in subject.views
        ]
        record = {"subject": subject.subject, "vertices": subject.vertices, "views": views}
        if self._num_expressions:
            unknown = np.zeros(self._num_expressions, np.float32)
            for fields, view in zip(views, subject.views, strict=True):
                fields["expressions"] = unknown if view.expressions is None else view.expressions
                fields["expressions_known"] = np.float32(view.expressions is not None)
            record["rotation"] = subject.rotation
        return record


@dataclasses.dataclass(frozen=True)
class WrittenRecords:
    """What `write` wrote; the fields are those of `manifest.Manifest`."""

    num_vertices: int
    image_size: tuple[int, int]
    shards: dict[str, tuple[manifest.Shard, ...]]
    subjects: dict[str, tuple[str, ...]]
    views: dict[str, int]
    max_views: int


def write(
    folder: Path,
    part_paths: Mapping[str, Sequence[Path]],
    work: Path,
    *,
    below: str = "",
    num_expressions: int = 0,
    total: int | None = None,
    progress: bool = True,
) -> WrittenRecords:
    """Assembles part files to TFRecord files in `folder`, replacing unfinished ones, and reads them back.

    Args:
      folder: of the records; the data set goes there, as `faces/<version>/`.
      part_paths: part files by split; a split that has none stays empty.
      work: a folder for temporary files.
      below: a folder in that one where the data set goes instead.
      num_expressions: E of the part files.
      total: number of subjects, for the progress bar.
      progress: whether to show a progress bar.

    Returns:
      The shards with their checksums, and what is in them.

    Raises:
      OSError: naming the folder, if it cannot be written to.
      ValueError: naming the file or subject at fault.
    """
    shutil.rmtree(folder / below / Faces.name, ignore_errors=True)
    part_paths = {split: paths for split, paths in part_paths.items() if paths}
    first = part_files.read(next(iter(part_paths.values()))[0])[0]
    num_vertices, image_size = len(first.vertices), part_files.image_size_of(first.views[0].image)
    with tqdm.tqdm(total=total, desc="records", unit="subject", disable=not progress) as bar, _quiet_tfds():
        builder = Faces(
            data_dir=os.fspath(folder / below),
            part_paths=part_paths,
            num_vertices=num_vertices,
            image_size=image_size,
            num_expressions=num_expressions,
            bar=bar,
        )
        try:
            builder.download_and_prepare(
                download_dir=work / "downloads",
                download_config=tfds.download.DownloadConfig(
                    try_download_gcs=False, min_shard_size=_MIN_SHARD_BYTES, max_shard_size=_MAX_SHARD_BYTES
                ),
            )
        except (OSError, tf.errors.OpError, RuntimeError) as error:
            # TFDS wraps errors that it cannot raise again with a longer text.
            cause = error.__cause__ if isinstance(error, RuntimeError) else error
            if not isinstance(cause, OSError | tf.errors.OpError):
                raise
            raise OSError(f"{folder}: records cannot be written (is the disk full?): {cause}") from error
    shards, subjects, views = {}, {}, {}
    for split in SPLITS:
        paths = sorted(Path(str(builder.data_path)).glob(f"{Faces.name}-{split}.tfrecord-*"))
        contents = [_subjects_and_views(path) for path in paths]
        subjects[split] = tuple(subject for names, _ in contents for subject in names)
        views[split] = [count for _, counts in contents for count in counts]
        shards[split] = tuple(
            manifest.Shard(
                file=path.relative_to(folder).as_posix(),
                records=len(names),
                bytes=path.stat().st_size,
                sha256=files.sha256(path),
            )
            for path, (names, _) in zip(paths, contents, strict=True)
        )
    return WrittenRecords(
        num_vertices=num_vertices,
        image_size=image_size,
        shards=shards,
        subjects=subjects,
        views={split: sum(counts) for split, counts in views.items()},
        max_views=max(max(counts, default=0) for counts in views.values()),
    )


def _subjects_and_views(path: Path) -> tuple[list[str], list[int]]:
    """Subject id and number of images of each record of a shard, in order."""
    layout = {"subject": tf.io.FixedLenFeature([], tf.string), "views/image": tf.io.RaggedFeature(tf.string)}
    subjects, counts = [], []
    for batch in tf.data.TFRecordDataset(os.fspath(path)).batch(64).map(lambda x: tf.io.parse_example(x, layout)):
        subjects += [subject.decode() for subject in batch["subject"].numpy()]
        counts += batch["views/image"].row_lengths().numpy().tolist()
    return subjects, counts


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Without what TFDS prints about downloads; the bar of `write` tells how far it is."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    tfds.display_progress_bar(enable=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(enable=True)
        logging.set_verbosity(verbosity)


def verify(folder: str | os.PathLike[str], split: str, *, checksums: bool = False) -> manifest.Manifest:
    """Holds the shards of a split against the manifest.

    TensorFlow reads a TFRecord that was cut between two records without complaint, so the records are counted, which
    needs no more than their headers.

    Args:
      folder: of the records.
      split: which one.
      checksums: whether to read the whole files and compare their SHA-256 as well.

    Returns:
      The manifest.

    Raises:
      ValueError: naming every shard that is missing, cut, or different.
    """
    contents = manifest.read(folder)
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    faults = []
    for shard, path in zip(contents.shards[split], contents.shard_paths(folder, split), strict=True):
        try:
            records = count_records(path)
            if records != shard.records:
                faults.append(f"{path}: expected {shard.records} records, got {records}")
            elif path.stat().st_size != shard.bytes:
                faults.append(f"{path}: expected {shard.bytes} bytes, got {path.stat().st_size}")
            elif checksums and files.sha256(path) != shard.sha256:
                faults.append(f"{path}: its SHA-256 is not that of the manifest")
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {error}")
    if faults:
        raise ValueError(f"records in {os.fspath(folder)}, split {split!r}: damaged shards:\n  " + "\n  ".join(faults))
    return contents


def count_records(path: str | os.PathLike[str]) -> int:
    """Number of records in a TFRecord file, by stepping from header to header.

    Raises:
      ValueError: if the file ends inside a record.
    """
    count = 0
    with files.open_regular(path) as file:
        size, position = os.fstat(file.fileno()).st_size, 0
        while position < size:
            header = os.pread(file.fileno(), _HEADER_BYTES, position)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER_BYTES else size
            position += _HEADER_BYTES + length + _FOOTER_BYTES
            if position > size:
                raise ValueError(f"the file ends inside record {count}")
            count += 1
    return count


def unreadable_images(folder: str | os.PathLike[str], split: str) -> list[str]:
    """Searches a split for photographs that cannot be decoded, or are not of the manifest's size.

    Returns:
      One line a photograph: its shard, subject and view, and what is wrong.

    Raises:
      ValueError: naming the manifest, if that cannot be read, or the shard and the record that is none of this layout.
    """
    contents = manifest.read(folder)
    return [fault for path in contents.shard_paths(folder, split) for fault in _image_faults(path, contents)]


def _image_faults(path: Path, contents: manifest.Manifest) -> Iterator[str]:
    place = 0
    try:
        for serialized in tf.data.TFRecordDataset(os.fspath(path)):
            record = parse(serialized, contents.num_vertices, len(contents.expressions))
            subject = record["subject"].numpy().decode("utf-8", "backslashreplace")
            for number, image in enumerate(record["image"].numpy()):
                fault = _image_fault(image, contents.image_size)
                if fault:
                    yield f"{path}: subject {subject!r}, view {number}: {fault}"
            place += 1
    except UNREADABLE as error:
        text = getattr(error, "message", "it cannot be parsed")
        raise ValueError(f"{path}: record {place} is none of this layout: {text}") from error


def _image_fault(encoded: bytes, size: tuple[int, int]) -> str | None:
    try:
        found = part_files.image_size_of(encoded, decode=True)
    except ValueError as error:
        return str(error)
    if found != size:
        return f"expected {size} (height, width), got {found}"
    try:
        preprocess.decode(tf.constant(encoded))
    except tf.errors.InvalidArgumentError as error:
        return f"TensorFlow cannot decode it: {error.message}"
    return None
