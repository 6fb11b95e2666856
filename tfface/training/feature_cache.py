"""What the frozen part of a network puts out, computed once, kept on disk, and served as batches.

A cache holds, for every subject of a split, `copies` versions of each view: the crop as it is, augmented variants of
it, and the mirror image of each. Features are float16 (bfloat16 activations fit into it), those of all photographs in a
row; poses and intrinsics go with each copy. The shape and, of people who move, the weights of the views stand once a
subject; batches mirror them and pose the shape.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfface import schema
from tfface.data import selection, symmetrise
from tfface.data.posing import Posing
from tfface.data.record_streams import Worker
from tfface.face import MorphableModel
from tfface.training.array_files import Progress, RowWriter, create_array, open_array
from tfface.training.cache_spec import CacheSpec, Origin, Versions
from tfface.training.interruption import StopRequest

_SUBJECTS_A_BATCH = 16

_BATCHES_A_MARK = 20
"""What is computed again, at most, after a kill."""

_PER_VIEW = {
    schema.INTRINSICS.key: (3, 3),
    schema.QUATERNIONS.key: (4,),
    schema.TRANSLATIONS.key: (3,),
    schema.VIEW_MASK.key: (),
}
_OF_COPY = (schema.FEATURES.key, *_PER_VIEW)
"""What stands once a copy; all else stands once a subject."""

_ABSENT = -1
"""Where a view has no photograph."""


def _per_subject(spec: CacheSpec, face_model: MorphableModel) -> dict[str, tuple[int, ...]]:
    """Shapes of what a cache holds once a subject."""
    shapes: dict[str, tuple[int, ...]] = {schema.VERTICES.key: (face_model.num_vertices, 3)}
    if spec.expressions:
        shapes[schema.EXPRESSIONS.key] = (spec.views, spec.expressions)
        shapes[schema.EXPRESSIONS_KNOWN.key] = (spec.views,)
        shapes[schema.DELTA_ROTATIONS.key] = (4,)
    return shapes


class FeatureCache:
    """Cached features of one split; build it with `FeatureCache.build`."""

    def __init__(
        self,
        spec: CacheSpec,
        arrays: Mapping[str, np.memmap],
        places: np.ndarray,
        symmetry: np.ndarray | None,
        posing: Posing | None = None,
    ):
        self.spec = spec
        self._arrays = arrays
        self._places = places
        self._symmetry = symmetry
        self._posing = posing

    @classmethod
    def build(
        cls,
        folder: str,
        spec: CacheSpec,
        origin: Origin,
        face_model: MorphableModel,
        *,
        posing: Posing | None = None,
        worker: Worker = (0, 1),
        barrier: Callable[[], None] = lambda: None,
        stop: StopRequest | None = None,
    ) -> "FeatureCache":
        """Computes what is not there yet; killed anywhere, it goes on at the last whole batches.

        Args:
          folder: Where caches live; this one goes into ``<folder>/<spec.name>``. All workers must see the same one.
          spec: What to hold.
          origin: What to compute it from.
          face_model: Says how many vertices a shape has and how they mirror.
          posing: How weights pose the people; without it, batches leave out what `spec` holds of expressions.
          worker: (index, number of workers); each computes its part of the subjects.
          barrier: Waits until every worker has come to it.
          stop: Asked between batches whether to go on.

        Raises:
          ValueError: If a file of the cache is damaged, the workers do not share the folder, or mirrored copies are
            asked for and the 3DMM does not say how a shape mirrors; or `origin` has other photographs than it says.
          OSError: If the disk has no room for it.
          StoppedError: If the run was asked to stop.
        """
        if spec.mirror and face_model.symmetry is None:
            raise ValueError("symmetry: a 3DMM with a symmetry expected, to mirror its shapes; got one without")
        places = _places(origin.exists, spec)
        path = os.path.join(folder, spec.name)
        os.makedirs(path, exist_ok=True)
        features = (spec.photographs, spec.copies, *origin.network.output_shape[1:])
        leading = (spec.subjects, spec.copies, spec.views)
        layout: dict[str, tuple[tuple[int, ...], str]] = {schema.FEATURES.key: (features, "float16")}
        layout |= {key: ((*leading, *shape), "float32") for key, shape in _PER_VIEW.items()}
        layout |= {key: ((spec.subjects, *shape), "float32") for key, shape in _per_subject(spec, face_model).items()}
        files = {key: os.path.join(path, f"{key}.npy") for key in layout}
        for key, (shape, dtype) in layout.items():
            create_array(files[key], shape, dtype)
        progress = Progress(path, spec.subjects, spec.copies, worker)
        if not progress.done.all():
            with contextlib.ExitStack() as stack:
                rows = {key: stack.enter_context(RowWriter(files[key], *layout[key])) for key in layout}
                _fill(rows, spec, places, origin, progress, stop or StopRequest())
        barrier()
        if not Progress(path, spec.subjects, spec.copies, worker).done.all():
            raise ValueError(f"cache: {path}: a part is missing; all workers must share this folder")
        held = {key: open_array(files[key], *layout[key]) for key in layout}
        return cls(spec, held, places, face_model.symmetry, posing)

    def origin(self, network: keras.Model) -> Origin:
        """What a cache at a higher cut can be computed from; `network` leads from these features there."""

        def batches(variant: int, part: tuple[int, int]) -> Iterator[Versions]:
            for first in range(*part, _SUBJECTS_A_BATCH):
                rows = slice(first, min(first + _SUBJECTS_A_BATCH, part[1]))
                people = {key: array[rows] for key, array in self._arrays.items() if key not in _OF_COPY}
                yield [
                    {key: self._arrays[key][rows, copy] for key in _PER_VIEW}
                    | {schema.FEATURES.key: self._features(self._places[rows], copy)}
                    | people
                    for copy in self.spec.copies_of(variant)
                ]

        return Origin(network, schema.FEATURES.key, batches, self._places != _ABSENT)

    def stream(
        self, num_views: int, batch_size: int, seed: int, start_step: int, worker: Worker = (0, 1)
    ) -> tf.data.Dataset:
        """Training batches without end, the same for the same seed and step.

        An epoch shows every subject once, in one of its copies and in `num_views` of its views, both drawn by seed and
        epoch; what an epoch has left over that fills no batch goes unseen in it. Worker i of n gets the i-th part of
        every batch and reads nothing else.
        """
        share = batch_size // worker[1]

        def batches() -> Iterator[dict[str, np.ndarray]]:
            steps_per_epoch = max(self.spec.subjects // batch_size, 1)
            epoch, step = divmod(start_step, steps_per_epoch)
            while True:
                rng = np.random.default_rng([seed, epoch])
                order = rng.permutation(self.spec.subjects)
                copies = rng.integers(self.spec.copies, size=self.spec.subjects)
                views = selection.sample_views(self._yaws(copies), self._mask(copies), num_views, rng)
                for position in range(step, steps_per_epoch):
                    begin = position * batch_size + worker[0] * share
                    chosen = order[begin : begin + share]
                    yield self._gather(chosen, copies[chosen], views[chosen])
                epoch, step = epoch + 1, 0

        return self._dataset(batches, num_views)

    def evaluation(self, num_views: int, batch_size: int, worker: Worker = (0, 1)) -> tf.data.Dataset:
        """Every subject once, unmirrored, in the views nearest to the target yaws, in order.

        Of n workers, worker i gets the subjects i, i + n, ... and reads no other.
        """
        copies = np.zeros(self.spec.subjects, np.int64)
        views = selection.nearest_views(self._yaws(copies), self._mask(copies), num_views)

        def batches() -> Iterator[dict[str, np.ndarray]]:
            mine = np.arange(worker[0], self.spec.subjects, worker[1])
            for first in range(0, len(mine), batch_size):
                chosen = mine[first : first + batch_size]
                yield self._gather(chosen, copies[chosen], views[chosen])

        return self._dataset(batches, num_views)

    def single_views(self, batch_size: int, posed: bool = False) -> Iterator[dict[str, np.ndarray]]:
        """Every view that exists, in every copy, each with its subject's shape; `batch_size` subjects at a time.

        Args:
          batch_size: Subjects at a time.
          posed: Whether the shape is what the view shows, of people who move, rather than the neutral one.

        Yields:
          `schema.FEATURES` ``[M, h, w, c]``, `schema.VERTICES` ``[M, P, 3]``, pose and K ``[M, ...]`` and, of people
          who move, `schema.EXPRESSIONS` ``[M, E]`` and `schema.EXPRESSIONS_KNOWN` ``[M]``.
        """
        for copy in range(self.spec.copies):
            for first in range(0, self.spec.subjects, batch_size):
                subjects = np.arange(first, min(first + batch_size, self.spec.subjects))
                every = np.broadcast_to(np.arange(self.spec.views), (len(subjects), self.spec.views))
                batch = self._gather(subjects, np.full(len(subjects), copy), every, posed)
                batch.pop(schema.DELTA_ROTATIONS.key, None)
                exists = batch.pop(schema.VIEW_MASK.key) > 0
                vertices = np.repeat(batch.pop(schema.VERTICES.key), exists.sum(axis=1), axis=0)
                if posed:
                    vertices = batch.pop(schema.POSED.key)[exists]
                yield {**{key: array[exists] for key, array in batch.items()}, schema.VERTICES.key: vertices}

    def _features(self, places: np.ndarray, copies: np.ndarray | int) -> np.ndarray:
        """Of the photographs at `places`; zeros where there is none."""
        features = self._arrays[schema.FEATURES.key][np.maximum(places, 0), copies]
        features[places == _ABSENT] = 0
        return features

    def _yaws(self, copies: np.ndarray) -> np.ndarray:
        quaternions = self._arrays[schema.QUATERNIONS.key][np.arange(len(copies)), copies]
        return selection.yaws(quaternions)

    def _mask(self, copies: np.ndarray) -> np.ndarray:
        return self._arrays[schema.VIEW_MASK.key][np.arange(len(copies)), copies]

    def _gather(
        self, subjects: np.ndarray, copies: np.ndarray, views: np.ndarray, posed: bool = True
    ) -> dict[str, np.ndarray]:
        rows, columns = subjects[:, None], copies[:, None]
        exists, views = views >= 0, np.maximum(views, 0)
        taken = {key: self._arrays[key][rows, columns, views] for key in _PER_VIEW}
        taken[schema.FEATURES.key] = self._features(self._places[rows, views], columns)
        taken[schema.VIEW_MASK.key] = taken[schema.VIEW_MASK.key] * exists
        person = {schema.VERTICES.key: np.array(self._arrays[schema.VERTICES.key][subjects])}
        if self._posing is not None:
            for key in (schema.EXPRESSIONS.key, schema.EXPRESSIONS_KNOWN.key):
                person[key] = np.array(self._arrays[key][rows, views])
            person[schema.DELTA_ROTATIONS.key] = np.array(self._arrays[schema.DELTA_ROTATIONS.key][subjects])
            if posed:
                person[schema.POSED.key] = self._posing.posed(
                    *(person[field.key] for field in (schema.VERTICES, schema.EXPRESSIONS, schema.DELTA_ROTATIONS))
                )
        mirrored = copies >= self.spec.variants
        if self._symmetry is not None and mirrored.any():
            weights = None if self._posing is None else self._posing.mirror_matrix
            chosen = {key: array[mirrored] for key, array in person.items()}
            for key, array in symmetrise.mirror_person(chosen, self._symmetry, weights).items():
                person[key][mirrored] = array
        return {**taken, **person}

    def _dataset(self, batches: Callable[[], Iterator[Any]], num_views: int) -> tf.data.Dataset:
        vertices = self._arrays[schema.VERTICES.key].shape[1:]
        of_view = {key: self._arrays[key].shape[3:] for key in _PER_VIEW}
        of_view[schema.FEATURES.key] = self._arrays[schema.FEATURES.key].shape[2:]
        of_person = {schema.VERTICES.key: vertices}
        if self._posing is not None:
            of_view |= {schema.EXPRESSIONS.key: (self.spec.expressions,), schema.EXPRESSIONS_KNOWN.key: ()}
            of_view[schema.POSED.key] = vertices
            of_person[schema.DELTA_ROTATIONS.key] = (4,)
        shapes = {key: (num_views, *shape) for key, shape in of_view.items()} | of_person
        signature = {
            key: tf.TensorSpec((None, *shape), self._arrays[key].dtype if key in self._arrays else tf.float32)
            for key, shape in shapes.items()
        }
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return tf.data.Dataset.from_generator(batches, output_signature=signature).with_options(options).prefetch(4)


def _places(exists: np.ndarray, spec: CacheSpec) -> np.ndarray:
    """Where each view's features stand, ``[S, V]``, among those of all photographs."""
    if exists.shape != (spec.subjects, spec.views) or exists.sum() != spec.photographs:
        raise ValueError(
            f"exists: expected {spec.photographs} photographs of {spec.subjects} subjects in {spec.views} views, got "
            f"{exists.sum()} in the shape {list(exists.shape)}"
        )
    return np.where(exists, np.cumsum(exists).reshape(exists.shape) - 1, _ABSENT)


