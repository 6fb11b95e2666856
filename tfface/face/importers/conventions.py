"""Converts other 3DMMs to the conventions of tfface: unit, axes, origin, winding, landmarks, modes, symmetry."""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face import symmetry
from tfface.face.head import Head
from tfface.face.importers.raw import Y_UP, Landmark, RawModel, SurfacePoint, checked_numbers
from tfface.face.morphable_model import MorphableModel
from tfface.geometry import mesh

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001}
_SIZES = 60.0, 600.0
"""mm, the longest side of a face, or of a head with its neck: a decade, so that it tells the unit."""

FACE_RADIUS = 95.0
"""mm around the tip of the nose: the face region of a head, as the ARMSE protocol cuts it."""

_HEAD_DEPTH = 165.0
"""mm from the tip of the nose backwards, from which on a mesh is a head and not a face alone."""

_ORTHOGONALITY = 1e-4
"""Largest cosine between two modes at which modes count as orthogonal."""

_RANK_TOLERANCE = 1e-10
"""Share of the largest eigenvalue below which one is rounding error."""


def to_model(raw: RawModel, cut_mm: float | None = None) -> MorphableModel:
    """Makes a 3DMM of what a reader found.

    The origin is the centroid of the vertices; of a whole head, of those within `FACE_RADIUS` of the tip of the nose if
    that is known. A point inside a triangle becomes the nearest vertex. Triangles are wound so that normals point
    outwards. Modes that are not orthogonal, as they are not after a cut, become the principal components of the same
    distribution: with D [K, 3P] the modes, the eigenvectors of D^T D.

    Args:
      raw: the model in its file's conventions.
      cut_mm: keeps only what lies that near to the tip of the nose, on the mean.

    Returns:
      The model.

    Raises:
      ValueError: naming what is missing, wrong or implausible.
    """
    mean: Array = checked_numbers("the mean", np.asarray(raw.mean)).astype(np.float64)
    modes: Array = checked_numbers("the modes", np.asarray(raw.modes))
    triangles = mesh.checked_triangles(mean, raw.triangles)
    unit, scale = _unit(mean)
    landmarks = {name: _vertex(name, landmark, mean, triangles) for name, landmark in raw.landmarks.items()}
    axes = raw.model_from_file
    if axes is None:
        axes = _axes({name: mean[vertex] for name, vertex in landmarks.items()})
    transform = scale * axes.T
    mean = mean @ transform
    _check_axes({name: mean[vertex] for name, vertex in landmarks.items()})
    modes = (modes @ transform).astype(np.float32)
    expressions = None if raw.expressions is None else raw.expressions.turned(transform.T)
    mirror = symmetry.find_symmetry_or_none(mean, triangles)
    kept: Indices = np.arange(len(mean))
    rows: Indices = np.arange(len(triangles))
    if cut_mm is not None:
        kept, rows = _part(mean, triangles, mirror, landmarks, cut_mm)
    number = np.full(len(mean), -1)
    number[kept] = np.arange(len(kept))
    mean, modes, triangles = mean[kept], modes[:, kept], number[triangles[rows]]
    corners = _outward_corners(mean, triangles)
    centre = _centre(mean, {name: int(number[vertex]) for name, vertex in landmarks.items() if number[vertex] >= 0})
    basis, eigenvalues, mixing = principal_components(modes)
    return MorphableModel(
        mean=mean - centre,
        basis=basis,
        eigenvalues=eigenvalues,
        triangles=triangles[:, corners],
        landmarks={name: int(number[vertex]) for name, vertex in landmarks.items() if number[vertex] >= 0},
        symmetry=None if mirror is None else number[mirror[kept]],
        metadata={"imported": {**raw.notes, "unit": unit, **({} if cut_mm is None else {"cut_mm": cut_mm})}},
        expressions=None if expressions is None else expressions.at(kept),
        regions={
            name: number[indices][number[indices] >= 0]
            for name, indices in raw.regions.items()
            if (number[indices] >= 0).any()
        },
        uv=raw.uv,
        uv_triangles=None if raw.uv_triangles is None else raw.uv_triangles[rows][:, corners],
        head=None if raw.head is None else _head(raw.head, transform, centre, mixing, kept, corners),
    )


