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
    """

    name: str
    coefficients: np.ndarray
    vertices: np.ndarray
    face_model: MorphableModel
    views: tuple[View, ...]
