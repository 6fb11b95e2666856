"""The true error of a shape where prediction and truth share their topology: distances of corresponding vertices."""

import functools

import numpy as np
import numpy.typing as npt

from tfface.evaluation.measure import Column, Measure, Numbers, Pairs, Values
from tfface.geometry import alignment as least_squares
from tfface.geometry.mesh import Mesh

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

ALIGNMENTS = ("none", "rigid", "similarity")


def aligned(predicted: npt.ArrayLike, truth: npt.ArrayLike, alignment: str, area: Indices | None = None) -> Array:
    """Moves predicted shapes onto true ones by least squares over the vertices of an area.

    Args:
      predicted: [..., P, 3], mm.
      truth: [..., P, 3], mm; leading dimensions broadcast with those of `predicted`.
      alignment: `none`, `rigid` (rotation and translation) or `similarity` (and scale).
      area: [A] vertex indices; all vertices if None.

    Returns:
      [..., P, 3] float64, mm: all vertices of the prediction, in the frame of the truth.

    Raises:
      ValueError: If the shapes do not fit, the alignment is unknown, or the area is empty or out of range.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.shape[-2:] != truth.shape[-2:] or predicted.shape[-1:] != (3,):
        raise ValueError(
            f"predicted and truth must have the same shape [..., P, 3], got {list(predicted.shape)} and "
            f"{list(truth.shape)}."
        )
    chosen = checked_area(area, predicted.shape[-2])
    if alignment == "none":
        return predicted
    if alignment == "rigid":
        transform = least_squares.rigid(predicted[..., chosen, :], truth[..., chosen, :])
    elif alignment == "similarity":
        transform = least_squares.similarity(predicted[..., chosen, :], truth[..., chosen, :])
    else:
        raise ValueError(f"alignment must be one of {', '.join(ALIGNMENTS)}, got {alignment!r}.")
    return transform.apply(predicted)


def vertex_distances(
    predicted: npt.ArrayLike, truth: npt.ArrayLike, alignment: str, area: Indices | None = None
) -> Array:
    """Distance of every vertex to its true place, after an alignment over an area.

    Arguments and errors are those of `aligned`.

    Returns:
      [..., P] float64, mm; of all vertices, also those outside the area.
    """
    return np.linalg.norm(aligned(predicted, truth, alignment, area) - np.asarray(truth, np.float64), axis=-1)


def vertex_error(predicted: npt.ArrayLike, truth: npt.ArrayLike, alignment: str, area: Indices | None = None) -> Array:
    """Mean distance of the vertices of an area to their true places, after an alignment over the same area.

    Arguments and errors are those of `aligned`.

    Returns:
      [...] float64, mm.
    """
    distances = vertex_distances(predicted, truth, alignment, area)
    return distances[..., checked_area(area, distances.shape[-1])].mean(axis=-1)


def checked_area(area: Indices | None, num_vertices: int) -> Indices | slice:
    """An index of the vertices of an area, after checking it.

    Raises:
      ValueError: If the area is not a list of at least three different vertices in 0..num_vertices - 1.
    """
    if area is None:
        return slice(None)
    area = np.asarray(area)
    if (
        area.ndim != 1
        or not np.issubdtype(area.dtype, np.integer)
        or len(np.unique(area)) != len(area)
        or len(area) < 3
    ):
        raise ValueError(
            f"area must list at least three different vertices, got {area.dtype} of shape {list(area.shape)}."
        )
    if area.min() < 0 or area.max() >= num_vertices:
        raise ValueError(f"area must index {num_vertices} vertices, got {area.min()} to {area.max()}.")
    return area


@functools.lru_cache(maxsize=1)  # the errors of a block and their sum over its subjects need the same
def similarity_distances(pairs: Pairs) -> Values:
    """[G, P], mm: distance of every vertex to its true place after the similarity alignment over the area."""
    return np.asarray(vertex_distances(pairs.predicted, pairs.true, "similarity", pairs.area), np.float64)


def _of_pairs(pairs: Pairs) -> dict[str, Values]:
    area = checked_area(pairs.area, pairs.true.shape[-2])
    return {
        "vertex_mm": vertex_error(pairs.predicted, pairs.true, "none", pairs.area),
        "rigid_mm": vertex_error(pairs.predicted, pairs.true, "rigid", pairs.area),
        "similarity_mm": similarity_distances(pairs)[:, area].mean(axis=-1),
    }


def _of_meshes(predicted: Mesh, truth: Mesh) -> Numbers:
    """Errors where both meshes have the same triangles, over the vertices that these use."""
    kinds = ("rigid", "similarity")
    if predicted.num_vertices != truth.num_vertices or not np.array_equal(predicted.triangles, truth.triangles):
        return {f"{kind}_mm": None for kind in kinds}
    used = np.unique(truth.triangles)
    return {f"{kind}_mm": float(vertex_error(predicted.vertices, truth.vertices, kind, used)) for kind in kinds}


MEASURE = Measure(
    "vertex",
    columns=(
        Column("vertex_mm", "model frame, mm", share=True),
        Column("rigid_mm", "rigid, mm", share=True),
        Column("similarity_mm", "similarity, mm", share=True),
    ),
    of_pairs=_of_pairs,
    mesh_columns=("rigid_mm", "similarity_mm"),
    of_meshes=_of_meshes,
)