def _head(head: Head, transform: Array, centre: Array, mixing: Array, kept: Indices, corners: list[int]) -> Head:
    """The head in mm and the model frame, on the components of the face and with the part of the face that is kept.

    Args:
      head: as the file has it.
      transform: [3, 3], what rows of coordinates are multiplied with.
      centre: [3], mm, the origin.
      mixing: [K', K], of `principal_components`.
      kept: [P'], vertices of the file's face.
      corners: the order of a triangle's corners.
    """
    scaled_basis = np.tensordot(mixing, head.scaled_basis @ transform, 1)
    return dataclasses.replace(
        head,
        mean=head.mean @ transform - centre,
        scaled_basis=scaled_basis,
        triangles=head.triangles[:, corners],
        face_index=head.face_index[kept],
        expressions=None if head.expressions is None else head.expressions.turned(transform.T),
        uv_triangles=None if head.uv_triangles is None else head.uv_triangles[:, corners],
    )


def with_landmarks(model: MorphableModel, landmarks: Mapping[str, Landmark]) -> dict[str, int]:
    """The landmarks of a model, completed and corrected by others.

    Args:
      model: the 3DMM.
      landmarks: vertices or points on its mean by name.

    Raises:
      ValueError: naming a landmark that is not on the model.
    """
    found = {name: _vertex(name, landmark, model.mean, model.triangles) for name, landmark in landmarks.items()}
    return {**model.landmarks, **found}


def principal_components(modes: Array) -> tuple[Array, Array, Array]:
    """Orthonormal basis and variances of vertices = mean + sum_k c_k modes_k with c ~ N(0, I).

    Modes that are orthogonal stay themselves, only in descending order; others are rotated into one another.

    Args:
      modes: [K, P, 3], mm.

    Returns:
      (basis [K', P, 3], eigenvalues [K'], mm^2, descending, mixing [K', K]); K' < K if some do not vary. One standard
      deviation of component i is ``sqrt(eigenvalue_i) basis_i = sum_k mixing_ik modes_k``.

    Raises:
      ValueError: if none varies.
    """
    flat = np.asarray(modes, np.float64).reshape(len(modes), -1)
    gram = flat @ flat.T
    variances = np.diag(gram)
    if not variances.max(initial=0.0) > 0:
        raise ValueError("the modes must move the vertices, but none does")
    moving = np.flatnonzero(variances > _RANK_TOLERANCE * variances.max())
    lengths = np.sqrt(variances[moving])
    cosines = gram[np.ix_(moving, moving)] / np.outer(lengths, lengths)
    if np.abs(cosines - np.eye(len(moving))).max() <= _ORTHOGONALITY:
        order = np.argsort(-lengths, kind="stable")
        basis, eigenvalues = flat[moving[order]] / lengths[order, None], lengths[order] ** 2
        mixing = np.eye(len(flat))[moving[order]]
    else:
        values, vectors = np.linalg.eigh(gram)
        strong = np.flatnonzero(values > _RANK_TOLERANCE * values[-1])[::-1]
        vectors = vectors[:, strong]
        # The mode that takes the largest part in a component gives it its sign.
        vectors = vectors * np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0))
        q, r = np.linalg.qr((vectors.T @ flat).T)
        basis, eigenvalues, mixing = (q * np.sign(np.diag(r))).T, values[strong], vectors.T
    return basis.reshape(len(basis), -1, 3), eigenvalues, mixing


def _unit(mean: Array) -> tuple[str, float]:
    """The unit in which the mean has the size of a face, and its mm."""
    size = float(np.ptp(mean, axis=0).max())
    for unit, scale in _UNITS.items():
        if _SIZES[0] <= scale * size < _SIZES[1]:
            return unit, scale
    raise ValueError(
        f"the mean's longest side is {size:.4g}, which is no face of {_SIZES[0]:.0f} to {_SIZES[1]:.0f} mm in any of "
        f"{', '.join(_UNITS)}"
    )


def _vertex(name: str, landmark: Landmark, vertices: Array, triangles: Indices) -> int:
    """The vertex of a landmark: its own, or the nearest to a point inside a triangle."""
    if name not in schema.IBUG68:
        raise ValueError(f"landmarks: {name!r} is not one of the 68 names of schema.IBUG68")
    if isinstance(landmark, SurfacePoint):
        if not 0 <= landmark.triangle < len(triangles):
            raise ValueError(f"landmarks: {name}: triangle {landmark.triangle} is none of the {len(triangles)}")
        corners = triangles[landmark.triangle]
        point = np.asarray(landmark.weights) @ vertices[corners]
        return int(corners[np.argmin(np.linalg.norm(vertices[corners] - point, axis=1))])
    if not 0 <= landmark < len(vertices):
        raise ValueError(f"landmarks: {name}: vertex {landmark} is none of the {len(vertices)}")
    return int(landmark)


