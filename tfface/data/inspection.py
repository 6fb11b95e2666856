"""Looks at every record of a split before a run does: photographs that cannot be decoded, numbers that are not finite.

A photograph that cannot be decoded is left out, as if its subject had one fewer; a subject without any other is left
out whole. More than a small share of them means that something is wrong with the data, and is an error.
"""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from tfface.data import manifest, preprocess, records

_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a split's records hold that can be used.

    Attributes:
      readable: [S, V] bool; whether a photograph exists and can be decoded, by position of the subject in the split.
      faults: one line a photograph that cannot be decoded: subject, view and reason.
    """

    readable: np.ndarray
    faults: tuple[str, ...]

    @property
    def subjects(self) -> int:
        """The number of subjects with a photograph that can be decoded."""
        return int(np.count_nonzero(self.readable.any(axis=1)))


def inspect(folder: str | os.PathLike[str], split: str, max_unreadable: float = 0.01) -> Inspection:
    """Decodes every photograph of a split once and looks at every number; the files themselves are `records.verify`'s.

    Args:
      folder: of the records.
      split: which subjects.
      max_unreadable: the share of the photographs that may be unreadable.

    Returns:
      What can be used.

    Raises:
      ValueError: naming the subjects whose shapes or cameras are not finite, the photographs that cannot be decoded if
        they are more than the share, or the record that is none.
    """
    contents = manifest.read(folder)
    paths = [os.fspath(path) for path in contents.shard_paths(folder, split)]
    subjects = contents.subjects[split]
    readable = np.zeros((len(subjects), contents.max_views), bool)
    broken = np.zeros(len(subjects), bool)
    for positions, views, finite in _readable_views(paths, contents).batch(1024).as_numpy_iterator():
        if positions.max() >= len(subjects) or views.max() >= contents.max_views:
            raise ValueError(f"records in {os.fspath(folder)}, split {split!r}: there is more than the manifest says")
        readable[positions, views] = True
        broken[positions[~finite]] = True
    if broken.any():
        named = [repr(subjects[position]) for position in np.flatnonzero(broken)]
        raise ValueError(
            f"records in {os.fspath(folder)}, split {split!r}: expected finite shapes and cameras, got NaN or infinity "
            f"in subject {_list(named, ', ')}"
        )
    total = contents.views[split]
    missing = total - np.count_nonzero(readable)
    if missing < 0:
        raise ValueError(f"records in {os.fspath(folder)}, split {split!r}: there is more than the manifest says")
    if not missing:
        return Inspection(readable, ())
    faults = tuple(records.unreadable_images(folder, split))
    if missing > max_unreadable * total:
        raise ValueError(
            f"records in {os.fspath(folder)}, split {split!r}: {missing} of {total} photographs cannot be decoded, "
            f"more than the share of {max_unreadable:g} that is put up with:\n  " + _list(faults, "\n  ")
        )
    return Inspection(readable, faults)


@tf.autograph.experimental.do_not_convert
def _readable_views(paths: list[str], contents: manifest.Manifest) -> tf.data.Dataset:
    """(position of the subject, view, whether its numbers are finite) of each photograph that can be decoded."""

    def views(position: tf.Tensor, serialized: tf.Tensor) -> tf.data.Dataset:
        record = records.parse(serialized, contents.num_vertices, len(contents.expressions))
        numbers = [value for value in record.values() if value.dtype != tf.string]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in numbers])
        count = tf.size(record["image"])
        return tf.data.Dataset.from_tensor_slices(
            (tf.repeat(position, count), tf.range(count), tf.repeat(finite, count), record["image"])
        )

    def decode(
        position: tf.Tensor, view: tf.Tensor, finite: tf.Tensor, image: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels = tf.ensure_shape(preprocess.decode_in_graph(image), [*contents.image_size, 3])
        # What is returned hangs on the pixels, so that the decoding is not optimised away.
        return position, view, finite & (tf.reduce_max(tf.cast(pixels, tf.int32)) >= 0)

    photographs = tf.data.TFRecordDataset(paths).enumerate().flat_map(views)
    return photographs.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False).ignore_errors()


def _list(lines: list[str] | tuple[str, ...], separator: str) -> str:
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return separator.join([*lines[:_SHOWN], *more])
