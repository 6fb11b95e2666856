"""The peers of the study: the same 3DMM fitted to true landmarks of the views that multi view models see.

What many would do without learning, were the landmarks known: exactly (which no picture gives) or with noise.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfface import files
from tfface.data.posing import posed
from tfface.evaluation import landmark_fit
from tfface.evaluation.engine import Evaluation
from tfface.evaluation.eos_fit import EosFitter
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.predictions import Predictions, Views
from tfface.evaluation.rows import Row
from tfface.evaluation.vertex_errors import vertex_error
from tfface.face import Expressions, MorphableModel
from tfface.geometry import camera

Array = npt.NDArray[np.floating]

_BLOCK = 16  # subjects at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
    """Landmarks seen in N views of each of S subjects.

    Attributes:
      px: [S, N, L, 2], pixel frame.
      intrinsics: [S, N, 3, 3], px_from_cam.
      view_mask: [S, N].
    """

    px: Array
    intrinsics: Array
    view_mask: npt.NDArray[np.bool_]

    def part(self, chosen: slice) -> "Observations":
        """Some of the subjects."""
        return Observations(self.px[chosen], self.intrinsics[chosen], self.view_mask[chosen])


def observe(
    truth: GroundTruth,
    views: Views,
    vertices: npt.ArrayLike,
    noise: float,
    seed: int,
    moving: Expressions | None = None,
) -> Observations:
    """Projects true landmarks into the pictures, with the expressions that these show, and adds Gaussian noise.

    Args:
      truth: of S subjects.
      views: [S, N], -1 for none.
      vertices: [L] of the landmarks.
      noise: px, standard deviation along each axis. The draws of a subject depend on seed, its place and view alone, so
        that different noises are multiples of the same.
      seed: of the noise.
      moving: of the 3DMM, for people with expressions.
    """
    rows, places = np.arange(len(views))[:, None], np.maximum(views, 0)
    intrinsics = truth.intrinsics[rows, places].astype(np.float64)
    points = truth.vertices[:, np.asarray(vertices)].astype(np.float64)
    shown = points[:, None]
    if moving is not None and truth.expressions is not None:
        shown = posed(moving.at(vertices), points, truth.expressions[rows, places], truth.delta_rotations)
    pose = truth.quaternions[rows, places], truth.translations[rows, places]
    px = camera.project_array(shown, *pose, intrinsics)
    draws = [np.random.default_rng([seed, subject]).standard_normal(px.shape[1:]) for subject in range(len(px))]
    return Observations(px + noise * np.stack(draws), intrinsics, views >= 0)


Fitter = Callable[[Observations, float], Array]
"""From what is seen of S subjects and the strength of the prior to coefficients [S, K]."""


def _map_fitter(face_model: MorphableModel, vertices: npt.NDArray[np.intp], _: tuple[int, int]) -> Fitter:
    def fit(seen: Observations, sigma: float) -> Array:
        return landmark_fit.fit(face_model, vertices, seen.px, seen.intrinsics, seen.view_mask, sigma).coefficients

    return fit


def _eos_fitter(face_model: MorphableModel, vertices: npt.NDArray[np.intp], size: tuple[int, int]) -> Fitter:
    eos = EosFitter(face_model, vertices)

    def fit(seen: Observations, weight: float) -> Array:
        return np.stack([eos.fit(px[mask], size, weight) for px, mask in zip(seen.px, seen.view_mask, strict=True)])

    return fit


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of fit.

    Attributes:
      title: in the names of rows.
      about: what it is, before the number of landmarks.
      tried: strengths of the prior that are tried on the validation split.
      strength: how the chosen one is told.
      fitter: of a 3DMM, the vertices [L] of its landmarks and pictures of a height and width in px.
    """

    title: str
    about: str
    tried: tuple[float, ...]
    strength: str
    fitter: Callable[[MorphableModel, npt.NDArray[np.intp], tuple[int, int]], Fitter]


