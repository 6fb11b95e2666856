"""Rows of single view models whose answer is adjusted to the points that they find in N views, as `reconstruct` does.

The points come of the stored crops as they are, and with `--mirrored` of their mirror images.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfface import files, fitting, schema
from tfface.evaluation import mirrored, predict
from tfface.evaluation.engine import Evaluation, Protocol
from tfface.evaluation.predictions import Predictions, Views
from tfface.evaluation.rows import Row
from tfface.evaluation.view_selection import ViewChoice
from tfface.face.surface_points import SurfacePoints
from tfface.fitting import reliability
from tfface.models import FaceModel

_SEEN = (schema.POINTS.key, schema.DEVIATIONS.key)

_Answers = tuple[np.ndarray, ...]


def counts_of(texts: Sequence[str]) -> list[int]:
    """Numbers of views, ascending.

    Raises:
      ValueError: If one is not a positive whole number.
    """
    if not all(text.isdecimal() and int(text) > 0 for text in texts):
        raise ValueError(f"adjusted_views: expected numbers of views, got {', '.join(texts)}")
    return sorted({int(text) for text in texts})


def protocol(counts: Sequence[int], choose: Callable[[Evaluation], ViewChoice]) -> Protocol:
    """The rows of all single view models that find points; no number of views, no row.

    Args:
      counts: numbers of views N, each a row.
      choose: how these are chosen among a subject's.
    """

    def found(evaluation: Evaluation) -> list[Row]:
        rows: list[Row] = []
        if not counts:
            return rows
        choice, face_model = choose(evaluation), evaluation.subjects.face_model
        for name, path in evaluation.paths.items():
            model = FaceModel(predict.open_model(path, face_model.digest()))
            if model.num_views == 1 and model.surface_points is not None:
                seen = _seen(evaluation, name, model, choice.every())
                for count in counts:
                    nearest = choice.nearest(count)[:, 0]
                    rows += [
                        *_joined(evaluation, name, seen, nearest),
                        _row(evaluation, name, model.surface_points, seen, nearest),
                    ]
        if not rows:
            raise ValueError("adjusted_views: expected a single view model that finds points among the models")
        return rows

    return found


def _seen(evaluation: Evaluation, name: str, model: FaceModel, views: Views) -> Predictions:
    """Coefficients and points of every view [S, V, 1], in px of the stored crops; now or before."""
    subjects = evaluation.subjects
    file = evaluation.output / "predictions" / f"{files.name_of(name)}_points.npz"
    origin = subjects.origin_of_model(evaluation.paths[name])
    held = Predictions.load_made(file, origin, subjects.truth.subjects, lambda _: views)
    if held is not None:
        return held
    call = tf.function(model.__call__, reduce_retracing=True)
    mirror = mirrored.mirror_of(model) if subjects.mirrored else None
    parts: list[_Answers] = []
    title = f"points of {name}" if evaluation.progress else ""
    with tqdm(total=len(views), desc=title, unit="subject", disable=not title) as bar:
        for batch in subjects.batches(model.image_size):
            found = _asked(call, batch)
            if mirror is not None:
                coefficients, points, deviations = _asked(call, mirrored.image(batch))
                turned = (mirror.coefficients(coefficients), *mirror.points(points, deviations, model.image_size[1]))
                found = tuple(np.mean(pair, axis=0) for pair in zip(found, turned, strict=True))
            parts.append(found)
            bar.update(len(found[0]))
    joined = (np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True))
    coefficients, *points_of_views = joined
    arrays = dict(zip(_SEEN, points_of_views, strict=True))
    # Points and deviations of the model's crops, in px of the stored ones.
    (height, width), stored = model.image_size, subjects.contents.image_size
    scale = np.array([stored[1] / width, stored[0] / height], np.float32)
    arrays[schema.POINTS.key] *= scale
    arrays[schema.DEVIATIONS.key] *= scale.mean()
    coefficients[views[..., 0] < 0] = np.nan
    predictions = Predictions(origin, subjects.truth.subjects, views, coefficients, arrays, model.name)
    predictions.save(file)
    return predictions


def _asked(call: Callable[[Any], Any], batch: Mapping[str, Any]) -> _Answers:
    """Coefficients [B, V, K], points [B, V, 1, Q, 2] and deviations [B, V, 1, Q] of every view, each alone."""
    images = tf.cast(batch[schema.IMAGES.key], tf.float32)
    count, most = images.shape[:2]
    given = {
        schema.IMAGES.key: tf.reshape(images, (count * most, 1, *images.shape[2:])),
        schema.INTRINSICS.key: tf.reshape(batch[schema.INTRINSICS.key], (count * most, 1, 3, 3)),
    }
    outputs = call(given)
    arrays = (np.asarray(outputs[key]) for key in (schema.COEFFICIENTS.key, *_SEEN))
    return tuple(array.reshape(count, most, *array.shape[1:]) for array in arrays)


def _doubts(evaluation: Evaluation, deviations: np.ndarray) -> np.ndarray:
    """How little the model trusts what it sees, from deviations [..., Q] in px of the stored crops: [...]."""
    return reliability.doubts(deviations, float(np.mean(evaluation.subjects.contents.image_size)))


def _joined(evaluation: Evaluation, name: str, seen: Predictions, views: Views) -> list[Row]:
    """The row of what a model of known reliability says of the views [S, N] together, without points."""
    subjects, count = evaluation.subjects, views.shape[1]
    known = reliability.beside(evaluation.paths[name], subjects.face_model.num_modes)
    if known is None:
        return []
    told = {"joined": seen.origin.model, "reliability": reliability.sha256_beside(evaluation.paths[name])}
    doubts = _doubts(evaluation, seen.per_view[schema.DEVIATIONS.key][:, :, 0])
    said = [
        known.prior(of_views[chosen[chosen >= 0]], doubted[chosen[chosen >= 0]]).mean
        for of_views, doubted, chosen in zip(seen.coefficients, doubts, views, strict=True)
    ]
    predictions = Predictions(
        subjects.origin(json.dumps(told, sort_keys=True)),
        subjects.truth.subjects,
        views[:, None],
        np.stack(said).astype(np.float32)[:, None],
    )
    return [Row(f"{name} Joined {count}", name, predictions, f"{name}, what it says of {count} views together")]


def _row(evaluation: Evaluation, name: str, surface: SurfacePoints, seen: Predictions, views: Views) -> Row:
    """The row from the given views [S, N], now or before."""
    subjects, count = evaluation.subjects, views.shape[1]
    known = reliability.beside(evaluation.paths[name], subjects.face_model.num_modes)
    measured = reliability.sha256_beside(evaluation.paths[name])
    file = evaluation.output / "predictions" / f"{files.name_of(name)}_adjusted_{count}.npz"
    told = {"adjusted": seen.origin.model, "settings": dataclasses.asdict(fitting.NETWORK_POINTS)}
    origin = subjects.origin(json.dumps({**told, "reliability": measured}, sort_keys=True))
    predictions = Predictions.load_made(file, origin, subjects.truth.subjects, lambda _: views[:, None])
    if predictions is None:
        title = f"adjust {name}, {count} views" if evaluation.progress else ""
        adjusted = [
            _adjusted(evaluation, surface, seen, known, subject, views[subject])
            for subject in tqdm(range(len(views)), desc=title, unit="subject", disable=not title)
        ]
        coefficients, *of_views = (np.stack(arrays).astype(np.float32) for arrays in zip(*adjusted, strict=True))
        keys = (schema.QUATERNIONS.key, schema.TRANSLATIONS.key, schema.EXPRESSIONS.key)
        per_view = {key: array[:, None] for key, array in zip(keys, of_views, strict=True) if array.shape[-1]}
        predictions = Predictions(
            origin, subjects.truth.subjects, views[:, None], coefficients[:, None], per_view, "adjusted"
        )
        predictions.save(file)
    note = f"{name}, what it says of {count} views together, adjusted to the points that it finds in them"
    return Row(f"{name} Adjusted {count}", name, predictions, note)


def _adjusted(
    evaluation: Evaluation,
    surface: SurfacePoints,
    seen: Predictions,
    known: fitting.Reliability | None,
    subject: int,
    views: Views,
) -> tuple[np.ndarray, ...]:
    """Coefficients [K], and quaternions, translations and expressions of N views, NaN where there is none."""
    there = views >= 0
    chosen = views[there]
    face_model, truth = evaluation.subjects.face_model, evaluation.subjects.truth
    points, deviations = (seen.per_view[key][subject, chosen, 0] for key in _SEEN)
    found = fitting.adjust(
        points,
        deviations,
        truth.intrinsics[subject, chosen],
        face_model,
        surface,
        fitting.identity_prior(seen.coefficients[subject, chosen], known, _doubts(evaluation, deviations)),
        settings=fitting.NETWORK_POINTS,
    )
    of_views = []
    for array in (found.quaternions, found.translations, found.expressions):
        every = np.full((len(views), array.shape[1]), np.nan)
        every[there] = array
        of_views.append(every)
    return found.identity, *of_views
