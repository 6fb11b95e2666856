"""The records of a split as streams: in order, or shuffled by seed and epoch without end."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from tfface.data import manifest, records
from tfface.data.posing import Posing
from tfface.face import MorphableModel

Worker = tuple[int, int]
"""(index, number of workers)."""

as_it_is = tf.autograph.experimental.do_not_convert
"""What is traced here has no control flow on tensors; to have its sources translated would cost seconds a data set."""

_SHARDS_AT_ONCE, _RECORDS_AT_ONCE = 4, 16
_OF_SUBJECT = frozenset({"subject", "vertices", "rotation"})  # the other keys of a record are of its views


@dataclasses.dataclass(frozen=True)
class RecordStreams:
    """The records of a split, verified, as streams of (epoch, position of the subject in the split, record).

    Attributes:
      contents: the manifest.
      paths: of the shards.
      starts: position of each shard's first subject.
      symmetry: of the 3DMM.
      readable: [S, V] bool, which stored views can be used; None if all of them can.
      usable: positions of the subjects that have such a view; the streams hold no others.
      posing: how the weights of views pose their subjects; None for records of neutral people.
    """

    contents: manifest.Manifest
    paths: list[str]
    starts: list[int]
    symmetry: np.ndarray
    readable: np.ndarray | None
    usable: np.ndarray
    posing: Posing | None

    @classmethod
    def open(cls, folder: str | os.PathLike[str], split: str, readable: np.ndarray | None = None) -> "RecordStreams":
        """Opens a split and holds its files against the manifest.

        Args:
          folder: of the records.
          split: which subjects.
          readable: [S, V] bool, which stored views can be used; all of them by default.

        Raises:
          ValueError: if a shard is damaged (it is named), or the 3DMM or `readable` does not fit.
        """
        contents = records.verify(folder, split)
        shards = contents.shards[split]
        starts = np.cumsum([0, *(shard.records for shard in shards)])[:-1].tolist()
        model = MorphableModel.load(os.path.join(folder, manifest.FACE_MODEL_NAME))
        if model.symmetry is None or model.num_vertices != contents.num_vertices:
            raise ValueError(
                f"{os.path.join(folder, manifest.FACE_MODEL_NAME)}: expected a symmetric 3DMM of "
                f"{contents.num_vertices} vertices, got {model.num_vertices}"
            )
        names = () if model.expressions is None else model.expressions.names
        if contents.expressions and names != contents.expressions:
            raise ValueError(
                f"{os.path.join(folder, manifest.FACE_MODEL_NAME)}: expected the expressions of the manifest, "
                f"{', '.join(contents.expressions)}, got {', '.join(names)}"
            )
        posing = None
        if contents.expressions and model.expressions is not None:
            posing = Posing(model.expressions, model.symmetry)
        subjects, views = len(contents.subjects[split]), contents.max_views
        if readable is not None and readable.shape != (subjects, views):
            raise ValueError(f"readable: expected shape {(subjects, views)}, got {readable.shape}")
        if readable is not None and np.count_nonzero(readable) == contents.views[split]:
            readable = None
        usable = np.arange(subjects) if readable is None else np.flatnonzero(readable.any(axis=1))
        paths = [os.fspath(path) for path in contents.shard_paths(folder, split)]
        return cls(contents, paths, starts, model.symmetry, readable, usable, posing)

    @as_it_is
    def with_views(self, numbered: tf.data.Dataset) -> tf.data.Dataset:
        """A stream of (position, record) without the subjects that have no view to use."""
        if self.readable is None:
            return numbered
        has_views = self.readable.any(axis=1)
        return numbered.filter(lambda position, _: tf.gather(has_views, position))

    def parse(self, position: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        """A record as `records.parse` reads it, with the views that can be used.

        Args:
          position: [], int64, of the subject in the manifest.
          record: [], the serialized record.
        """
        subject = records.parse(record, self.contents.num_vertices, len(self.contents.expressions))
        if self.readable is None:
            return subject
        rows = tf.where(tf.gather(self.readable, position))[:, 0]
        return {key: value if key in _OF_SUBJECT else tf.gather(value, rows) for key, value in subject.items()}

    @as_it_is
    def in_order(self, epoch: int = 0) -> tf.data.Dataset:
        """Every subject once, as the manifest lists them; `epoch` only labels the elements."""
        serialized = tf.data.TFRecordDataset(self.paths)
        numbered = self.with_views(serialized.enumerate())
        return numbered.map(lambda position, record: (np.int64(epoch), position, record))

    @as_it_is
    def shuffled(self, first_epoch: int, seed: int, buffer: int) -> tf.data.Dataset:
        """Epochs without end: the shards in random order, some at a time, and their records through a buffer."""

        def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
            # Of this function's graph alone: the order shall not follow tf.random.set_seed of the whole program.
            tf.random.set_seed(1)
            key = seed_of(seed, epoch)
            order = tf.random.experimental.stateless_shuffle(tf.range(len(self.paths)), key)
            shards = tf.data.Dataset.from_tensor_slices((tf.gather(self.paths, order), tf.gather(self.starts, order)))
            numbered = shards.interleave(
                lambda path, start: tf.data.TFRecordDataset(path).enumerate(tf.cast(start, tf.int64)),
                cycle_length=_SHARDS_AT_ONCE,
                block_length=_RECORDS_AT_ONCE,
            )
            draw = tf.random.stateless_uniform([], key, maxval=tf.int64.max, dtype=tf.int64)
            numbered = self.with_views(numbered).shuffle(buffer, seed=draw, reshuffle_each_iteration=False)
            return numbered.map(lambda position, record: (epoch, position, record))

        return tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max).flat_map(epoch_records)


@as_it_is
def part(stream: tf.data.Dataset, batch_size: int, worker: Worker) -> tf.data.Dataset:
    """A worker's part of what will be batches of a stream."""
    index, share = worker[0], batch_size // worker[1]
    return (
        stream.enumerate().filter(lambda place, _: place % batch_size // share == index).map(lambda _, element: element)
    )


def seed_of(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Stateless seed [2] of an epoch."""
    return tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