KINDS = {
    "map": Kind(
        "MAP",
        "most probable shape and poses given",
        (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0),
        "sigma {:g} px",
        _map_fitter,
    ),
    "eos": Kind(
        "eos",
        "eos-py, fitted to each view and averaged:",
        (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        "lambda {:g}",
        _eos_fitter,
    ),
}


class Fits:
    """Fits to landmarks, each with the prior whose strength is best on subjects of the validation split.

    Args:
      evaluation: of S subjects.
      tuning: truth and views [T, N] of subjects of the validation split.

    Raises:
      ValueError: If the 3DMM has too few landmarks.
    """

    def __init__(self, evaluation: Evaluation, tuning: tuple[GroundTruth, Views]):
        self._evaluation, self._tuning = evaluation, tuning
        self._face_model = evaluation.subjects.face_model
        self._vertices = landmark_fit.landmark_vertices(self._face_model)

    def row(self, kind: str, noise: float, views: Views) -> Row:
        """The row of one kind of fit at one level of noise, now or before.

        Args:
          kind: a key of `KINDS`.
          noise: px.
          views: [S, N], which views of the subjects to use.

        Raises:
          ModuleNotFoundError: If eos-py is wanted and not there.
        """
        evaluation, subjects, kinds = self._evaluation, self._evaluation.subjects, KINDS[kind]
        name = f"Landmarks {kinds.title}, {f'{noise:g} px' if noise else 'exact'}"
        told = {
            "fit": kind,
            "noise_px": noise,
            "seed": evaluation.seed,
            "records": subjects.manifest_sha256,
            "tried": list(kinds.tried),
            "tuned_on": len(self._tuning[0].subjects),
        }
        fitter = kinds.fitter(self._face_model, self._vertices, subjects.contents.image_size)
        file = evaluation.output / "predictions" / f"landmarks_{kind}_{noise:g}px"
        chosen = _chosen(file.with_name(f"{file.name}.json"), told, lambda: self._tuned(fitter, kinds.tried, noise))
        origin = subjects.origin(json.dumps({**told, "chosen": chosen}))
        path, truth = file.with_name(f"{file.name}.npz"), subjects.truth
        predictions = Predictions.load_made(path, origin, truth.subjects, lambda _: views[:, None])
        if predictions is None:
            moving = self._face_model.expressions
            observed = observe(truth, views, self._vertices, noise, evaluation.seed, moving)
            coefficients = _in_blocks(fitter, observed, chosen, f"fit {name}" if evaluation.progress else "")
            shapes = coefficients[:, None].astype(np.float32)
            predictions = Predictions(origin, truth.subjects, views[:, None], shapes, kind=kind)
            predictions.save(path)
        seen = "true landmarks, exact" if not noise else f"true landmarks with {noise:g} px of noise in the crop"
        strength = kinds.strength.format(chosen)
        note = f"{kinds.about} {len(self._vertices)} {seen}, same views; {strength}, chosen on the validation split"
        return Row(name, kind, predictions, note)

    def _tuned(self, fitter: Fitter, tried: Sequence[float], noise: float) -> float:
        """The strength of the prior with the least error after similarity alignment."""
        truth, views = self._tuning
        seed, moving = self._evaluation.seed + 1, self._face_model.expressions
        observed = observe(truth, views, self._vertices, noise, seed, moving)
        errors = [
            vertex_error(self._face_model.decode(fitter(observed, weight)), truth.vertices, "similarity").mean()
            for weight in tried
        ]
        return tried[int(np.argmin(errors))]


def _in_blocks(fitter: Fitter, observed: Observations, weight: float, progress: str) -> Array:
    count = len(observed.px)
    fitted = []
    with tqdm(total=count, desc=progress, unit="subject", disable=not progress) as bar:
        for start in range(0, count, _BLOCK):
            block = observed.part(slice(start, start + _BLOCK))
            fitted.append(fitter(block, weight))
            bar.update(len(block.px))
    return np.concatenate(fitted)


def _chosen(path: Path, told: Mapping[str, Any], tune: Callable[[], float]) -> float:
    """What was chosen before under the same circumstances, or is chosen now and kept."""
    if path.is_file():
        held = json.loads(path.read_text("utf-8"))
        if held["of"] == told:
            return float(held["chosen"])
    chosen = tune()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"of": told, "chosen": chosen})
    return chosen
