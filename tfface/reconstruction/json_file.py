"""A reconstruction as JSON: its numbers, in the pixels of the original photographs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import schema, version
from tfface.face import arkit
from tfface.files import written
from tfface.geometry import camera, rotation
from tfface.reconstruction import scale, scene
from tfface.reconstruction.reconstructed_face import Reconstruction, View

FILE = "reconstruction.json"


def write(
    reconstruction: Reconstruction,
    folder: Path,
    intrinsics_from: Mapping[str, str],
    gains: npt.NDArray[np.floating] | None = None,
) -> Path:
    """Writes `FILE` into a folder, beside its place and then moved there.

    Args:
      reconstruction: The person.
      folder: Made if it does not exist.
      intrinsics_from: By the name of a photograph, where its K comes from; see `lens`.
      gains: Of `outputs.TexturedFace`, [N, P, 3]; their means over the face are written, if there is a texture
        in which the photograph took part.

    Returns:
      The path of the file.
    """
    path = folder / FILE
    text = json.dumps(content(reconstruction, intrinsics_from, gains), indent=1, allow_nan=False)
    with written(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")
    return path


def content(
    reconstruction: Reconstruction,
    intrinsics_from: Mapping[str, str],
    gains: npt.NDArray[np.floating] | None = None,
) -> dict[str, Any]:
    """What the file says, of JSON types. Frames and units are those of `schema`; arguments are those of `write`."""
    model = reconstruction.face_model
    landmarks = {name: reconstruction.vertices[index] for name, index in model.landmarks.items()}
    photographs = []
    for number, view in enumerate(reconstruction.views):
        posed = reconstruction.posed(number)  # what the photograph shows
        points = {name: posed[index] for name, index in model.landmarks.items()}
        photographs.append(_photograph(view, points, intrinsics_from.get(view.name, "")))
    if reconstruction.expressions is not None and model.expressions is not None:
        for photograph, weights in zip(photographs, reconstruction.expressions, strict=True):
            photograph[schema.EXPRESSIONS.key] = _expressions(model.expressions.names, weights)
    for photograph, view in zip(photographs, reconstruction.views, strict=True):
        photograph.update(_deviations(view, reconstruction))
    if gains is not None:
        for photograph, of_vertices in zip(photographs, gains, strict=True):
            if np.isfinite(of_vertices).all():  # took part in the texture
                photograph["gains"] = _numbers(of_vertices.mean(axis=0))
    return {
        "name": reconstruction.name,
        "tfface": version.__version__,
        "conventions": schema.CONVENTIONS_VERSION,
        "face_model": model.digest(),
        schema.COEFFICIENTS.key: _numbers(reconstruction.coefficients),
        **_fit(reconstruction),
        "scale": _scale(reconstruction),
        **({} if reconstruction.scene is None else {"scene": scene.content(reconstruction.scene)}),
        "landmarks": {
            name: {"vertex": int(model.landmarks[name]), "mm": _numbers(point)} for name, point in landmarks.items()
        },
        "photographs": photographs,
    }


def _scale(reconstruction: Reconstruction) -> dict[str, Any]:
    """Where the size comes from, its factor, and what it says of a distance that people measure, with a deviation."""
    known = reconstruction.scale or scale.of_population(reconstruction.face_model)
    told = {"from": known.source, "factor": float(f"{known.factor:.6g}"), "deviation": float(f"{known.deviation:.3g}")}
    corners = scale.eye_corners(reconstruction.vertices, reconstruction.face_model, known)
    if corners is None:
        return told
    return {**told, "eye_corners_mm": round(corners[0], 3), "deviation_mm": round(corners[1], 3)}


def _fit(reconstruction: Reconstruction) -> dict[str, Any]:
    """How it was adjusted to points, and how sure each coefficient is; nothing if it was not."""
    fit = reconstruction.fit
    if fit is None:
        return {}
    told = {"source": fit.source, "photographs": fit.photographs, "converged": fit.converged}
    return {
        f"{schema.COEFFICIENTS.key}_deviation": _numbers(fit.coefficient_deviations),
        "fit": {**told, "residual": float(f"{fit.residual:.4g}")},
    }


def _deviations(view: View, reconstruction: Reconstruction) -> dict[str, Any]:
    """How sure the pose (degrees about the camera's axes, mm) and the 3DMM's own weights are, if it was adjusted."""
    sure = view.deviation
    if sure is None:
        return {}
    told = {"pose_deviation": {"rotation": _numbers(sure.rotation), "translation": _numbers(sure.translation)}}
    moving = reconstruction.face_model.expressions
    if moving is None:
        return told
    weights = {name: round(float(of), 5) for name, of in zip(moving.names, sure.expression, strict=True)}
    return {**told, "weights_deviation": weights}


def _photograph(view: View, landmarks: Mapping[str, npt.NDArray[np.floating]], source: str) -> dict[str, Any]:
    height, width = view.pixels.shape[:2]
    turn = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
    angles = (float(angle) for angle in rotation.yaw_pitch_roll_from_matrix(turn))
    points = np.array(list(landmarks.values()), np.float64).reshape(-1, 3)
    px = camera.project_array(points, view.quaternion, view.translation, view.intrinsics)
    return {
        "image": view.name,
        "width": width,
        "height": height,
        "intrinsics": _numbers(view.intrinsics),
        "intrinsics_from": source,
        "quaternion": _numbers(view.quaternion),
        "translation": _numbers(view.translation),
        **{name: round(angle, 3) for name, angle in zip(("yaw", "pitch", "roll"), angles, strict=True)},
        "box": _numbers(view.box),
        "confidence": round(float(view.confidence), 6),
        "landmarks_px": dict(zip(landmarks, _numbers(px), strict=True)),
    }


def _expressions(names: Sequence[str], weights: npt.NDArray[np.floating]) -> dict[str, float]:
    """Weights by ARKit's names, or by the 3DMM's own where it has none of ARKit's."""
    told = arkit.from_expressions(names, weights) or dict(zip(names, map(float, weights), strict=True))
    return {name: round(weight, 5) for name, weight in told.items()}


def _numbers(values: npt.ArrayLike) -> Any:
    """Nested lists with the nine digits that tell float32 numbers apart."""
    array = np.asarray(values, np.float64)
    return [float(f"{value:.9g}") for value in array] if array.ndim == 1 else [_numbers(row) for row in array]
