"""Runs trained models over the subjects of a split."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

import tfface
from tfface import models, schema
from tfface.evaluation.predictions import Origin, Predictions


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
    try:
        model = tfface.load(path)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{name}: not a Keras model that can be opened: {error}") from error
    try:
        decoder = models.face_decoder(model)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(model.input, dict) or schema.IMAGES.key not in model.input:
        raise ValueError(f"{name}: expected a model with an input {schema.IMAGES.key!r}, got {model.input}")
    if decoder.digest != face_model:
        raise ValueError(
            f"{name}: trained with another 3DMM ({decoder.digest[:12]}) than that of the records ({face_model[:12]}); "
            "evaluate it on the records that it was trained with"
        )
    return model


def num_views(model: keras.Model) -> int:
    """N, the views that a model takes."""
    return int(model.input[schema.IMAGES.key].shape[1])


def image_size(model: keras.Model) -> tuple[int, int]:
    """Height and width of the crops that a model takes, px."""
    _, _, height, width, _ = model.input[schema.IMAGES.key].shape
    return int(height), int(width)


def predict(
    model: keras.Model,
    batches: Iterable[Mapping[str, Any]],
    views: npt.NDArray[np.int32],
    subjects: tuple[str, ...],
    origin: Origin,
    *,
    batch_size: int = 32,
    description: str = "predict",
    progress: bool = True,
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
      batch_size: predictions at a time.
      description: of the progress bar.
      progress: whether to show it.

    Returns:
      The predictions.

    Raises:
      ValueError: If the batches hold other subjects, N is not the model's, or a prediction is not finite.
    """
    if views.ndim != 3 or len(views) != len(subjects) or views.shape[2] != num_views(model):
        raise ValueError(
            f"views must have the shape [{len(subjects)}, M, {num_views(model)}], got {list(views.shape)}."
        )
    found: dict[str, npt.NDArray[np.float32]] = {}
    keys = [field.key for field in (schema.COEFFICIENTS, schema.QUATERNIONS, schema.TRANSLATIONS)]
    for key in keys:
        if key in model.output:
            trailing = model.output[key].shape[1:]
            found[key] = np.full((*views.shape[:2], *trailing), np.nan, np.float32)
    step = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
    start = 0
    with tqdm(total=len(subjects), desc=description, unit="subject", disable=not progress) as bar:
        for batch in batches:
            ids = tuple(subject.decode() for subject in np.asarray(batch[schema.SUBJECT.key]))
            if ids != subjects[start : start + len(ids)]:
                raise ValueError(f"batches: expected the subjects {subjects[start : start + len(ids)]}, got {ids}")
            for rows, columns, inputs in _inputs(model, batch, views[start : start + len(ids)], batch_size):
                outputs = step(inputs)
                for key, array in found.items():
                    array[start + rows, columns] = np.asarray(outputs[key])
            start += len(ids)
            bar.update(len(ids))
    if start != len(subjects):
        raise ValueError(f"batches: expected {len(subjects)} subjects, got {start}")
    _check_finite(found, views, subjects, model.name)
    poses = (found.get(key) for key in keys[1:])
    return Predictions(origin, subjects, views, found[schema.COEFFICIENTS.key], *poses)


def _inputs(
    model: keras.Model, batch: Mapping[str, Any], views: npt.NDArray[np.int32], batch_size: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], dict[str, tf.Tensor]]]:
    """The model's inputs for the predictions [B, M] that exist, some at a time, with their rows and columns."""
    all_rows, all_columns = np.nonzero((views >= 0).any(axis=-1))
    for first in range(0, len(all_rows), batch_size):
        rows, columns = all_rows[first : first + batch_size], all_columns[first : first + batch_size]
        chosen = views[rows, columns]
        mask = tf.constant(chosen >= 0, tf.float32)
        places = np.stack([np.broadcast_to(rows[:, None], chosen.shape), np.maximum(chosen, 0)], axis=-1)
        given = {
            schema.IMAGES.key: tf.gather_nd(batch[schema.IMAGES.key], places) * mask[..., None, None, None],
            schema.INTRINSICS.key: tf.gather_nd(batch[schema.INTRINSICS.key], places),
            schema.VIEW_MASK.key: mask,
        }
        yield rows, columns, {key: given[key] for key in model.input}


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
