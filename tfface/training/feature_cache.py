"""What the frozen part of a network puts out, computed once, kept on disk, and served as batches.

A cache holds, for every subject of a split, `copies` versions of each view: the crop as it is, its mirror image, and
augmented variants of either. Features are float16 (bfloat16 activations fit into it), poses and intrinsics go with each
copy, and the shapes stand once a subject, mirrored where a batch asks for it.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfface import schema
from tfface.data import selection, symmetrise
from tfface.face import MorphableModel
from tfface.models.regressor import FEATURES
from tfface.training.run_directory import write_atomically

SubjectBatches = Callable[[int, bool], tf.data.Dataset]
"""(variant, mirrored) -> batches of `schema.EXAMPLE` with every view of every subject, in the order of the split."""

_PER_VIEW = {
    schema.INTRINSICS.key: (3, 3),
    schema.QUATERNIONS.key: (4,),
    schema.TRANSLATIONS.key: (3,),
    schema.VIEW_MASK.key: (),
}


@dataclasses.dataclass(frozen=True)
class CacheSpec:
    """What a cache holds; its hash names the folder, so a cache is found again only for the same work."""

    records: str
    """Hash of the records."""
    split: str
    encoder: str
    """Hash of the frozen weights, see `digest_of`."""
    subjects: int
    views: int
    variants: int
    mirror: bool
    augment: str
    seed: int

    @property
    def copies(self) -> int:
        """Versions of each view."""
        return self.variants * (2 if self.mirror else 1)

    @property
    def name(self) -> str:
        """Folder name."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return f"{self.split}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def digest_of(network: keras.Model) -> str:
    """Hash of a network's weights and shapes."""
    digest = hashlib.sha256(json.dumps([network.input_shape, network.output_shape]).encode())
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


