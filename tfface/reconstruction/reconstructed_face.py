"""A reconstructed person: the shape, and the camera of every photograph that it was made from."""

import dataclasses

import numpy as np

from tfface.face import MorphableModel


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
    """

    name: str
    pixels: np.ndarray
    intrinsics: np.ndarray
    quaternion: np.ndarray
    translation: np.ndarray
    box: np.ndarray
    confidence: float


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """The reconstruction of one person.

    Attributes:
      name: Of the person.
      coefficients: ``[K]``, of `schema.COEFFICIENTS`.
      vertices: ``[P, 3]`` mm, of `schema.VERTICES`.
      face_model: The 3DMM that both belong to: triangles, landmarks, symmetry.
      views: The photographs.
      expressions: ``[N, E]``, weights of the 3DMM's expressions in each photograph; without them, all are neutral.
    """

    name: str
    coefficients: np.ndarray
    vertices: np.ndarray
    face_model: MorphableModel
    views: tuple[View, ...]
    expressions: np.ndarray | None = None

    def posed(self, view: int) -> np.ndarray:
        """``[P, 3]`` mm, what a photograph shows: the vertices with its expression."""
        moving = self.face_model.expressions
        if self.expressions is None or moving is None:
            return self.vertices
        return self.vertices + moving.displacement(np.asarray(self.expressions[view], np.float32))