def _directions(points: Mapping[str, Array]) -> Array | None:
    """[3, 3], rows: rightwards in the picture, downwards, away from the viewer, as landmarks tell; None if too few."""
    groups = [
        [point for name, point in points.items() if name.startswith(prefix)]
        for prefix in ("eye_right_", "eye_left_", "lip_")
    ]
    if not all(groups):
        return None
    right, left, mouth = (np.mean(group, axis=0) for group in groups)
    across, down = left - right, mouth - (left + right) / 2
    down = down - across * (down @ across) / max(float(across @ across), 1e-12)
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if min(lengths) < 1e-6 * max(lengths):
        return None
    across, down = across / lengths[0], down / lengths[1]
    return np.stack((across, down, np.cross(across, down)))


def _axes(points: Mapping[str, Array]) -> Array:
    """model_from_file: of the 24 rotations that map axes to axes, the one that landmarks want; y up without them."""
    directions = _directions(points)
    if directions is None:
        return Y_UP
    signed = (
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    )
    return max(
        (matrix for matrix in signed if np.linalg.det(matrix) > 0), key=lambda matrix: (matrix * directions).sum()
    )


def _check_axes(points: Mapping[str, Array]) -> None:
    """Refuses a face that does not look at the viewer upright, as far as its landmarks tell."""
    directions = _directions(points)
    if directions is not None and not (np.diag(directions) > 0.5).all():
        raise ValueError(
            "its landmarks say that it does not stand upright and look along -z in the model frame: from the right to "
            f"the left eye is {directions[0].round(2).tolist()}, from eyes to mouth {directions[1].round(2).tolist()}; "
            "are they of another topology, or right and left confused?"
        )
    eyes = [point for name, point in points.items() if name.startswith("eye_")]
    if schema.NOSE_TIP in points and eyes and not points[schema.NOSE_TIP][2] < np.mean(eyes, axis=0)[2]:
        raise ValueError("its landmarks say that the nose does not point at the viewer, along -z of the model frame")


def _part(
    mean: Array, triangles: Indices, mirror: Indices | None, landmarks: Mapping[str, int], radius: float
) -> tuple[Indices, Indices]:
    """Vertices [P'] and triangles [F'] within a radius of the tip of the nose, by index, no vertex without a triangle.

    What is kept of a symmetric mesh is symmetric, though its shape may not quite be.
    """
    if schema.NOSE_TIP not in landmarks:
        raise ValueError(f"cut_mm: the model must have the landmark {schema.NOSE_TIP} to cut around")
    near = np.linalg.norm(mean - mean[landmarks[schema.NOSE_TIP]], axis=1) <= radius
    rows = np.arange(len(triangles))
    while True:
        if mirror is not None:
            near &= near[mirror]
        rows = rows[near[triangles[rows]].all(axis=1)]
        if mirror is not None:  # Of a quadrilateral at the edge, each side may keep another half.
            broken = mirror[symmetry.broken_triangles(mirror, triangles[rows])][:, ::-1]
            rows = rows[~_rows_in(triangles[rows], broken)]
        used = np.zeros(len(mean), bool)
        used[triangles[rows]] = True
        if not used.any():
            raise ValueError(f"cut_mm: no triangle lies within {radius} mm of the tip of the nose")
        if (used == near).all():
            return np.flatnonzero(near), rows
        near = used


def _rows_in(rows: Indices, others: Indices) -> npt.NDArray[np.bool_]:
    """Whether each of the rows [F, 3] is one of the others [B, 3]."""
    codes = [(array.astype(np.int64) * (1 << np.array([42, 21, 0]))).sum(axis=1) for array in (rows, others)]
    return np.isin(*codes)


def _outward_corners(mean: Array, triangles: Indices) -> list[int]:
    """The order of corners with which the triangles' normals point outwards on the whole: as it is, or turned over."""
    a, b, c = (mean[triangles[:, corner]] - mean.mean(axis=0) for corner in range(3))
    volume = np.einsum("fk,fk->", a, np.cross(b, c))
    return [0, 1, 2] if volume >= 0 else [0, 2, 1]


def _centre(mean: Array, landmarks: Mapping[str, int]) -> Array:
    """The centroid of the face region."""
    if schema.NOSE_TIP not in landmarks or np.ptp(mean[:, 2]) < _HEAD_DEPTH:
        return mean.mean(axis=0)
    return mean[np.linalg.norm(mean - mean[landmarks[schema.NOSE_TIP]], axis=1) <= FACE_RADIUS].mean(axis=0)
