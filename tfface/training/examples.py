"""Where a stage's batches come from: the records, or a cache of what the frozen part puts out for them."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfface import models, schema
from tfface.data import augment, manifest, pipeline
from tfface.face import MorphableModel
from tfface.models.cut import Halves
from tfface.training.feature_cache import CacheSpec, FeatureCache, digest_of
from tfface.training.loop import Stream

_STATISTICS_SUBJECTS = 512


class Examples:
    """The training and validation examples of a run."""

    def __init__(
        self,
        records: str,
        *,
        num_views: int,
        batch_size: int,
        mirror: bool = True,
        augmentation: str = "none",
        seed: int = 0,
        overfit_one_batch: bool = False,
    ):
        """Opens records.

        Args:
          records: Their folder.
          num_views: Views an example.
          batch_size: Subjects a step, over all replicas.
          mirror: Whether training sees mirrored scenes too.
          augmentation: A name in `tfface.data.augment.PRESETS`.
          seed: Of order, views, mirroring and augmentation.
          overfit_one_batch: Whether every step, and validation, sees the first batch.

        Raises:
          ValueError: If the records are not whole, or a batch takes more than the training subjects.
        """
        self.manifest = manifest.read(records)
        self.digest = manifest.sha256(os.path.join(records, manifest.FILE_NAME))
        self.face_model = MorphableModel.load(os.path.join(records, manifest.FACE_MODEL_NAME))
        self._records = records
        self._num_views = num_views
        self._batch_size = batch_size
        self._mirror = mirror
        self._augmentation = augmentation
        self._seed = seed
        self._overfit_one_batch = overfit_one_batch
        for split in ("train", "validation"):
            if not self.manifest.subjects[split]:
                raise ValueError(f"records: {records}: the split {split!r} has no subject")
        if len(self.manifest.subjects["train"]) < batch_size:
            raise ValueError(
                f"batch_size: {batch_size} is more than the {len(self.manifest.subjects['train'])} training subjects "
                f"of {records}"
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the crops, px."""
        return self.manifest.image_size

    def camera_statistics(self) -> models.CameraStatistics:
        """Standardisation of the pose heads, from the first few hundred training subjects."""
        keys = (schema.QUATERNIONS.key, schema.TRANSLATIONS.key, schema.INTRINSICS.key)
        cameras: dict[str, list[np.ndarray]] = {key: [] for key in keys}
        batches = pipeline.all_views(self._records, "train", batch_size=64)
        for batch in batches.take(_STATISTICS_SUBJECTS // 64):
            exists = batch[schema.VIEW_MASK.key].numpy() > 0
            for key in keys:
                cameras[key].append(batch[key].numpy()[exists])
        quaternions, translations, intrinsics = (np.concatenate(cameras[key]) for key in keys)
        return models.CameraStatistics.measure(quaternions, translations, intrinsics, self.image_size)

    def sample(self, count: int) -> Mapping[str, tf.Tensor] | None:
        """The first validation subjects, to draw; None if `count` is 0."""
        return next(iter(self.validation(count))) if count else None

    def stream(self, start_step: int) -> tf.data.Dataset:
        """Training batches of images from a step on."""
        batches = pipeline.training_examples(
            self._records,
            num_views=self._num_views,
            batch_size=self._batch_size,
            seed=self._seed,
            start_step=0 if self._overfit_one_batch else start_step,
            mirror=self._mirror,
            augmentation=augment.PRESETS[self._augmentation],
        )
        return batches.take(1).cache().repeat() if self._overfit_one_batch else batches

    def validation(self, batch_size: int | None = None) -> tf.data.Dataset:
        """The validation split in order, in the views nearest to the target yaws."""
        if self._overfit_one_batch:
            return self.stream(0).take(1)
        return pipeline.evaluation_examples(
            self._records, "validation", num_views=self._num_views, batch_size=batch_size or self._batch_size
        )

    def cached(self, halves: Halves, cache_dir: str, variants: int) -> tuple[Stream, tf.data.Dataset]:
        """Training and validation batches of cached features, for the upper half of a model.

        Args:
          halves: The model in two.
          cache_dir: Folder of caches.
          variants: Augmented variants of each crop; a single one is the crop itself.
        """
        training = self._cache("train", halves, cache_dir, variants, self._mirror)

        def stream(start_step: int) -> tf.data.Dataset:
            if self._overfit_one_batch:
                return training.stream(self._num_views, self._batch_size, self._seed, 0).take(1).cache().repeat()
            return training.stream(self._num_views, self._batch_size, self._seed, start_step)

        if self._overfit_one_batch:
            return stream, stream(0).take(1)
        validation = self._cache("validation", halves, cache_dir, 1, mirror=False)
        return stream, validation.evaluation(self._num_views, self._batch_size)

    def _cache(self, split: str, halves: Halves, cache_dir: str, variants: int, mirror: bool) -> FeatureCache:
        augmentation = self._augmentation if variants > 1 else "none"
        spec = CacheSpec(
            records=self.digest,
            split=split,
            encoder=digest_of(halves.lower),
            subjects=len(self.manifest.subjects[split]),
            views=self.manifest.max_views,
            variants=variants,
            mirror=mirror,
            augment=augmentation,
            seed=self._seed,
        )

        def subjects(variant: int, mirrored: bool) -> tf.data.Dataset:
            options: dict[str, Any] = {"mirrored": mirrored, "variant": variant, "seed": self._seed}
            # The first variant is the crop as it is.
            options["augmentation"] = augment.PRESETS[augmentation] if variant else None
            return pipeline.all_views(self._records, split, batch_size=16, **options)

        return FeatureCache.build(cache_dir, spec, halves.lower, subjects, self.face_model)
