"""The peers of the study: the same 3DMM fitted to true landmarks of the views that multi view models see.

What many would do without learning, were the landmarks known: exactly (which no picture gives) or with noise.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfface import files
from tfface.evaluation import landmark_fit
from tfface.evaluation.eos_fit import EosFitter
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.options import LANDMARK_FITS
from tfface.evaluation.predictions import Origin, Predictions
from tfface.evaluation.study_rows import ShapeRow
from tfface.evaluation.vertex_errors import vertex_error
from tfface.face import MorphableModel
from tfface.geometry import camera

Array = npt.NDArray[np.floating]
Views = npt.NDArray[np.int32]

TRIED = {"map": (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0), "eos": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)}
"""What is tried on the validation split: sigma in px of the MAP fit, eos' weight lambda."""

_TITLES = {"map": "MAP", "eos": "eos"}
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


def observe(truth: GroundTruth, views: Views, vertices: npt.ArrayLike, noise: float, seed: int) -> Observations:
    """Projects true landmarks into the pictures and adds Gaussian noise.

    Args:
      truth: of S subjects.
      views: [S, N], -1 for none.
      vertices: [L] of the landmarks.
      noise: px, standard deviation along each axis. The draws of a subject depend on seed, its place and view alone, so
        that different noises are multiples of the same.
      seed: of the noise.
    """
    rows, places = np.arange(len(views))[:, None], np.maximum(views, 0)
    intrinsics = truth.intrinsics[rows, places].astype(np.float64)
    points = truth.vertices[:, np.asarray(vertices)].astype(np.float64)
    pose = truth.quaternions[rows, places], truth.translations[rows, places]
    px = camera.project_array(points[:, None], *pose, intrinsics)
    draws = [np.random.default_rng([seed, subject]).standard_normal(px.shape[1:]) for subject in range(len(px))]
    return Observations(px + noise * np.stack(draws), intrinsics, views >= 0)


def rows(
    kinds: Sequence[str],
    noises: Sequence[float],
    face_model: MorphableModel,
    truth: GroundTruth,
    views: Views,
    tuning: tuple[GroundTruth, Views],
    *,
    image_size: tuple[int, int],
    origin: Origin,
    folder: Path,
    seed: int,
    progress: bool = True,
) -> list[ShapeRow]:
    """The rows of all kinds of fit at all levels of noise.

    How strongly the prior counts is chosen for each by the error on subjects of the validation split.

    Args:
      kinds: of `LANDMARK_FITS`.
      noises: px.
      face_model: the 3DMM.
      truth: of S subjects.
      views: [S, N], which of their views to use.
      tuning: truth and views of subjects of the validation split.
      image_size: height and width of the crops, px.
      origin: of the records; its model is replaced.
      folder: of the files in which fits are kept.
      seed: of the noise.
      progress: whether to show progress bars.

    Raises:
      ValueError: If a kind is unknown.
      ModuleNotFoundError: If eos-py is wanted and not there.
    """
    unknown = sorted(set(kinds) - set(LANDMARK_FITS))
    if unknown:
        raise ValueError(f"landmark_fits: expected some of {', '.join(LANDMARK_FITS)}, got {', '.join(unknown)}")
    made = []
    vertices = landmark_fit.landmark_vertices(face_model)
    for kind in kinds:
        fitter = _fitter(kind, face_model, vertices, image_size)
        for noise in noises:
            name = f"Landmarks {_TITLES[kind]}, {f'{noise:g} px' if noise else 'exact'}"
            told = {"fit": kind, "noise_px": noise, "seed": seed, "records": origin.records, "tried": TRIED[kind]}
            told["tuned_on"] = len(tuning[0].subjects)
            file = f"landmarks_{kind}_{noise:g}px"
            chosen = _chosen(
                folder / f"{file}.json",
                json.loads(json.dumps(told)),
                functools.partial(_tune, kind, fitter, noise, face_model, vertices, tuning, seed),
            )
            held = dataclasses.replace(origin, model=json.dumps({**told, "chosen": chosen}))
            predictions = Predictions.load_made(folder / f"{file}.npz", held)
            if predictions is None or not _same_views(predictions, truth, views):
                observed = observe(truth, views, vertices, noise, seed)
                coefficients = _in_blocks(fitter, observed, chosen, f"fit {name}", progress)
                coefficients = coefficients[:, None].astype(np.float32)
                predictions = Predictions(held, truth.subjects, views[:, None], coefficients, None, None)
                predictions.save(folder / f"{file}.npz")
            what = f"sigma {chosen:g} px" if kind == "map" else f"lambda {chosen:g}"
            seen = "true landmarks, exact" if not noise else f"true landmarks with {noise:g} px of noise in the crop"
            note = f"{_ABOUT[kind]} {len(vertices)} {seen}, same views; {what}, chosen on the validation split"
            made.append(ShapeRow(name, kind, predictions.coefficients[:, 0], note=note))
    return made


_ABOUT = {
    "map": "most probable shape and poses given",
    "eos": "eos-py, fitted to each view and averaged:",
}
_Fitter = Callable[[Observations, float], Array]


def _fitter(kind: str, face_model: MorphableModel, vertices: npt.NDArray[np.intp], size: tuple[int, int]) -> _Fitter:
    if kind == "map":

        def fit_map(seen: Observations, sigma: float) -> Array:
            return landmark_fit.fit(face_model, vertices, seen.px, seen.intrinsics, seen.view_mask, sigma).coefficients

        return fit_map
    eos = EosFitter(face_model, vertices)

    def fit_eos(seen: Observations, weight: float) -> Array:
        return np.stack([eos.fit(px[mask], size, weight) for px, mask in zip(seen.px, seen.view_mask, strict=True)])

    return fit_eos


def _tune(
    kind: str,
    fitter: _Fitter,
    noise: float,
    face_model: MorphableModel,
    vertices: npt.NDArray[np.intp],
    tuning: tuple[GroundTruth, Views],
    seed: int,
) -> float:
    """The weight of the prior with the least error after similarity alignment."""
    truth, views = tuning
    observed = observe(truth, views, vertices, noise, seed + 1)
    errors = [
        vertex_error(face_model.decode(fitter(observed, weight)), truth.vertices, "similarity").mean()
        for weight in TRIED[kind]
    ]
    return TRIED[kind][int(np.argmin(errors))]


def _in_blocks(fitter: _Fitter, observed: Observations, weight: float, description: str, progress: bool) -> Array:
    count = len(observed.px)
    fitted = []
    with tqdm(total=count, desc=description, unit="subject", disable=not progress) as bar:
        for start in range(0, count, _BLOCK):
            block = observed.part(slice(start, start + _BLOCK))
            fitted.append(fitter(block, weight))
            bar.update(len(block.px))
    return np.concatenate(fitted)


def _same_views(predictions: Predictions, truth: GroundTruth, views: Views) -> bool:
    return predictions.subjects == truth.subjects and np.array_equal(predictions.views[:, 0], views)


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
