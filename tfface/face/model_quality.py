"""The measures by which 3DMMs are judged: compactness, generalisation and specificity, by the number of modes.

Styner, Rajamani, Nolte, Zsemlye, Székely, Taylor and Davies, "Evaluation of 3D correspondence methods for model
building", IPMI 2003, section 2.3. Distances between shapes are root mean squares over their vertices, in mm: the
article's Euclidean norm, divided by the square root of the number of vertices.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tfface.face.morphable_model import MorphableModel
from tfface.geometry import alignment

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True, eq=False)
class QualityCurve:
    """A distance by the number of modes.

    Attributes:
      mean: [K + 1], mm, with 0, 1, ..., K modes, over shapes or samples.
      standard_error: [K + 1], mm, of `mean`; NaN if there was one shape only.
    """

    mean: Array
    standard_error: Array


def compactness(model: MorphableModel) -> Array:
    """Share of the shapes' whole variance that the first modes hold.

    C(k) = (eigenvalue_1 + ... + eigenvalue_k) / whole variance. What the model leaves out is known from its metadata
    (`variance_share`, which `tfface.face.build` notes); without it, the modes of the model count as all there are.

    Args:
      model: K modes.

    Returns:
      [K + 1], 0..1, with 0, 1, ..., K modes.

    Raises:
      ValueError: if the metadata holds no share in (0, 1].
    """
    share = model.metadata.get("variance_share", 1.0)
    # A sum of float32 eigenvalues over their trace may exceed 1 by rounding.
    if not 0 < share <= 1 + 1e-6:
        raise ValueError(f"metadata: expected a variance_share in (0, 1], got {share!r}")
    eigenvalues = model.eigenvalues.astype(np.float64)
    return np.concatenate(([0.0], np.cumsum(eigenvalues) / eigenvalues.sum() * min(share, 1.0)))


def generalisation(model: MorphableModel, unseen: npt.NDArray[np.floating], *, block: int = 64) -> QualityCurve:
    """How far the model's nearest shapes are from people that it was not built from.

    G(k) = mean over shapes of | x - (mean + sum_{j <= k} <x - mean, basis_j> basis_j) |, each x aligned rigidly with
    the mean first.

    Args:
      model: K modes.
      unseen: [N, P, 3], mm, any pose, in the model's topology; an array or a memory map.
      block: number of shapes in memory at a time.

    Returns:
      The curve.

    Raises:
      ValueError: if the shape does not fit the model, or there is none.
    """
    _check("unseen", unseen, model)
    squares = np.concatenate([left for _, left in _projected(model, unseen, block)])
    return _curve(np.sqrt(squares / model.num_vertices))


def specificity(
    model: MorphableModel,
    training: npt.NDArray[np.floating],
    *,
    samples: int = 1000,
    seed: int = 0,
    block: int = 64,
) -> QualityCurve:
    """How far random faces of the model are from the nearest person that it was built from.

    S(k) = mean over samples of min_i | mean + sum_{j <= k} c_j sqrt(eigenvalue_j) basis_j - x_i |, c_j standard normal,
    each training shape x_i aligned rigidly with the mean first. The coefficients of a sample are the same for all k.

    Args:
      model: K modes.
      training: [M, P, 3], mm, any pose, in the model's topology; an array or a memory map.
      samples: number of random faces.
      seed: of the coefficients.
      block: number of shapes, or of samples, in memory at a time.

    Returns:
      The curve; its standard error is that of the sampling.

    Raises:
      ValueError: if the shape does not fit the model, there is none, or no sample is wanted.
    """
    _check("training", training, model)
    if samples < 1:
        raise ValueError(f"samples: expected at least 1, got {samples}")
    parts = list(_projected(model, training, block))
    people = np.concatenate([coefficients for coefficients, _ in parts])
    whole = np.concatenate([left[:, 0] for _, left in parts])
    deviations = np.sqrt(model.eigenvalues.astype(np.float64))
    drawn = np.random.default_rng(seed).standard_normal((samples, model.num_modes)) * deviations
    nearest = np.empty((samples, model.num_modes + 1))
    for start in range(0, samples, block):
        part = drawn[start : start + block]
        # |y - x|^2 with y = mean + B c and a = B^T (x - mean) is |x - mean|^2 + |c|^2 - 2 <c, a>.
        squares = np.tile(whole, (len(part), 1))
        nearest[start : start + block, 0] = squares.min(axis=1)
        for mode in range(model.num_modes):
            c = part[:, mode, None]
            squares += c**2 - 2 * c * people[:, mode]
            nearest[start : start + block, mode + 1] = squares.min(axis=1)
    return _curve(np.sqrt(np.maximum(nearest, 0) / model.num_vertices))


@dataclasses.dataclass(frozen=True, eq=False)
class Measures:
    """The measures of one 3DMM.

    Attributes:
      num_training: people, with their mirror images if there are such.
      num_unseen: people that the model was not built from.
      num_samples: random faces.
      compactness: [K + 1], share.
      generalisation: to the unseen people.
      specificity: against the people of the training.
    """

    num_training: int
    num_unseen: int
    num_samples: int
    compactness: Array
    generalisation: QualityCurve
    specificity: QualityCurve


def measure(
    model: MorphableModel,
    training: npt.NDArray[np.floating],
    unseen: npt.NDArray[np.floating],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Measures:
    """Measures a 3DMM.

    Args:
      model: K modes.
      training: [M, P, 3], mm, what it was built from.
      unseen: [N, P, 3], mm, other people.
      samples: number of random faces.
      seed: of the random faces.

    Returns:
      The measures.

    Raises:
      ValueError: if the shapes do not fit the model.
    """
    return Measures(
        len(training),
        len(unseen),
        samples,
        compactness(model),
        generalisation(model, unseen),
        specificity(model, training, samples=samples, seed=seed),
    )


def _projected(model: MorphableModel, shapes: npt.NDArray[np.floating], block: int) -> Iterator[tuple[Array, Array]]:
    """Of blocks of shapes: coefficients [B, K] in mm, and the squares [B, K + 1] that k modes leave unexplained."""
    mean = model.mean.astype(np.float64)
    basis = model.basis.reshape(model.num_modes, -1).astype(np.float64)
    for start in range(0, len(shapes), block):
        part = np.asarray(shapes[start : start + block], np.float64)
        difference = (alignment.rigid(part, mean).apply(part) - mean).reshape(len(part), -1)
        coefficients = difference @ basis.T
        whole = np.einsum("nv,nv->n", difference, difference)[:, None]
        left = whole - np.concatenate((np.zeros_like(whole), np.cumsum(coefficients**2, axis=1)), axis=1)
        yield coefficients, np.maximum(left, 0)


def _check(name: str, shapes: npt.NDArray[np.floating], model: MorphableModel) -> None:
    if np.ndim(shapes) != 3 or shapes.shape[1:] != model.mean.shape or not len(shapes):
        raise ValueError(f"{name}: expected [N, {model.num_vertices}, 3] with N > 0, got {list(np.shape(shapes))}")


def _curve(distances: Array) -> QualityCurve:
    """The mean of distances [N, K + 1] and how sure it is."""
    count = len(distances)
    spread = distances.std(axis=0, ddof=1) if count > 1 else np.full(distances.shape[1], np.nan)
    return QualityCurve(distances.mean(axis=0), spread / np.sqrt(count))
