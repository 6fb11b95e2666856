"""A reconstructed person: the shape, and the camera of every photograph that it was made from."""

import dataclasses

import numpy as np

from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints
from tfface.fitting import IdentityPrior
from tfface.photographs.cameras import PosedCamera
from tfface.photographs.landmark_sources import SeenPoints
from tfface.reconstruction.scale import Scale


@dataclasses.dataclass(frozen=True, eq=False)
class PoseDeviation:
    """Standard deviations of what an adjustment found in a photograph.

    Attributes:
      expression: ``[E]``, of the weights.
      rotation: ``[3]`` degrees, about the axes of the camera.
      translation: ``[3]`` mm.
    """

    expression: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """How a person was adjusted to points in photographs.

    Attributes:
      source: Of the points, one of `landmark_sources.SOURCES`.
      photographs: How many showed points.
      converged: Whether the adjustment ended because nothing was left to gain.
      residual: Median distance of a point from the fitted one, in deviations.
      coefficient_deviations: ``[K]``, standard deviations of the coefficients.
    """

    source: str
    photographs: int
    converged: bool
    residual: float
    coefficient_deviations: np.ndarray


@dataclasses.dataclass(frozen=True)
class View:
    """A photograph and the person's pose in it.

    Attributes:
      name: Of the photograph, e.g. its path.
      pixels: ``[H, W, 3]`` uint8, upright.
      intrinsics: K ``[3, 3]`` of the photograph in px.
      quaternion: ``[4]``, of `schema.QUATERNIONS`, in the photograph's camera.
      translation: ``[3]`` mm, of `schema.TRANSLATIONS`, in the photograph's camera.
      box: ``[4]`` left, top, right, bottom of the detected face in px.
      confidence: Of the detector, 0 to 1.
      camera: As it was given, of the photograph as it is stored, in the frame of its scene; None if none was given.
      orientation: EXIF orientation by which the stored photograph was turned.
      points: The model's own points of it; None of a model that finds none.
      deviation: Of expression and pose, if they were adjusted to points.
    """

    name: str
    pixels: np.ndarray
    intrinsics: np.ndarray
    quaternion: np.ndarray
    translation: np.ndarray
    box: np.ndarray
    confidence: float
    camera: PosedCamera | None = None
    orientation: int = 1
    points: SeenPoints | None = None
    deviation: PoseDeviation | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class SceneFrame:
    """Where the model frame lies in the scene of given cameras: ``x_scene = scale rotation x_model + translation``.

    Attributes:
      scale: Scene's units a mm.
      rotation: ``[3, 3]``.
      translation: ``[3]``, scene's units.
      cameras: Which of `cameras.FORMATS` the cameras were in.
      poses: Of the cameras, ``held`` as they were given, or ``refined`` in the adjustment.
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray
    cameras: str
    poses: str

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points ``[..., 3]`` of the model frame, mm, in the scene."""
        return self.scale * points @ self.rotation.T + self.translation


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """The reconstruction of one person.

    Attributes:
      name: Of the person.
      coefficients: ``[K]``, of `schema.COEFFICIENTS`.
      vertices: ``[P, 3]`` mm, of `schema.VERTICES`, times the factor of the scale.
      face_model: The 3DMM that both belong to: triangles, landmarks, symmetry.
      views: The photographs.
      expressions: ``[N, E]``, weights of the 3DMM's expressions in each photograph; without them, all are neutral.
      scale: Where the size comes from; None for the population's mean, which the coefficients are of.
      scene: Where the person is among given cameras; None if none were given.
      surface: Where the views' points lie on the 3DMM; None of a model that finds none.
      fit: How the person was adjusted to points; None if that was not done.
      prior: What the network knows of the coefficients before any point is seen; None if nobody has measured how far it
        is to be believed.
    """

    name: str
    coefficients: np.ndarray
    vertices: np.ndarray
    face_model: MorphableModel
    views: tuple[View, ...]
    expressions: np.ndarray | None = None
    scale: Scale | None = None
    scene: SceneFrame | None = None
    surface: SurfacePoints | None = None
    fit: Fit | None = None
    prior: IdentityPrior | None = None

    @property
    def size(self) -> float:
        """How much larger the person is than coefficients and weights say."""
        return 1.0 if self.scale is None else self.scale.factor

    def posed(self, view: int) -> np.ndarray:
        """``[P, 3]`` mm, what a photograph shows: the vertices with its expression."""
        moving = self.face_model.expressions
        if self.expressions is None or moving is None:
            return self.vertices
        return self.vertices + np.float32(self.size) * moving.displacement(
            np.asarray(self.expressions[view], np.float32)
        )

    def whole_head(self, view: int | None = None) -> np.ndarray:
        """``[V, 3]`` mm, the head of a 3DMM that has one; with the expression of a photograph, if one is named.

        Raises:
          ValueError: If the 3DMM has no head.
        """
        head = self.face_model.head
        if head is None:
            raise ValueError(f"{self.name}: expected a 3DMM with a head, got none")
        weights = None
        if view is not None and self.expressions is not None:
            weights = np.asarray(self.expressions[view], np.float32)
        return np.float32(self.size) * head.decode(np.asarray(self.coefficients, np.float32), weights)

    def scaled(self, scale: Scale | None) -> "Reconstruction":
        """The same person in another scale; the photographs show them as before, from farther away or nearer."""
        factor = (1.0 if scale is None else scale.factor) / self.size
        views = tuple(_farther(view, factor) for view in self.views)
        scene = None if self.scene is None else dataclasses.replace(self.scene, scale=self.scene.scale / factor)
        return dataclasses.replace(
            self, vertices=np.float32(factor) * self.vertices, views=views, scale=scale, scene=scene
        )


def _farther(view: View, factor: float) -> View:
    """The view from so many times the distance."""
    sure = view.deviation
    if sure is not None:
        sure = dataclasses.replace(sure, translation=factor * sure.translation)
    return dataclasses.replace(view, translation=factor * view.translation, deviation=sure)
