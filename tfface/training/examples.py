"""Where a stage's batches come from: the records, or a cache of what the frozen part puts out for them."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfface import files, models, schema
from tfface.data import augmentation as augmentations
from tfface.data import inspection, manifest, pipeline, records
from tfface.data.posing import Posing
from tfface.data.record_streams import Worker
from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints
from tfface.training.cache_spec import CacheSpec, Origin, digest_of
from tfface.training.feature_cache import FeatureCache
from tfface.training.interruption import StopRequest
from tfface.training.point_truth import PointTruth

_STATISTICS_SUBJECTS = 512
_SINGLE_VIEWS_SUBJECTS = 256
_CACHED_SUBJECTS = 16


class StageBatches(NamedTuple):
    """What a stage is trained and validated on."""

    stream: Callable[[int, Worker], tf.data.Dataset]
    """A worker's part of every batch from a step on, without end; the same for the same step."""
    validation: Callable[[Worker], tf.data.Dataset]
    """A worker's part of the examples to validate on."""


class Frozen(NamedTuple):
    """What is frozen in a stage, and what its features can be computed from instead of the crops."""

    lower: keras.Model
    """Crops ``[M, H, W, 3]`` -> features ``[M, h, w, c]``."""
    base: "Frozen | None" = None
    """The same at a lower cut, which is cached as well."""
    above_base: keras.Model | None = None
    """From the features of `base` to these."""


