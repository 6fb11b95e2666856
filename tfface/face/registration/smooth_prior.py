"""A template that deforms smoothly, as a model with modes: the prior of shapes where no faces have been seen yet.

Lüthi, Gerig, Jud and Vetter, "Gaussian process morphable models", PAMI 2018; for faces, Gerig et al., "Morphable face
models - an open framework", FG 2018.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face.morphable_model import MorphableModel
from tfface.geometry import mesh

Array = npt.NDArray[np.floating]

_NEGLIGIBLE = 1e-7
"""Share of the largest eigenvalue of the sampled kernel below which one is not used."""


@dataclasses.dataclass(frozen=True)
class SmoothPriorSettings:
    """How a template may deform.

    Attributes:
      scales: (length, deviation) in mm of each Gaussian kernel; deformations of all of them add up. The deviation is
        that of each coordinate.
      asymmetry: share of the variance that left and right do not have in common; 0.5 for no symmetry at all.
      modes: of the model.
      samples: vertices from which the eigenfunctions are found.

    Raises:
      ValueError: if a number is out of range.
    """

    scales: tuple[tuple[float, float], ...] = ((80.0, 5.0), (40.0, 2.5), (20.0, 1.0))
    asymmetry: float = 0.2
    modes: int = 120
    samples: int = 700

    def __post_init__(self) -> None:
        if not self.scales or min(min(scale) for scale in self.scales) <= 0:
            raise ValueError(f"scales: expected positive lengths and deviations, got {self.scales}")
        if not 0 <= self.asymmetry <= 1:
            raise ValueError(f"asymmetry: expected 0..1, got {self.asymmetry}")
        if self.modes < 1 or self.samples < 1:
            raise ValueError(f"modes, samples: expected at least 1, got {self.modes}, {self.samples}")


def smooth_model(template: mesh.Mesh, settings: SmoothPriorSettings | None = None) -> MorphableModel:
    """The template as the mean of a Gaussian process of smooth, mostly symmetric deformations.

    A coordinate of the deformation at x and y has the covariance, with x' the mirror image of x,

        k(x, y) = sum_s deviation_s^2 exp(-|x - y|^2 / (2 length_s^2)),
        (1 - asymmetry) (k(x, y) +/- k(x', y)) + asymmetry (k(x, y) -/+ k(x', y)),

    the upper signs for y and z, the lower ones for x. The modes are the strongest of its eigenfunctions, by Nyström's
    method from samples of the surface.

    Args:
      template: mm, axes of the model frame; its plane of symmetry is that of x through the middle of its area.
      settings: of the prior.

    Returns:
      The model. It has no symmetry and says nothing about faces.
    """
    settings = settings or SmoothPriorSettings()
    area = mesh.vertex_areas(template.vertices, template.triangles).astype(np.float64)
    vertices = template.vertices - np.array([np.average(template.vertices[:, 0], weights=area), 0, 0])
    usable = int(np.count_nonzero(area))
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(vertices), min(settings.samples, usable), replace=False, p=area / area.sum())
    symmetric, antisymmetric = (
        _eigenfunctions(vertices, vertices[chosen], sign, settings.scales) for sign in (1.0, -1.0)
    )
    # A mirror image has -x: of x the antisymmetric fields, of y and z the symmetric ones are those of a symmetric face.
    common, own = np.sqrt(1 - settings.asymmetry), np.sqrt(settings.asymmetry)
    found: list[tuple[float, int, Array]] = []
    for axis, (even, odd) in enumerate(
        ((own * symmetric, common * antisymmetric),) + 2 * ((common * symmetric, own * antisymmetric),)
    ):
        found += [(float((field**2).mean()), axis, field) for field in np.concatenate((even, odd))]
    found.sort(key=lambda entry: -entry[0])
    modes = np.zeros((min(settings.modes, len(found)), len(vertices), 3))
    for mode, (_, axis, field) in zip(modes, found, strict=False):
        mode[:, axis] = field
    flat = modes.reshape(len(modes), -1)
    # The sampled eigenfunctions are only about orthogonal on the vertices. F F^T = V L V^T makes V^T F / sqrt(L) a PCA
    # basis of the same covariance F^T F.
    eigenvalues, vectors = np.linalg.eigh(flat @ flat.T)
    kept = eigenvalues > _NEGLIGIBLE * eigenvalues[-1]
    eigenvalues, vectors = eigenvalues[kept][::-1], vectors[:, kept][:, ::-1]
    basis = (vectors.T @ flat) / np.sqrt(eigenvalues)[:, None]
    return MorphableModel(
        mean=template.vertices,
        basis=basis.reshape(-1, len(vertices), 3),
        eigenvalues=eigenvalues,
        triangles=template.triangles,
        landmarks=template.landmarks,
    )


def _eigenfunctions(vertices: Array, samples: Array, sign: float, scales: tuple[tuple[float, float], ...]) -> Array:
    """[n, P]: scaled eigenfunctions of k(x, y) + sign k(x', y), strongest first: their squares add up to it."""
    mirrored = samples * np.array([-1, 1, 1])
    kernel = _kernel(samples, samples, scales) + sign * _kernel(samples, mirrored, scales)
    cross = _kernel(vertices, samples, scales) + sign * _kernel(vertices, mirrored, scales)
    values, vectors = np.linalg.eigh(kernel)
    kept = values > _NEGLIGIBLE * values[-1]
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    # Nyström: f_i(x) = k(x, samples) v_i / sqrt(l_i), so that sum_i f_i(x) f_i(y) is about k(x, y) (Williams, Seeger,
    # "Using the Nyström method to speed up kernel machines", NIPS 2000).
    return (cross @ (vectors / np.sqrt(values))).T


def _kernel(first: Array, second: Array, scales: tuple[tuple[float, float], ...]) -> Array:
    """[n, m], mm^2."""
    # |x - y|^2 = |x|^2 + |y|^2 - 2 x . y, one matrix product; rounding may leave it below 0.
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    squares = np.maximum(squares, 0)
    return np.sum([deviation**2 * np.exp(-squares / (2 * length**2)) for length, deviation in scales], axis=0)
