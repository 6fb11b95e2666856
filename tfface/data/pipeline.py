"""From records to batches of `schema.EXAMPLE`, with tf.data.

Records of people with expressions give the keys of `schema.EXAMPLE_EXPRESSIONS` besides. A view whose expression is
unknown has weights of 0 and the neutral shape, and is marked.

Everything random about a subject (its views, its mirror image, its augmentation) is drawn by stateless operations from
(seed, epoch, position of the subject in its split), so that a stream does not depend on threads and can begin at any
step. An endless stream of training examples walks through the split in another order in every epoch; a batch may hold
the end of one epoch and the beginning of the next, and no subject is ever left out.
"""

import dataclasses
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from PIL import Image

from tfface import schema
from tfface.data import augment, preprocess, records, selection, symmetrise
from tfface.data.augmentation import Augmentation
from tfface.data.record_streams import RecordStreams, Worker, as_it_is, part, seed_of

Batch = TypeVar("Batch")
Choice = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(yaws [V], stateless seed [2]) -> indices of views [N], -1 for none."""

SHUFFLE_BUFFER = 2048
"""Records that wait to be drawn, in their encoded form."""


@dataclasses.dataclass(frozen=True)
class Variation:
    """What is varied of the scenes, at random.

    Attributes:
      seed: of everything random.
      mirrored: share of the scenes that are mirrored: 0 none, 1 all; one half gives each scene and its mirror image in
        as many epochs.
      augmentation: of the crops; none by default.
    """

    seed: int = 0
    mirrored: float = 0.0
    augmentation: Augmentation | None = None


@dataclasses.dataclass(frozen=True)
class Order:
    """Which batches of an endless stream come, and who gets what of them.

    Attributes:
      start_step: the step whose batch comes first; what lies before it is skipped undecoded.
      worker: (index, number of workers). Worker i gets the i-th part of every batch and decodes nothing else.
      shuffle_buffer: number of records that wait to be drawn.
    """

    start_step: int = 0
    worker: Worker = (0, 1)
    shuffle_buffer: int = SHUFFLE_BUFFER


AS_STORED = Variation()
EACH_AND_MIRRORED = Variation(mirrored=0.5)
FROM_THE_START = Order()


def training_examples(
    folder: str | os.PathLike[str],
    split: str = "train",
    *,
    num_views: int,
    batch_size: int,
    variation: Variation = EACH_AND_MIRRORED,
    order: Order = FROM_THE_START,
    image_size: tuple[int, int] | None = None,
    readable: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Endless batches for training; the same arguments give the same batches, whatever the machine.

    Args:
      folder: of the records.
      split: which subjects.
      num_views: N; one view is any of the subject's, more are those near the targets of `selection`, with variation.
      batch_size: B, subjects a step over all workers.
      variation: what is varied; its seed decides the order and the choice of views too.
      order: where the stream begins, and whose part of it this is.
      image_size: height and width of the crops, px; by default that of the stored images.
      readable: [S, V] bool, which stored views can be used (`inspection.inspect`); all of them by default.

    Returns:
      Batches by key of `schema.EXAMPLE`, [B / workers, N, ...].

    Raises:
      ValueError: if a shard is damaged (it is named), or an argument does not fit.
    """
    streams = RecordStreams.open(folder, split, readable)
    index, workers = order.worker
    if batch_size < 1 or not 0 <= index < workers or batch_size % workers:
        raise ValueError(
            f"batch_size: expected a positive multiple of the number of workers, got {batch_size} for worker "
            f"{order.worker}"
        )
    subjects = len(streams.usable)
    epoch, skipped = divmod(order.start_step * batch_size, subjects)
    # Element e of the stream is at place e % batch_size of its batch, wherever an epoch ends.
    stream = streams.shuffled(epoch, variation.seed, min(order.shuffle_buffer, subjects)).skip(skipped)
    if workers > 1:
        stream = part(stream, batch_size, order.worker)

    def choose(yaws: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        return selection.sample_views_in_graph(yaws, num_views, draw)

    return _batches(
        streams,
        stream,
        choose,
        num_views,
        batch_size // workers,
        variation=variation,
        image_size=image_size,
        drop_remainder=True,
    )


def evaluation_examples(
    folder: str | os.PathLike[str],
    split: str,
    *,
    num_views: int,
    batch_size: int,
    image_size: tuple[int, int] | None = None,
    worker: Worker = (0, 1),
    readable: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Every subject of a split once, in the order of the manifest, in the views nearest to the target yaws.

    Args:
      folder: of the records.
      split: which subjects.
      num_views: N.
      batch_size: B; the last batch may be smaller.
      image_size: height and width of the crops, px; by default that of the stored images.
      worker: (index, number of workers). Of n workers, worker i gets the subjects i, i + n, ... and decodes no other.
      readable: [S, V] bool, which stored views can be used (`inspection.inspect`); all of them by default.

    Returns:
      Batches by key of `schema.EXAMPLE`, [B, N, ...].

    Raises:
      ValueError: if a shard is damaged; it is named.
    """
    streams = RecordStreams.open(folder, split, readable)
    index, workers = worker

    def choose(yaws: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return selection.nearest_views_in_graph(yaws, num_views)

    stream = streams.in_order().shard(workers, index)
    return _batches(streams, stream, choose, num_views, batch_size, image_size=image_size)


def all_views(
    folder: str | os.PathLike[str],
    split: str,
    *,
    batch_size: int,
    variation: Variation = AS_STORED,
    variant: int = 0,
    image_size: tuple[int, int] | None = None,
    subjects: tuple[int, int] | None = None,
    readable: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Every subject of a split once, in the order of the manifest, in all of its views, in their stored order.

    Args:
      folder: of the records.
      split: which subjects.
      batch_size: B; the last batch may be smaller.
      variation: what is varied.
      variant: stands for the epoch where numbers for the variation are drawn.
      image_size: height and width of the crops, px; by default that of the stored images.
      subjects: begin and end of a part of them; nothing else is decoded.
      readable: [S, V] bool, which stored views can be used (`inspection.inspect`); all of them by default.

    Returns:
      Batches by key of `schema.EXAMPLE`, [B, V, ...], where V is `max_views` of the manifest; `view_mask` tells which
      views a subject has.

    Raises:
      ValueError: if a shard is damaged; it is named.
    """
    streams = RecordStreams.open(folder, split, readable)
    begin, end = subjects or (0, len(streams.usable))
    places = tf.range(streams.contents.max_views)

    def choose(yaws: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return tf.where(places < tf.size(yaws), places, -1)

    return _batches(
        streams,
        streams.in_order(variant).skip(begin).take(end - begin),
        choose,
        streams.contents.max_views,
        batch_size,
        variation=variation,
        image_size=image_size,
    )


def cameras(folder: str | os.PathLike[str], split: str, readable: np.ndarray | None = None) -> tf.data.Dataset:
    """The cameras of every subject of a split, in the order of the manifest, without its photographs.

    Args:
      folder: of the records.
      split: which subjects.
      readable: [S, V] bool, which stored views can be used; all of them by default.

    Returns:
      A subject at a time, quaternions [V, 4], translations [V, 3] and intrinsics [V, 3, 3] of its V views.

    Raises:
      ValueError: if a shard is damaged; it is named.
    """
    streams = RecordStreams.open(folder, split, readable)

    def of_subject(_: tf.Tensor, position: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        subject = streams.parse(position, record)
        return subject["quaternion"], subject["translation"], subject["intrinsics"]

    return streams.in_order().map(as_it_is(of_subject))


def expressions(folder: str | os.PathLike[str], split: str, readable: np.ndarray | None = None) -> tf.data.Dataset:
    """The expressions of every subject of a split, in the order of the manifest, without its photographs.

    Args:
      folder: of records of people with expressions.
      split: which subjects.
      readable: [S, V] bool, which stored views can be used; all of them by default.

    Returns:
      A subject at a time, the weights [K, E] of those K views whose expression is known.

    Raises:
      ValueError: if a shard is damaged; it is named.
    """
    streams = RecordStreams.open(folder, split, readable)

    def of_subject(_: tf.Tensor, position: tf.Tensor, record: tf.Tensor) -> tf.Tensor:
        subject = streams.parse(position, record)
        return tf.boolean_mask(subject["expressions"], subject["expressions_known"] > 0)

    return streams.in_order().map(as_it_is(of_subject))


def single_views(batches: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Every existing view of multi view batches as an example of its own: [B, 1, ...], the last batch maybe smaller."""

    def views(example: Mapping[str, tf.Tensor]) -> tf.data.Dataset:
        shared = (schema.SUBJECT.key, schema.VERTICES.key, schema.DELTA_ROTATIONS.key)
        count = tf.shape(example[schema.VIEW_MASK.key])[0]
        repeated = {
            key: tf.repeat(value[None], count, axis=0) if key in shared else value[:, None]
            for key, value in example.items()
        }
        exists = example[schema.VIEW_MASK.key] > 0
        chosen = {key: tf.boolean_mask(value, exists) for key, value in repeated.items()}
        return tf.data.Dataset.from_tensor_slices(chosen)

    return _sharded_by_element(batches.unbatch().flat_map(as_it_is(views)).batch(batch_size).prefetch(tf.data.AUTOTUNE))


def with_mirror_images(
    batches: tf.data.Dataset, symmetry: np.ndarray | None, mirror_weights: np.ndarray | None = None
) -> tf.data.Dataset:
    """Each batch with its mirror image, decoded once for both; alone if the 3DMM's `symmetry` [P] is None.

    Of people with expressions, `mirror_weights` [E, E] is that of `Expressions.mirror_matrix`.
    """

    def both(batch: Mapping[str, tf.Tensor]) -> tuple[Mapping[str, tf.Tensor], ...]:
        if symmetry is None:
            return (batch,)
        return (batch, symmetrise.mirror_scene(batch, symmetry, mirror_weights))

    return batches.map(as_it_is(both), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(1)


def naming_faults(batches: Iterable[Batch], folder: str | os.PathLike[str], split: str) -> Iterator[Batch]:
    """Passes batches on; where reading or decoding fails, finds out which shard or photograph is at fault.

    Args:
      batches: a data set of this module, as it is or distributed.
      folder: of its records.
      split: of its records.

    Yields:
      The batches.

    Raises:
      ValueError: naming the damaged shards, or else the subjects whose photographs cannot be decoded.
    """
    try:
        yield from batches
    except (*records.UNREADABLE, tf.errors.NotFoundError) as error:
        records.verify(folder, split, checksums=True)
        faults = records.unreadable_images(folder, split)
        if not faults:
            raise
        raise ValueError(f"{os.fspath(folder)}, split {split!r}: " + "; ".join(faults)) from error


@as_it_is
def _batches(
    streams: RecordStreams,
    stream: tf.data.Dataset,
    choose: Choice,
    num_views: int,
    batch_size: int,
    *,
    image_size: tuple[int, int] | None,
    variation: Variation = AS_STORED,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Decodes the chosen views of a stream of records, batches them, mirrors and varies them."""
    stored = streams.contents.image_size
    blank = _blank_image(stored)
    fields = schema.EXAMPLE if streams.posing is None else (*schema.EXAMPLE, *schema.EXAMPLE_EXPRESSIONS)

    def decode(epoch: tf.Tensor, position: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        mirror_seed, view_seed, augment_seed, noise_seed = tf.unstack(
            tf.random.split(tf.random.fold_in(seed_of(variation.seed, epoch), position), 4)
        )
        subject = streams.parse(position, record)
        mirrored = tf.random.stateless_uniform([], mirror_seed) < variation.mirrored  # from [0, 1)
        yaws = selection.yaws_in_graph(subject["quaternion"])
        chosen = choose(tf.where(mirrored, -yaws, yaws), view_seed)
        exists, rows = chosen >= 0, tf.maximum(chosen, 0)
        encoded = tf.unstack(tf.where(exists, tf.gather(subject["image"], rows), blank), num_views)
        example = {
            schema.SUBJECT.key: subject["subject"],
            schema.IMAGES.key: tf.stack(
                [tf.ensure_shape(preprocess.decode_in_graph(image), [*stored, 3]) for image in encoded]
            ),
            schema.INTRINSICS.key: tf.gather(subject["intrinsics"], rows),
            schema.VIEW_MASK.key: tf.cast(exists, tf.float32),
            schema.VERTICES.key: subject["vertices"],
            schema.QUATERNIONS.key: tf.gather(subject["quaternion"], rows),
            schema.TRANSLATIONS.key: tf.gather(subject["translation"], rows),
            "mirrored": mirrored,
            "draws": augment.draw(augment_seed, num_views),
            "noise_seed": noise_seed,
        }
        if streams.posing is not None:
            example[schema.EXPRESSIONS.key] = tf.gather(subject["expressions"], rows)
            example[schema.EXPRESSIONS_KNOWN.key] = tf.gather(subject["expressions_known"], rows)
            example[schema.DELTA_ROTATIONS.key] = subject["rotation"]
        return example

    def finish(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        batch = dict(batch)
        mirrored, draws, noise_seeds = batch.pop("mirrored"), batch.pop("draws"), batch.pop("noise_seed")
        batch[schema.IMAGES.key], batch[schema.INTRINSICS.key] = preprocess.resize(
            batch[schema.IMAGES.key], batch[schema.INTRINSICS.key], image_size or stored
        )
        if streams.posing is not None:
            batch[schema.POSED.key] = streams.posing.posed(
                batch[schema.VERTICES.key], batch[schema.EXPRESSIONS.key], batch[schema.DELTA_ROTATIONS.key]
            )
        if variation.mirrored:
            mirror_weights = None if streams.posing is None else streams.posing.mirror_matrix
            batch = symmetrise.mirror_where(batch, streams.symmetry, mirrored, mirror_weights)
        if variation.augmentation is not None:
            batch = augment.augment(batch, draws, noise_seeds[0], variation.augmentation)
        return {field.key: batch[field.key] for field in fields}

    decoded = stream.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = decoded.batch(batch_size, drop_remainder=drop_remainder)
    finished = batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return _sharded_by_element(finished.prefetch(tf.data.AUTOTUNE))


def _blank_image(size: tuple[int, int]) -> bytes:
    """A black PNG, which stands for a view that does not exist."""
    file = io.BytesIO()
    Image.new("RGB", size[::-1]).save(file, "PNG")
    return file.getvalue()


def _sharded_by_element(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)