class Examples:
    """The training and validation examples of a run."""

    def __init__(
        self,
        folder: str,
        *,
        num_views: int,
        batch_size: int,
        mirror: bool = True,
        augmentation: str = "none",
        seed: int = 0,
        overfit_one_batch: bool = False,
        max_unreadable: float = 0.01,
    ):
        """Opens records, holds their files against the manifest, and looks at every photograph and number in them.

        Args:
          folder: Of the records.
          num_views: Views an example.
          batch_size: Subjects a step, over all replicas.
          mirror: Whether training sees mirrored scenes too.
          augmentation: A name in `tfface.data.augmentation.PRESETS`.
          seed: Of order, views, mirroring and augmentation.
          overfit_one_batch: Whether every step, and validation, sees the first batch.
          max_unreadable: Share of a split's photographs that may be unreadable; they are told and left out.

        Raises:
          ValueError: If the records or their 3DMM are not what the manifest says, if subjects have numbers that are not
            finite, or if a batch takes more than the training subjects.
        """
        self.manifest = manifest.read(folder)
        self.digest = files.sha256(os.path.join(folder, manifest.FILE_NAME))
        face_model = os.path.join(folder, manifest.FACE_MODEL_NAME)
        if files.sha256(face_model) != self.manifest.face_model:
            raise ValueError(f"records: {face_model} is not the 3DMM that these records were made with")
        self.face_model = MorphableModel.load(face_model)
        self.posing: Posing | None = None
        moves, symmetry = self.face_model.expressions, self.face_model.symmetry
        if self.manifest.expressions and moves is not None and symmetry is not None:
            self.posing = Posing(moves, symmetry)
        self.folder = folder
        self._num_views = num_views
        self._batch_size = batch_size
        self._mirror = mirror
        self._augmentation = augmentation
        self._seed = seed
        self._overfit_one_batch = overfit_one_batch
        self._inspected = {split: self._inspect(split, max_unreadable) for split in ("train", "validation")}
        if self._inspected["train"].subjects < batch_size:
            raise ValueError(
                f"batch_size: {batch_size} is more than the {self._inspected['train'].subjects} training subjects "
                f"of {folder}"
            )

    def _inspect(self, split: str, max_unreadable: float) -> inspection.Inspection:
        if not self.manifest.subjects[split]:
            raise ValueError(f"records: {self.folder}: the split {split!r} has no subject")
        records.verify(self.folder, split, checksums=True)
        inspected = inspection.inspect(self.folder, split, max_unreadable)
        if inspected.faults:
            subjects = len(self.manifest.subjects[split]) - inspected.subjects
            tqdm.write(
                f"split {split!r}: {len(inspected.faults)} of {self.manifest.views[split]} photographs cannot be "
                f"decoded and are left out, and with them {subjects} subjects that have no other:\n  "
                + "\n  ".join(inspected.faults)
            )
        return inspected

    @property
    def keys(self) -> frozenset[str]:
        """What a model can learn from the records: `schema.EXAMPLE` and, of people who move, their expressions."""
        moving = () if self.posing is None else schema.EXAMPLE_EXPRESSIONS
        return frozenset(field.key for field in (*schema.EXAMPLE, *moving))

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the crops, px."""
        return self.manifest.image_size

    @property
    def num_held_out(self) -> int:
        """Validation subjects."""
        return self._inspected["validation"].subjects

    def batches_a_round(self, variants: int) -> int:
        """Training batches that show every subject, on an average, once in each of its copies."""
        copies = variants * (2 if self._mirror else 1)
        return max(copies * self._inspected["train"].subjects // self._batch_size, 1)

    def cached_crops(self, variants: int) -> int:
        """Crops whose features the caches of a stage hold."""
        copies = {"train": variants * (2 if self._mirror else 1), "validation": 1}
        return sum(int(self._inspected[split].readable.sum()) * many for split, many in copies.items())

    def camera_statistics(self) -> models.CameraStatistics:
        """Standardisation of the pose heads, from the first few hundred training subjects."""
        subjects = pipeline.cameras(self.folder, "train", self._inspected["train"].readable).take(_STATISTICS_SUBJECTS)
        quaternions, translations, intrinsics = map(np.concatenate, zip(*subjects.as_numpy_iterator(), strict=True))
        return models.CameraStatistics.measure(quaternions, translations, intrinsics, self.image_size)

    def expression_statistics(self) -> models.ExpressionStatistics | None:
        """Standardisation of a head of expressions, from the first few hundred training subjects.

        None if the records are of neutral people, or not one expression is known.
        """
        if self.posing is None:
            return None
        subjects = pipeline.expressions(self.folder, "train", self._inspected["train"].readable)
        known = np.concatenate(list(subjects.take(_STATISTICS_SUBJECTS).as_numpy_iterator()))
        return models.ExpressionStatistics.measure(known) if len(known) else None

    def point_truth(self) -> PointTruth:
        """Of the points that a model of these people's 3DMM finds."""
        return PointTruth(SurfacePoints.spread(self.face_model), self.face_model)

    def sample(self, count: int) -> Mapping[str, tf.Tensor] | None:
        """The first validation subjects, to draw, by key of `schema.EXAMPLE`, [count, N, ...]; None if `count` is 0."""
        return next(iter(self.validation(batch_size=count))) if count else None

    def stream(self, start_step: int, worker: Worker = (0, 1)) -> tf.data.Dataset:
        """Training batches of images from a step on: a worker's part of each."""
        batches = pipeline.training_examples(
            self.folder,
            num_views=self._num_views,
            batch_size=self._batch_size,
            variation=pipeline.Variation(
                self._seed, 0.5 if self._mirror else 0.0, augmentations.PRESETS[self._augmentation]
            ),
            order=pipeline.Order(0 if self._overfit_one_batch else start_step, worker),
            readable=self._inspected["train"].readable,
        )
        return _endless(batches.take(1).cache().repeat() if self._overfit_one_batch else batches)

    def validation(self, worker: Worker = (0, 1), batch_size: int | None = None) -> tf.data.Dataset:
        """The validation split in order, in the views nearest to the target yaws: a worker's subjects."""
        if self._overfit_one_batch:
            return self.stream(0, worker).take(1)
        return pipeline.evaluation_examples(
            self.folder,
            "validation",
            num_views=self._num_views,
            batch_size=batch_size or self._batch_size // worker[1],
            worker=worker,
            readable=self._inspected["validation"].readable,
        )

    def cached(
        self,
        frozen: Frozen,
        cache_dir: str,
        variants: int,
        *,
        posed: bool = True,
        worker: Worker = (0, 1),
        barrier: Callable[[], None] = lambda: None,
        stop: StopRequest | None = None,
    ) -> StageBatches:
        """Training and validation batches of cached features, for the upper half of a model.

        Args:
          frozen: What is frozen.
          cache_dir: Folder of caches.
          variants: Augmented variants of each crop; a single one is the crop itself.
          posed: Whether batches hold the expressions of people who move, and what each view shows.
          worker: (index, number of workers); each computes its part of the caches.
          barrier: Waits until every worker has come to it.
          stop: Asked between batches whether to go on.
        """
        together: dict[str, Any] = {"worker": worker, "barrier": barrier, "stop": stop}
        together["posing"] = self.posing if posed else None
        training = self._cache("train", frozen, cache_dir, variants, self._mirror, together)

        def stream(start_step: int, worker: Worker = (0, 1)) -> tf.data.Dataset:
            start = 0 if self._overfit_one_batch else start_step
            batches = training.stream(self._num_views, self._batch_size, self._seed, start, worker)
            return _endless(batches.take(1).cache().repeat() if self._overfit_one_batch else batches)

        def first(worker: Worker = (0, 1)) -> tf.data.Dataset:
            return stream(0, worker).take(1)

        if self._overfit_one_batch:
            return StageBatches(stream, first)
        held_out = self._cache("validation", frozen, cache_dir, 1, False, together)

        def validation(worker: Worker = (0, 1)) -> tf.data.Dataset:
            return held_out.evaluation(self._num_views, self._batch_size // worker[1], worker)

        return StageBatches(stream, validation)

    def cached_views(
        self, split: str, frozen: Frozen, cache_dir: str, variants: int, posed: bool = False
    ) -> Iterator[dict[str, np.ndarray]]:
        """Every single view of a split from its cache, once `cached` has made it; see `FeatureCache.single_views`."""
        mirror = self._mirror and split == "train"
        variants, posing = variants if split == "train" else 1, {"posing": self.posing}
        cache = self._cache(split, frozen, cache_dir, variants, mirror, posing)
        return cache.single_views(_SINGLE_VIEWS_SUBJECTS, posed)

    def held_out_choices(
        self, frozen: Frozen, cache_dir: str, rounds: int, posed: bool = False
    ) -> Iterator[dict[str, np.ndarray]]:
        """Validation subjects in `rounds` choices of N views each, drawn as for training; after `cached`."""
        held_out = self._cache("validation", frozen, cache_dir, 1, False, {"posing": self.posing if posed else None})
        count = rounds * max(self._inspected["validation"].subjects // self._batch_size, 1)
        batches = held_out.stream(self._num_views, self._batch_size, self._seed, 0).take(count)
        return iter(batches.as_numpy_iterator())

    def _cache(
        self, split: str, frozen: Frozen, cache_dir: str, variants: int, mirror: bool, together: Mapping[str, Any]
    ) -> FeatureCache:
        augmentation = self._augmentation if variants > 1 else "none"
        readable = self._inspected[split].readable
        counts = readable.sum(axis=1)
        # Whoever has lost photographs has the others in the first places, and whoever has none is not seen.
        exists = np.arange(self.manifest.max_views) < counts[counts > 0, None]
        spec = CacheSpec(
            records=self.digest,
            split=split,
            encoder=digest_of(frozen.lower),
            subjects=len(exists),
            views=self.manifest.max_views,
            photographs=int(exists.sum()),
            variants=variants,
            mirror=mirror,
            augment=augmentation,
            seed=self._seed,
            expressions=len(self.manifest.expressions),
        )

        def versions(variant: int, part: tuple[int, int]) -> tf.data.Dataset:
            # The first variant is the crop as it is.
            varied = augmentations.PRESETS[augmentation] if variant else None
            batches = pipeline.all_views(
                self.folder,
                split,
                batch_size=_CACHED_SUBJECTS,
                variation=pipeline.Variation(self._seed, augmentation=varied),
                variant=variant,
                subjects=part,
                readable=readable,
            )
            mirror_weights = None if self.posing is None else self.posing.mirror_matrix
            return pipeline.with_mirror_images(batches, self.face_model.symmetry if mirror else None, mirror_weights)

        if frozen.base is not None and frozen.above_base is not None:
            origin = self._cache(split, frozen.base, cache_dir, variants, mirror, together).origin(frozen.above_base)
        else:
            origin = Origin(frozen.lower, schema.IMAGES.key, versions, exists)
        return FeatureCache.build(cache_dir, spec, origin, self.face_model, **together)


def _endless(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches that are known to have no end, so that workers need not agree at every step on whether there is one."""
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
