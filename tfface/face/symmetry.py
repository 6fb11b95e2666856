"""The left-right symmetry of a template: which vertex is the mirror image of which."""

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from tfface.geometry import mesh

Indices = npt.NDArray[np.int32]


def find_symmetry(vertices: npt.ArrayLike, triangles: npt.ArrayLike) -> Indices:
    """Finds the left-right symmetry of a template."""
    vertices = np.asarray(vertices, np.float64)
    triangles = mesh.checked_triangles(vertices, triangles)
    centre = vertices.mean(axis=0)
    mirrored = (vertices - centre) * (-1, 1, 1) + centre
    permutation = cKDTree(vertices).query(mirrored)[1].astype(np.int32)
    check_symmetry(permutation, triangles)
    return permutation


def check_symmetry(permutation: npt.ArrayLike, triangles: npt.ArrayLike) -> Indices:
    """Checks that a permutation of vertices mirrors a mesh onto itself."""
    permutation = np.asarray(permutation, np.int32)
    if not np.array_equal(permutation[permutation], np.arange(len(permutation))):
        raise ValueError("symmetry must be an involution.")
    return permutation


def find_symmetry_or_none(vertices: npt.ArrayLike, triangles: npt.ArrayLike) -> Indices | None:
    """`find_symmetry`, with None where the mesh is not symmetric."""
    try:
        return find_symmetry(vertices, triangles)
    except ValueError:
        return None
