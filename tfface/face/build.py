"""Builds a 3DMM from registered meshes: generalised Procrustes analysis and exact PCA, in bounded memory."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfface.face.morphable_model import MorphableModel
from tfface.face.principal_components import AlignedShapes
from tfface.geometry import alignment

Array = npt.NDArray[np.floating]

_SIGN_TIE = 0.99
"""Entries of a mode from this share of the largest magnitude count as equally large when its sign is set."""


def build(
    registered: npt.NDArray[np.floating],
    triangles: npt.ArrayLike,
    landmarks: Mapping[str, int],
    symmetry: npt.ArrayLike | None,
    *,
    modes: int | float,
    scale: bool = False,
    reference: npt.ArrayLike | None = None,
    block: int = 64,
) -> MorphableModel:
    """Builds a 3DMM from registered meshes (section 3.1): the mean and the principal components of aligned shapes.

    The shapes are aligned by generalised Procrustes analysis. With D [M, 3P] the aligned shapes minus their mean, the
    modes are the eigenvectors of D^T D / (M - 1), those of the singular value decomposition of D, in float64; see
    `principal_components` for how they are found. The mean is centred on its centroid, the origin of the model frame.

    The sign of a mode is such that its first entry (in the order x, y, z of the first vertex, ...) among those within
    1 % of its largest magnitude is positive: the result does not depend on the machine.

    Memory: some blocks of shapes and 13 numbers a shape; besides, the square of min(M, 3P) while that is at most 4096,
    and beyond about 3P times 20 K numbers, whatever M is. The time is then proportional to M.

    Args:
      registered: [M, P, 3], mm, an array or a memory map, in correspondence, in the axes of the model frame up to
        small rotations.
      triangles: [F, 3].
      landmarks: Vertex index by name.
      symmetry: [P], see `MorphableModel`.
      modes: An integer K, at most min(M - 1, 3P); or a float, the share of the whole variance in (0, 1] that the modes
        must reach: K is the least that does.
      scale: Whether shapes are scaled to one size. By default they are not: size is part of a person's shape.
      reference: [P, 3], a shape whose axes the mean takes over; by default the average of the shapes' own axes.
      block: Number of shapes in memory at a time.

    Returns:
      The model; its metadata notes the number of shapes and the share of the variance that the modes hold.

    Raises:
      ValueError: If more modes are asked for than the shapes hold, or an array does not fit.
    """
    if isinstance(modes, float) and not 0 < modes <= 1:
        raise ValueError(f"modes must be an integer, or a share of the variance in (0, 1], got {modes}")
    if len(registered) < 2:
        raise ValueError(f"registered must hold at least two shapes, got {len(registered)}")
    _, transforms = alignment.generalised_procrustes(registered, scale=scale, reference=reference, block=block)
    aligned = AlignedShapes(registered, transforms, block)
    asked = (None, modes) if isinstance(modes, float) else (modes, None)
    eigenvalues, basis, total = aligned.principal_components(*asked)
    mean = aligned.mean
    return MorphableModel(
        mean=mean - mean.mean(axis=0),
        basis=_signed(basis).reshape(len(basis), -1, 3),
        eigenvalues=eigenvalues,
        triangles=np.asarray(triangles),
        landmarks=landmarks,
        symmetry=None if symmetry is None else np.asarray(symmetry),
        metadata={
            "num_shapes": len(registered),
            "variance_share": float(eigenvalues.sum() / total),
            "scaled": scale,
        },
    )


def _signed(basis: Array) -> Array:
    """Basis [K, 3P] with the signs that `build` promises."""
    magnitudes = np.abs(basis)
    first = np.argmax(magnitudes >= _SIGN_TIE * magnitudes.max(axis=1, keepdims=True), axis=1)
    return basis * np.sign(np.take_along_axis(basis, first[:, None], axis=1))
