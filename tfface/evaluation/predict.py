"""Runs trained models over the subjects of a split."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

import tfface
from tfface import files, schema
from tfface.evaluation.predictions import Origin, Predictions
from tfface.models import FaceModel

_Function = Callable[[Any], Any]


def open_model(path: str | os.PathLike[str], face_model: str) -> keras.Model:
    """Opens a model whose coefficients belong to a given 3DMM.

    Args:
      path: of the `.keras` file.
      face_model: `MorphableModel.digest` of the 3DMM.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If it is not a model of tfface, or one of another 3DMM; the file is named.
    """
    name = os.fspath(path)
    model = tfface.load(path)
    try:
        digest = FaceModel(model).shape_decoder.digest
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if digest != face_model:
        raise ValueError(
            f"{name}: trained with another 3DMM ({digest[:12]}) than that of the records ({face_model[:12]}); "
            "evaluate it on the records that it was trained with"
        )
    return model


def predict(
    model: keras.Model,
    batches: Iterable[Mapping[str, Any]],
    views: npt.NDArray[np.int32],
    subjects: tuple[str, ...],
    origin: Origin,
    *,
    encoded: "EncodedViews | None" = None,
    batch_size: int = 32,
    progress: str = "predict",
) -> Predictions:
    """Predicts every subject from the given choices of its views.

    A view that does not exist (-1) beside others that do is a black picture, as in training, and is masked where the
    model takes a mask.

    Args:
      model: of N views, from `open_model`.
      batches: all views of all subjects in order, by key of `schema.EXAMPLE`, [B, V, ...], at the model's image size.
      views: [S, M, N], the views of each of M predictions a subject, -1 for none.
      subjects: S ids, in the order of the batches.
      origin: what to note in the predictions.
      encoded: what was encoded of the same batches before; this call adds to it.
      batch_size: predictions at a time.
      progress: what the progress bar says; "" shows none.

    Returns:
      The predictions.

    Raises:
      ValueError: If the batches hold other subjects, N is not the model's, or a prediction is not finite.
    """
    num_views = FaceModel(model).num_views
    if views.ndim != 3 or len(views) != len(subjects) or views.shape[2] != num_views:
        raise ValueError(f"views must have the shape [{len(subjects)}, M, {num_views}], got {list(views.shape)}.")
    # A shape follows from a head's numbers, which are fewer.
    keys = [(head.numbers or head.output).key for head in FaceModel(model).regressor.heads]
    found = {key: np.full((*views.shape[:2], *model.output[key].shape[1:]), np.nan, np.float32) for key in keys}
    halves = FaceModel(model).halves("heads")
    encode, regress = _compiled(halves.lower), _compiled(halves.upper)
    encoded = EncodedViews(max_bytes=0) if encoded is None else encoded
    encoded.use(halves.lower)
    start = 0
    with tqdm(total=len(subjects), desc=progress, unit="subject", disable=not progress) as bar:
        for batch in batches:
            ids = tuple(subject.decode() for subject in np.asarray(batch[schema.SUBJECT.key]))
            if ids != subjects[start : start + len(ids)]:
                raise ValueError(f"batches: expected the subjects {subjects[start : start + len(ids)]}, got {ids}")
            chosen = views[start : start + len(ids)]
            features = encoded.features(encode, batch[schema.IMAGES.key], chosen, start, batch_size)
            for rows, columns, inputs in _inputs(halves.upper, batch, features, chosen, batch_size):
                outputs = regress(inputs)
                for key, array in found.items():
                    array[start + rows, columns] = np.asarray(outputs[key])
            start += len(ids)
            bar.update(len(ids))
    if start != len(subjects):
        raise ValueError(f"batches: expected {len(subjects)} subjects, got {start}")
    _check_finite(found, views, subjects, model.name)
    return Predictions(origin, subjects, views, found.pop(schema.COEFFICIENTS.key), found, model.name)


class _Features(NamedTuple):
    """What the encoder says of the views of a batch that were asked for: what several predictions share is done once.

    Attributes:
      asked: [B, V + 1] bool; the last column stands for a view that does not exist and is never asked for.
      rows: [R + 1, h, w, c], the views that were asked for in order, then a black picture.
    """

    asked: npt.NDArray[np.bool_]
    rows: tf.Tensor

    @property
    def bytes(self) -> int:
        """How much memory the features take."""
        return int(tf.size(self.rows)) * self.rows.dtype.size

    def of(self, rows: npt.NDArray[np.intp], views: npt.NDArray[np.int32]) -> tf.Tensor:
        """[M, N, h, w, c] of views [M, N] of the subjects [M], -1 for none."""
        place = np.full(self.asked.shape, -1)
        place[self.asked] = np.arange(np.count_nonzero(self.asked))
        return tf.gather(self.rows, place[rows[:, None], views] % len(self.rows))


class EncodedViews:
    """Features of the views that were encoded last, so that models with the same encoder need not do it again.

    Models that were trained on the features of one frozen encoder share it.

    Args:
      max_bytes: so much is held; views beyond that are encoded each time.
    """

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self._max_bytes = self._free_bytes = max_bytes
        self._encoder = ""
        self._batches: dict[int, _Features] = {}

    def use(self, encoder: keras.Model) -> None:
        """Forgets what another encoder has said."""
        digest = files.digest_of([np.array(encoder.input_shape[1:]), *encoder.get_weights()])
        if digest != self._encoder:
            self._encoder, self._batches, self._free_bytes = digest, {}, self._max_bytes

    def features(
        self, encode: _Function, images: tf.Tensor, views: npt.NDArray[np.int32], start: int, batch_size: int
    ) -> _Features:
        """What the encoder says of the views that a batch asks for.

        Args:
          encode: the encoder, as a function.
          images: [B, V, H, W, 3], 0..255, RGB, all stored views of the batch.
          views: [B, M, N], indices of those that are asked for; -1 for none.
          start: number of the batch's first subject.
          batch_size: how many pictures are encoded at a time.
        """
        asked = np.zeros((images.shape[0], images.shape[1] + 1), bool)
        asked[np.arange(len(views))[:, None, None], views] = True
        asked[:, -1] = False
        held = self._batches.get(start)
        if held is not None and held.asked.shape == asked.shape and not np.any(asked & ~held.asked):
            return held
        pictures = tf.cast(tf.gather_nd(images, np.argwhere(asked)), tf.float32)
        pictures = tf.concat([pictures, tf.zeros((1, *images.shape[2:]))], axis=0)
        parts = [encode(pictures[first : first + batch_size]) for first in range(0, len(pictures), batch_size)]
        found = _Features(asked, tf.concat(parts, axis=0))
        if held is not None:
            self._free_bytes += self._batches.pop(start).bytes
        if found.bytes <= self._free_bytes:
            self._free_bytes -= found.bytes
            self._batches[start] = found
        return found


def _compiled(part: keras.Model) -> _Function:
    return tf.function(lambda inputs: part(inputs, training=False), reduce_retracing=True)


def _inputs(
    regressor: keras.Model,
    batch: Mapping[str, Any],
    features: _Features,
    views: npt.NDArray[np.int32],
    batch_size: int,
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], dict[str, tf.Tensor]]]:
    """The regressor's inputs for the predictions [B, M] that exist, some at a time, with their rows and columns."""
    all_rows, all_columns = np.nonzero((views >= 0).any(axis=-1))
    for first in range(0, len(all_rows), batch_size):
        rows, columns = all_rows[first : first + batch_size], all_columns[first : first + batch_size]
        chosen = views[rows, columns]
        places = np.stack([np.broadcast_to(rows[:, None], chosen.shape), np.maximum(chosen, 0)], axis=-1)
        given = {
            schema.FEATURES.key: features.of(rows, chosen),
            schema.INTRINSICS.key: tf.gather_nd(batch[schema.INTRINSICS.key], places),
            schema.VIEW_MASK.key: tf.constant(chosen >= 0, tf.float32),
        }
        yield rows, columns, {key: given[key] for key in regressor.input}


def _check_finite(
    found: Mapping[str, npt.NDArray[np.float32]], views: npt.NDArray[np.int32], subjects: tuple[str, ...], model: str
) -> None:
    exists = np.asarray((views >= 0).any(axis=-1))
    for key, array in found.items():
        faulty = exists & ~np.isfinite(array.reshape(*exists.shape, -1)).all(axis=-1)
        rows = np.unique(np.nonzero(faulty)[0])
        if len(rows):
            raise ValueError(
                f"model {model}: {key} of {len(rows)} subjects are not finite, the first is {subjects[rows[0]]}"
            )
