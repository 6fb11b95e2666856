"""Least-squares alignment of corresponding points: rigid, similarity, and generalised Procrustes analysis (GPA)."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

Array = npt.NDArray[np.floating]

SHOWN_AFTER = 2.0
"""Seconds after which a pass over all shapes shows a progress bar; passes over a few hundred are faster."""


@dataclasses.dataclass(frozen=True)
class Transform:
    """x_target = scale * rotation x_source + translation, or a batch of such transforms.

    Attributes:
      scale: [...].
      rotation: [..., 3, 3].
      translation: [..., 3], mm, target frame.
    """

    scale: Array
    rotation: Array
    translation: Array

    def apply(self, points: npt.ArrayLike) -> Array:
        """Transforms points.

        Args:
          points: [..., P, 3], source frame; the leading dimensions broadcast with those of the transform.

        Returns:
          [..., P, 3], target frame.
        """
        matrix = np.asarray(self.scale)[..., None, None] * self.rotation
        return np.asarray(points) @ np.swapaxes(matrix, -1, -2) + np.asarray(self.translation)[..., None, :]

    def inverse(self) -> "Transform":
        """source_from_target."""
        rotation = np.swapaxes(self.rotation, -1, -2)
        scale = 1 / np.asarray(self.scale)
        return Transform(scale, rotation, -scale[..., None] * _rotate(rotation, self.translation))

    def compose(self, first: "Transform") -> "Transform":
        """The transform that applies `first` and then this one: `self.compose(first).apply(x) = self(first(x))`."""
        return Transform(
            np.asarray(self.scale * first.scale),
            self.rotation @ first.rotation,
            np.asarray(self.scale)[..., None] * _rotate(self.rotation, first.translation) + self.translation,
        )


def _rotate(rotation: Array, vector: Array) -> Array:
    return np.einsum("...ij,...j->...i", rotation, vector)


def rigid(source: npt.ArrayLike, target: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Transform:
    """Rotation and translation that bring `source` onto `target` with the least weighted sum of squared distances.

    R = U diag(1, 1, det(U V^T)) V^T from the singular value decomposition U S V^T of the weighted cross-covariance, so
    that R is never a reflection (Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 1991, Eq. 40-43). Three points that are not on one line, or more, define the rotation.

    Args:
      source: [..., P, 3].
      target: [..., P, 3], leading dimensions broadcast with those of `source`.
      weights: [..., P], non-negative, not all 0; by default all equal.

    Returns:
      target_from_source, float64, with leading dimensions [...] and scale 1.

    Raises:
      ValueError: If the shapes do not fit, a value is not finite or the weights are not as above.
    """
    return _align(source, target, weights, with_scale=False)


def similarity(source: npt.ArrayLike, target: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Transform:
    """`rigid` with a scale as well: scale = tr(S diag(1, 1, det(U V^T))) / variance of the source.

    Args:
      source: [..., P, 3], not all the same point.
      target: [..., P, 3], leading dimensions broadcast with those of `source`.
      weights: [..., P], non-negative, not all 0; by default all equal.

    Returns:
      target_from_source, float64, with leading dimensions [...].

    Raises:
      ValueError: If the shapes do not fit, a value is not finite, the source is a single point or the weights are not
        as above.
    """
    return _align(source, target, weights, with_scale=True)


def _align(source: npt.ArrayLike, target: npt.ArrayLike, weights: npt.ArrayLike | None, with_scale: bool) -> Transform:
    x, y = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if x.ndim < 2 or x.shape[-1] != 3 or x.shape[-2:] != y.shape[-2:]:
        raise ValueError(
            f"source and target must have the same shape [..., P, 3], got {list(x.shape)} and {list(y.shape)}"
        )
    for name, points in (("source", x), ("target", y)):
        if not np.isfinite(points).all():
            raise ValueError(f"{name} must be finite")
    shares = _normalised(weights, x.shape[-2])
    x_mean, y_mean = (shares[..., None, :] @ x)[..., 0, :], (shares[..., None, :] @ y)[..., 0, :]
    x, y = x - x_mean[..., None, :], y - y_mean[..., None, :]
    weighted = shares[..., None] * x
    # Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 13(4), 1991:
    # U S V^T = sum_p w_p y_p x_p^T and R = U diag(1, 1, det(U V^T)) V^T.
    u, singular, vt = np.linalg.svd(np.swapaxes(y, -1, -2) @ weighted)
    signs = np.ones_like(singular)
    # The best orthogonal matrix may be a reflection; the weakest axis is then turned, which costs least.
    signs[..., 2] = np.where(np.linalg.det(u) * np.linalg.det(vt) < 0, -1, 1)
    rotation = (u * signs[..., None, :]) @ vt
    scale = np.ones(rotation.shape[:-2])
    if with_scale:
        variance = (weighted * x).sum(axis=(-1, -2))
        if not np.all(variance > 0):
            raise ValueError("source must hold at least two different points of positive weight to have a scale")
        # Eq. 42 there: c = tr(S diag(signs)) / var(x).
        scale = (singular * signs).sum(axis=-1) / variance
    # The centroids coincide: t = mean(y) - c R mean(x).
    translation = y_mean - scale[..., None] * _rotate(rotation, x_mean)
    return Transform(scale, rotation, translation)


def _normalised(weights: npt.ArrayLike | None, num_points: int) -> Array:
    """Weights [..., P] that sum to 1."""
    shares = np.ones(num_points) if weights is None else np.asarray(weights, np.float64)
    if shares.shape[-1:] != (num_points,):
        raise ValueError(f"weights must have the shape [..., {num_points}], got {list(shares.shape)}")
    total = shares.sum(axis=-1, keepdims=True)
    if not (np.all(shares >= 0) and np.all(total > 0) and np.all(np.isfinite(total))):
        raise ValueError("weights must be finite and non-negative with a positive sum")
    return shares / total


def generalised_procrustes(
    shapes: npt.NDArray[np.floating],
    *,
    weights: npt.ArrayLike | None = None,
    scale: bool = False,
    reference: npt.ArrayLike | None = None,
    block: int = 64,
    tolerance: float = 1e-8,
    max_iterations: int = 100,
) -> tuple[Array, Transform]:
    """Aligns shapes to their own mean, which is found at the same time (Gower, Psychometrika 40(1), 1975).

    Every shape is aligned to the mean and the mean is taken again, until it stands still. The mean's centroid is the
    origin. Its orientation, which the criterion leaves free, is the average orientation of the shapes, or that of
    `reference`. With `scale`, its size is the average size of the shapes.

    Args:
      shapes: [M, P, 3], mm, an array or a memory map; read in blocks, once per iteration.
      weights: [P], importance of each point; by default all equal.
      scale: Whether shapes are scaled too. By default they are not: size is part of a person's shape.
      reference: [P, 3], a shape whose axes the mean takes over; by default the average of the shapes' own axes.
      block: Number of shapes in memory at a time.
      tolerance: Root mean square change of the mean, relative to its size, at which the iteration ends.
      max_iterations: Limit of the iteration; a few rounds are usual.

    Returns:
      The mean [P, 3] float64, and the M transforms mean_from_shape as one batch.

    Raises:
      ValueError: If a shape does not fit, a value is not finite, or the iteration does not end.
    """
    if np.ndim(shapes) != 3 or np.shape(shapes)[2] != 3 or 0 in np.shape(shapes):
        raise ValueError(f"shapes must have the shape [M, P, 3], got {list(np.shape(shapes))}")
    weights = _normalised(weights, shapes.shape[1])
    sizes = [_size(part, weights) for part in _blocks(shapes, block, "sizes of shapes")] if scale else []
    size = np.mean(np.concatenate(sizes)) if scale else None
    mean = _centred(np.asarray(shapes[0], np.float64), weights)
    for number in range(1, max_iterations + 1):
        previous, transforms = mean, []
        mean = np.zeros_like(previous)
        for part in _blocks(shapes, block, f"Procrustes analysis, round {number}"):
            transforms.append(_align(part, previous, weights, scale))
            mean += transforms[-1].apply(part).sum(axis=0) / len(shapes)
        mean = _centred(mean, weights)
        if size is not None:
            # Without this, each round of similarities would shrink the mean a little, down to a point.
            mean *= size / _size(mean, weights)
        # The mean of aligned shapes turns a little with every round; only its change of form counts.
        mean = rigid(mean, previous, weights).apply(mean)
        if _size(mean - previous, weights) <= tolerance * _size(mean, weights):
            break
    else:
        raise ValueError(f"shapes: Procrustes analysis did not end within {max_iterations} iterations")
    batch = Transform(*(np.concatenate(parts) for parts in zip(*map(dataclasses.astuple, transforms), strict=True)))
    turned = _orientation(batch, mean, weights, reference)
    return turned.apply(mean), turned.compose(batch)


def in_blocks(count: int, block: int, task: str) -> Iterator[slice]:
    """Slices of at most `block` of `count` things; a reading of all of them that takes long shows how far it is."""
    starts = range(0, count, block)
    for start in tqdm(starts, desc=task, unit="block", delay=SHOWN_AFTER, leave=False, dynamic_ncols=True):
        yield slice(start, min(start + block, count))


def _blocks(shapes: npt.NDArray[np.floating], block: int, task: str) -> Iterator[Array]:
    for rows in in_blocks(len(shapes), block, task):
        part = np.asarray(shapes[rows], np.float64)
        finite = np.isfinite(part).all(axis=(1, 2))
        if not finite.all():
            fault = rows.start + int(np.argmin(finite))
            raise ValueError(f"shapes must be finite, got NaN or infinity in shape {fault}")
        yield part


def _centred(points: Array, weights: Array) -> Array:
    return points - weights @ points


def _size(points: Array, weights: Array) -> Array:
    """[...], mm: root mean square distance of points [..., P, 3] from their centroid."""
    centred = points - (weights @ points)[..., None, :]
    return np.sqrt((weights * (centred**2).sum(axis=-1)).sum(axis=-1))


def _orientation(transforms: Transform, mean: Array, weights: Array, reference: npt.ArrayLike | None) -> Transform:
    """The rotation, as a transform, that gives the mean of GPA its orientation."""
    if reference is not None:
        rotation = rigid(mean, reference, weights).rotation
    else:
        # The mean rotation: the one nearest to the sum of shape_from_mean, in the Frobenius norm (Moakher, "Means and
        # averaging in the group of rotations", SIAM J. Matrix Anal. Appl. 24(1), 2002).
        u, _, vt = np.linalg.svd(np.swapaxes(transforms.rotation, -1, -2).sum(axis=0))
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return Transform(np.ones(()), rotation, np.zeros(3))
