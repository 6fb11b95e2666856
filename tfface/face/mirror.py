"""What a mirror at the plane x = 0 of the model frame makes of the numbers that say a face."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face.morphable_model import MorphableModel
from tfface.face.surface_points import SurfacePoints
from tfface.geometry import camera

Array = npt.NDArray[np.float32]

_ASYMMETRY = 0.25
"""mm, root mean square, by which the mirror image of a mode may miss the modes, for one standard deviation: a tenth of
what networks err by. Half precision alone costs some modes 0.07 mm."""


def mirror_vertices(vertices: Any, symmetry: np.ndarray) -> Any:
    """Mirrored shape: vertex i is the mirror image of the vertex that the mirror turns into i.

    Args:
      vertices: [..., P, 3], mm, model frame, an array or a tensor.
      symmetry: [P], as in `face.MorphableModel`.

    Returns:
      [..., P, 3], of the same kind.
    """
    if isinstance(vertices, np.ndarray):
        return vertices[..., symmetry, :] * np.array([-1, 1, 1], vertices.dtype)
    import tensorflow as tf

    return tf.gather(vertices, symmetry, axis=-2) * tf.constant([-1, 1, 1], vertices.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Mirror:
    """From what a model says of a photograph's mirror image to what that says of the photograph, and back.

    Attributes:
      linear: [K, K] and
      constant: [K]: coefficients c of a face are c @ linear + constant of its mirror image.
      weights: [E, E]: expressions e are e @ weights of it; None without expressions.
      places: [Q], index of the mirror image of each surface point; None without points.
    """

    linear: Array
    constant: Array
    weights: Array | None
    places: npt.NDArray[np.integer] | None

    @classmethod
    def of(cls, face_model: MorphableModel, surface: SurfacePoints | None) -> "Mirror | None":
        """The mirror of a model's 3DMM and of its points, if it has any.

        None if one of them has no symmetry, or if the 3DMM cannot say the mirror images of its own faces.
        """
        symmetry, expressions = face_model.symmetry, face_model.expressions
        if symmetry is None or (surface is not None and surface.mirror is None):
            return None
        faces = np.concatenate((face_model.mean[None], face_model.mean + face_model.scaled_basis))
        images = mirror_vertices(faces, symmetry)
        coefficients = face_model.encode(images)
        missed = np.sqrt(np.mean(np.square(face_model.decode(coefficients) - images).sum(axis=-1), axis=-1))
        if missed.max() > _ASYMMETRY:
            return None
        weights = None if expressions is None else expressions.mirror_matrix(symmetry)
        linear = coefficients[1:] - coefficients[0]
        return cls(linear, coefficients[0], weights, None if surface is None else surface.mirror)

    def coefficients(self, coefficients: Array) -> Array:
        """Of shapes [..., K]."""
        return (coefficients @ self.linear + self.constant).astype(np.float32)

    def poses(self, quaternions: Array, translations: Array) -> tuple[Array, Array]:
        """Of cameras [..., 4] and [..., 3], mm."""
        return camera.flip_pose(quaternions, translations)

    def expressions(self, weights: Array) -> Array:
        """Of expressions [..., E].

        Raises:
          ValueError: If the 3DMM has none.
        """
        if self.weights is None:
            raise ValueError("mirror: the 3DMM has no expressions")
        return (weights @ self.weights).astype(np.float32)

    def points(self, points: Array, deviations: Array, width: float) -> tuple[Array, Array]:
        """Of surface points [..., Q, 2] with deviations [..., Q], px in pictures of this width.

        Raises:
          ValueError: If the model finds none.
        """
        if self.places is None:
            raise ValueError("mirror: the model finds no points")
        turned = np.array([width, 0], np.float32) + np.array([-1, 1], np.float32) * points
        return turned[..., self.places, :], deviations[..., self.places]