class FeatureCache:
    """Cached features of one split; build it with `FeatureCache.build`.

    Raises:
      ValueError: If it holds mirrored copies and the 3DMM does not say how a shape mirrors.
    """

    def __init__(self, spec: CacheSpec, arrays: Mapping[str, np.memmap], symmetry: np.ndarray | None):
        if spec.mirror and symmetry is None:
            raise ValueError("symmetry: a 3DMM with a symmetry expected, to mirror its shapes; got one without")
        self.spec = spec
        self._arrays = arrays
        self._symmetry = symmetry

    @classmethod
    def build(
        cls,
        folder: str,
        spec: CacheSpec,
        lower: keras.Model,
        subjects: SubjectBatches,
        face_model: MorphableModel,
    ) -> "FeatureCache":
        """Computes what is not there yet; killed anywhere, it goes on at the last whole batch.

        Args:
          folder: Where caches live; this one goes into ``<folder>/<spec.name>``.
          spec: What to hold.
          lower: The frozen part, crops ``[M, H, W, 3]`` -> features ``[M, h, w, c]``.
          subjects: The batches to compute it from.
          face_model: Says how many vertices a shape has and how they mirror.

        Raises:
          ValueError: If a file of the cache is damaged.
        """
        path = os.path.join(folder, spec.name)
        os.makedirs(path, exist_ok=True)
        progress_path = os.path.join(path, "progress.json")
        done = 0
        if os.path.isfile(progress_path):
            with open(progress_path, encoding="utf-8") as file:
                done = json.load(file)["subjects"]
        leading = (spec.subjects, spec.copies, spec.views)
        shapes = {FEATURES: (*leading, *lower.output_shape[1:])}
        shapes |= {key: (*leading, *shape) for key, shape in _PER_VIEW.items()}
        shapes[schema.VERTICES.key] = (spec.subjects, face_model.num_vertices, 3)
        arrays = {
            key: _memmap(os.path.join(path, f"{key}.npy"), shape, "float16" if key == FEATURES else "float32")
            for key, shape in shapes.items()
        }
        total = spec.subjects * spec.copies
        if done < total:
            _fill(arrays, spec, lower, subjects, done, lambda count: _mark(progress_path, arrays, count))
        return cls(spec, arrays, face_model.symmetry)

    def stream(self, num_views: int, batch_size: int, seed: int, start_step: int) -> tf.data.Dataset:
        """Training batches without end, the same for the same seed and step.

        An epoch shows every subject once, in one of its copies and in `num_views` of its views, both drawn by seed and
        epoch.
        """

        def batches() -> Iterator[dict[str, np.ndarray]]:
            steps_per_epoch = max(self.spec.subjects // batch_size, 1)
            epoch, step = divmod(start_step, steps_per_epoch)
            while True:
                rng = np.random.default_rng([seed, epoch])
                order = rng.permutation(self.spec.subjects)
                copies = rng.integers(self.spec.copies, size=self.spec.subjects)
                views = selection.sample_views(self._yaws(copies), self._mask(copies), num_views, rng)
                for position in range(step, steps_per_epoch):
                    chosen = order[position * batch_size : (position + 1) * batch_size]
                    yield self._gather(chosen, copies[chosen], views[chosen])
                epoch, step = epoch + 1, 0

        return self._dataset(batches, num_views)

    def evaluation(self, num_views: int, batch_size: int) -> tf.data.Dataset:
        """Every subject once, unmirrored, in the views nearest to the target yaws, in order."""
        copies = np.zeros(self.spec.subjects, np.int64)
        views = selection.nearest_views(self._yaws(copies), self._mask(copies), num_views)

        def batches() -> Iterator[dict[str, np.ndarray]]:
            for first in range(0, self.spec.subjects, batch_size):
                chosen = np.arange(first, min(first + batch_size, self.spec.subjects))
                yield self._gather(chosen, copies[chosen], views[chosen])

        return self._dataset(batches, num_views)

    def _yaws(self, copies: np.ndarray) -> np.ndarray:
        quaternions = self._arrays[schema.QUATERNIONS.key][np.arange(len(copies)), copies]
        return selection.yaws(quaternions)

    def _mask(self, copies: np.ndarray) -> np.ndarray:
        return self._arrays[schema.VIEW_MASK.key][np.arange(len(copies)), copies]

    def _gather(self, subjects: np.ndarray, copies: np.ndarray, views: np.ndarray) -> dict[str, np.ndarray]:
        rows, columns = subjects[:, None], copies[:, None]
        exists = views >= 0
        taken = {key: self._arrays[key][rows, columns, np.maximum(views, 0)] for key in (FEATURES, *_PER_VIEW)}
        taken[schema.VIEW_MASK.key] = taken[schema.VIEW_MASK.key] * exists
        vertices = np.array(self._arrays[schema.VERTICES.key][subjects])
        mirrored = copies >= self.spec.variants
        if self._symmetry is not None and mirrored.any():
            vertices[mirrored] = symmetrise.mirror_vertices(vertices[mirrored], self._symmetry)
        return {**taken, schema.VERTICES.key: vertices}

    def _dataset(self, batches: Callable[[], Iterator[Any]], num_views: int) -> tf.data.Dataset:
        signature = {
            key: tf.TensorSpec(
                (None, *array.shape[1:]) if key == schema.VERTICES.key else (None, num_views, *array.shape[3:]),
                array.dtype,
            )
            for key, array in self._arrays.items()
        }
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return tf.data.Dataset.from_generator(batches, output_signature=signature).with_options(options).prefetch(4)


def _memmap(path: str, shape: tuple[int, ...], dtype: str) -> np.memmap:
    if os.path.isfile(path):
        array = np.lib.format.open_memmap(path, mode="r+")
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"cache: {path}: expected {dtype} {shape}, got {array.dtype} {array.shape}; remove it")
        return array
    return np.lib.format.open_memmap(path, mode="w+", shape=shape, dtype=dtype)


def _mark(path: str, arrays: Mapping[str, np.memmap], count: int) -> None:
    for array in arrays.values():
        array.flush()
    write_atomically(path, json.dumps({"subjects": count}))


def _fill(
    arrays: Mapping[str, np.ndarray],
    spec: CacheSpec,
    lower: keras.Model,
    subjects: SubjectBatches,
    done: int,
    mark: Callable[[int], None],
) -> None:
    forward = tf.function(lambda crops: tf.cast(lower(crops, training=False), tf.float16))
    bar = tqdm(
        total=spec.subjects * spec.copies,
        initial=done,
        desc=f"frozen features, {spec.split}",
        unit="subject",
        dynamic_ncols=True,
        mininterval=1.0,
    )
    with bar:
        for copy in range(done // spec.subjects, spec.copies):
            first = done - copy * spec.subjects
            dataset = subjects(copy % spec.variants, copy >= spec.variants)
            for index, batch in enumerate(dataset.unbatch().skip(first).batch(16).prefetch(2)):
                images = batch[schema.IMAGES.key]
                rows = slice(first + index * 16, first + index * 16 + images.shape[0])
                features = forward(tf.reshape(images, (-1, *images.shape[2:]))).numpy()
                arrays[FEATURES][rows, copy] = features.reshape(*images.shape[:2], *features.shape[1:])
                for key in _PER_VIEW:
                    arrays[key][rows, copy] = batch[key].numpy()
                if copy == 0:
                    arrays[schema.VERTICES.key][rows] = batch[schema.VERTICES.key].numpy()
                bar.update(images.shape[0])
                if index % 20 == 19:
                    mark(copy * spec.subjects + rows.stop)
            done = (copy + 1) * spec.subjects
            mark(done)
