"""Landmarks that a prediction and the truth have in common, for measures that align meshes by them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.geometry.mesh import Mesh

Indices = npt.NDArray[np.integer]

_LEAST = 3  # points define a similarity


def shared(predicted: Mesh, truth: Mesh, names: Sequence[str] = schema.LANDMARKS51) -> tuple[Indices, Indices]:
    """Vertices of the landmarks that both meshes know; a landmark that a mesh has no vertex for is unknown.

    Args:
      predicted: the prediction.
      truth: the truth.
      names: which landmarks, the 51 of iBUG without the jaw by default.

    Returns:
      [L] vertices of the prediction and [L] of the truth, in the order of the names.

    Raises:
      ValueError: if fewer than three of them are known on both.
    """
    known = [name for name in names if name in predicted.landmarks and name in truth.landmarks]
    if len(known) < _LEAST:
        raise ValueError(f"landmarks: at least {_LEAST} must be known on both meshes to align them, got {known}.")
    vertices = [[mesh.landmarks[name] for name in known] for mesh in (predicted, truth)]
    return np.array(vertices[0]), np.array(vertices[1])


def require(mesh: Mesh, name: str, names: Sequence[str]) -> None:
    """Checks that a mesh knows landmarks.

    Args:
      mesh: the mesh.
      name: how to call the mesh in the message.
      names: the landmarks.

    Raises:
      ValueError: naming the mesh and what it lacks.
    """
    missing = [landmark for landmark in names if landmark not in mesh.landmarks]
    if missing:
        raise ValueError(f"landmarks of the {name} must hold {', '.join(missing)}.")
