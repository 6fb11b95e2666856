"""A reconstruction adjusted to points seen in all photographs of the person: bundle adjustment after the network.

The network's identity is the prior; poses and expressions start from the points. Photographs in which no points were
found keep what the network said of them, if it saw them.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface import fitting
from tfface.data import selection
from tfface.face.surface_points import SurfacePoints
from tfface.photographs import face_landmarker
from tfface.photographs.landmark_sources import AUTO, MEDIAPIPE, NETWORK, LandmarkSource, SeenPoints
from tfface.reconstruction import scene
from tfface.reconstruction.assembly import view_of
from tfface.reconstruction.cropping import CroppedFace, PersonCrops
from tfface.reconstruction.options import HELD
from tfface.reconstruction.predictor import Predictor
from tfface.reconstruction.reconstructed_face import Fit, PoseDeviation, Reconstruction, View

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True, eq=False)
class Adjuster:
    """Adjusts reconstructions.

    Attributes:
      name: Of the landmark source, one of `landmark_sources.SOURCES`.
      source: Looks for points in photographs; None if the network gives its own.
      camera_poses: Whether poses of given cameras are `HELD` or `REFINED`.
    """

    name: str
    source: LandmarkSource | None
    camera_poses: str = HELD

    def adjusted(self, person: Reconstruction, crops: PersonCrops) -> Reconstruction:
        """The person after adjustment, with every photograph that shows points; the same without any.

        Args:
          person: As the network has it.
          crops: The faces of all photographs, with points (`CroppedFace.points`) unless they are the network's.

        Raises:
          ValueError: If the points cannot be brought onto the 3DMM.
          ModuleNotFoundError: If that needs a package that is not installed.
        """
        shown = {view.name: view for view in person.views}
        seen: list[tuple[CroppedFace, SeenPoints]] = []
        for face in crops.found:
            view = shown.get(face.photograph.name)
            points = face.points if self.source is not None else None if view is None else view.points
            if points is not None:
                seen.append((face, points))
        if not seen:
            return person
        face_model = person.face_model
        shots = [(face.given, face.photograph.pixels, face.photograph.orientation, face.intrinsics) for face, _ in seen]
        rig = scene.adjustable_rig(shots, self.camera_poses)
        found = fitting.adjust(
            np.stack([points.points for _, points in seen]),
            np.stack([points.deviations for _, points in seen]),
            np.stack([face.intrinsics for face, _ in seen]) if rig is None else rig,
            face_model,
            self._surface(person),
            person.prior or fitting.identity_prior(person.coefficients[None], None),
            settings=fitting.NETWORK_POINTS if self.source is None else fitting.Settings(),
        )
        return _reconstruction(person, [face for face, _ in seen], found, self.name)

    def _surface(self, person: Reconstruction) -> SurfacePoints:
        if self.source is not None:
            return self.source.surface(person.face_model)
        assert person.surface is not None
        return person.surface


def open_adjuster(named: str, bundle: str, model: Predictor) -> Adjuster | str:
    """What adjusts reconstructions of a model.

    Args:
      named: The landmark source, or `AUTO`: the model's own points, or MediaPipe if package and bundle are there.
      bundle: Of MediaPipe's landmarker, see `face_landmarker.find_bundle`.
      model: That predicts.

    Returns:
      The adjuster; or, of `AUTO`, why there is none.

    Raises:
      ValueError: If the named source is not at hand.
      ModuleNotFoundError: If mediapipe is named and not installed.
    """
    if named == NETWORK and model.surface is None:
        raise ValueError("landmark_source: the model finds no points; train one with points, or name mediapipe")
    if named != MEDIAPIPE and model.surface is not None:
        return Adjuster(NETWORK, None)
    path = find_bundle(named, bundle)
    if named == AUTO:
        if path is None:
            return (
                "the model finds no points and no other landmark source is at hand (--face_landmarker or "
                f"{face_landmarker.BUNDLE_VARIABLE} names MediaPipe's)"
            )
        if importlib.util.find_spec("mediapipe") is None:
            return "the model finds no points, and MediaPipe's need the extra mediapipe: pip install tfface[mediapipe]"
    assert path is not None
    from tfface.photographs.mediapipe_landmarks import MediaPipeLandmarks

    source = MediaPipeLandmarks(face_landmarker.shared(path))
    # Before photographs are read, as registration may fail.
    try:
        source.surface(model.face_model)
    except (ValueError, ModuleNotFoundError) as error:
        fault = f"the points of mediapipe cannot be brought onto the model's 3DMM: {error}"
        if named == AUTO:
            return fault
        raise ValueError(f"landmark_source: {fault}; --fit=off goes without them") from error
    return Adjuster(MEDIAPIPE, source)


def find_bundle(named: str, bundle: str) -> pathlib.Path | None:
    """The file of MediaPipe's landmarker, see `face_landmarker.find_bundle`; needs no model, so that it may come first.

    Raises:
      ValueError: If there is no such file, or none although the named landmark source needs it.
    """
    path = face_landmarker.find_bundle(bundle)
    if path is None and named == MEDIAPIPE:
        raise ValueError(
            "landmark_source: mediapipe needs its model, face_landmarker.task; name it by --face_landmarker or "
            f"{face_landmarker.BUNDLE_VARIABLE}, or fetch it by --face_landmarker={face_landmarker.DOWNLOAD}"
        )
    return path


def _reconstruction(
    person: Reconstruction, faces: Sequence[CroppedFace], found: fitting.Adjustment, source: str
) -> Reconstruction:
    """The person as the adjustment has it; views by ascending yaw."""
    model = person.face_model
    network = {view.name: number for number, view in enumerate(person.views)}
    weights_of: list[Array] = []
    views: list[View] = []
    num_weights = found.expressions.shape[1]
    for number, face in enumerate(faces):
        pose = found.quaternions[number], found.translations[number]
        views.append(dataclasses.replace(view_of(face, *pose), deviation=_deviation(found.view_covariances[number])))
        weights_of.append(found.expressions[number])
    fitted = {view.name for view in views}
    for name, number in network.items():
        if name not in fitted:
            views.append(person.views[number])
            weights_of.append(np.zeros(num_weights) if person.expressions is None else person.expressions[number])
    order = np.argsort([float(selection.yaws(view.quaternion)) for view in views], kind="stable")
    identity = found.identity.astype(np.float32)
    return dataclasses.replace(
        person,
        coefficients=identity,
        vertices=model.decode(identity),
        views=tuple(views[place] for place in order),
        expressions=np.stack([weights_of[place] for place in order]).astype(np.float32) if num_weights else None,
        fit=Fit(
            source=source,
            photographs=len(faces),
            converged=found.converged,
            residual=float(np.nanmedian(found.residuals)),
            coefficient_deviations=np.sqrt(np.diag(found.identity_covariance)),
        ),
    )


def _deviation(covariance: Array) -> PoseDeviation:
    """Of the expression and the pose of a view, from ``[E + 6, E + 6]``."""
    deviations = np.sqrt(np.maximum(np.diag(covariance), 0))
    return PoseDeviation(deviations[:-6], np.degrees(deviations[-6:-3]), deviations[-3:])