def _fill(
    arrays: Mapping[str, RowWriter],
    spec: CacheSpec,
    places: np.ndarray,
    origin: Origin,
    progress: Progress,
    stop: StopRequest,
) -> None:
    views = tf.TensorSpec((None, *origin.network.input_shape[1:]), origin.network.input.dtype)
    forward = tf.function(
        lambda inputs: tf.cast(origin.network(inputs, training=False), tf.float16), [views], autograph=False
    )
    begins = {
        variant: min(progress.todo(copy)[0] for copy in spec.copies_of(variant)) for variant in range(spec.variants)
    }
    versions_a_subject = len(spec.copies_of(0))
    bar = tqdm(
        total=(progress.end - progress.begin) * spec.copies,
        initial=sum(begin - progress.begin for begin in begins.values()) * versions_a_subject,
        desc=f"frozen features, {spec.split}",
        unit="copy",
        dynamic_ncols=True,
        mininterval=1.0,
    )

    def write(begin: int, copy: int, batch: Mapping[str, Any]) -> None:
        exists = np.asarray(batch[schema.VIEW_MASK.key]) > 0
        of_batch = places[begin : begin + len(exists)]
        if not np.array_equal(exists, of_batch != _ABSENT):
            raise ValueError(f"cache: subjects {begin} to {begin + len(exists) - 1} have other photographs than before")
        if exists.any():
            features = forward(tf.cast(tf.boolean_mask(batch[origin.key], exists), views.dtype)).numpy()
            arrays[schema.FEATURES.key].write_copy(int(of_batch[exists][0]), copy, features)
        for key in _PER_VIEW:
            arrays[key].write_copy(begin, copy, np.asarray(batch[key]))
        if copy == 0:
            for key in arrays.keys() - set(_OF_COPY):
                arrays[key].write(begin, np.asarray(batch[key]))

    def mark(copies: range, end: int) -> None:
        for array in arrays.values():
            array.flush()
        progress.mark(copies, end)

    with bar:
        for variant, begin in begins.items():
            copies = spec.copies_of(variant)
            if begin == progress.end:
                continue
            for index, versions in enumerate(origin.batches(variant, (begin, progress.end))):
                for copy, batch in zip(copies, versions, strict=True):
                    write(begin, copy, batch)
                subjects = len(versions[0][schema.VERTICES.key])
                begin += subjects
                bar.update(subjects * versions_a_subject)
                if index % _BATCHES_A_MARK == _BATCHES_A_MARK - 1 or stop.requested:
                    mark(copies, begin)
                    stop.check("while computing frozen features")
            mark(copies, progress.end)
