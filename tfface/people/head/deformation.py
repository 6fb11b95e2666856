"""From measures to shapes: a linear basis whose coefficients are the measures themselves, in millimetres.

Raw fields (``fields``) overlap: widening the jaw also moves the corners of the mouth. Let J be the derivative of the
distances with respect to the raw fields, split into the fields of distances (d) and all others (f). The calibrated
basis is

  B_d' = B_d J_d^-1,    B_f' = B_f - B_d' J_f,

so that to first order every distance changes by exactly what its measure asks, and no other field changes it.
"""

import dataclasses
import functools

import numpy as np

from tfface.geometry.interpolation import smootherstep
from tfface.people.head import anthropometry, fields, relief, template

_RESIDUAL_SEED = 20050511  # Of the fields themselves, which are part of the model and the same for every population.


@dataclasses.dataclass(frozen=True)
class HeadSpace:
    """All heads: ``vertices = mean + sum_k (measure_k - mean measure_k) basis_k``.

    Attributes:
      mean: `[V, 3]` float32, mm, model axes: the head whose measures are the means of women and men.
      basis: `[K, V * 3]` float32, mm per mm of the measures, in the order of `names`.
      face: `[P]` indices of the face's vertices.
      face_mean: `[P, 3]` float32, `mean` of the face.
      face_basis: `[K, P * 3]` float32, `basis` of the face.
      names: of the measures, then of the residual fields.
    """

    mean: np.ndarray
    basis: np.ndarray
    face: np.ndarray
    face_mean: np.ndarray
    face_basis: np.ndarray
    names: tuple[str, ...]

    def head(self, deviations: np.ndarray) -> np.ndarray:
        """Vertices `[V, 3]` float32, mm, model axes, of a head `deviations` `[K]` mm away from the mean."""
        return self.mean + (np.asarray(deviations, np.float32) @ self.basis).reshape(-1, 3)

    def face_shape(self, deviations: np.ndarray) -> np.ndarray:
        """The face's vertices `[P, 3]` of `head(deviations)`, `[K]` mm, without computing the rest."""
        return self.face_mean + (np.asarray(deviations, np.float32) @ self.face_basis).reshape(-1, 3)


def distances(vertices: np.ndarray) -> np.ndarray:
    """Measures all of `anthropometry.DISTANCES`, mm, `[D]`, on the vertices `[V, 3]` of a head, in any frame."""
    first, second = _ends()
    return np.linalg.norm(vertices[first] - vertices[second], axis=-1)


@functools.cache
def head_space() -> HeadSpace:
    """Builds the basis, once a process (about a second)."""
    head = template.head_template()
    raw = np.stack([_attached(field) for field in _raw_fields()])
    num_distances = len(anthropometry.DISTANCES)
    first, second = _ends()
    apart = head.vertices[first] - head.vertices[second]
    units = apart / np.linalg.norm(apart, axis=-1, keepdims=True)
    jacobian = np.einsum("kdi,di->dk", raw[:, first] - raw[:, second], units)
    calibrated = np.linalg.solve(jacobian[:, :num_distances].T, raw[:num_distances].reshape(num_distances, -1))
    free = raw[num_distances:].reshape(len(raw) - num_distances, -1) - jacobian[:, num_distances:].T @ calibrated
    basis = np.concatenate([calibrated, free])

    mean, targets = head.vertices, np.array([measure.mean for measure in anthropometry.DISTANCES])
    for _ in range(4):  # Newton steps: distances are not quite linear in the fields.
        mean = mean + ((targets - distances(mean)) @ calibrated).reshape(-1, 3)
    mean = 0.5 * (mean + mean[head.symmetry] * [-1.0, 1.0, 1.0])  # Symmetric to the last bit.
    mean = mean - mean[head.face_index].mean(axis=0) * [0.0, 1.0, 1.0]
    face = head.face_index
    num_residuals = anthropometry.NUM_RESIDUALS + anthropometry.NUM_ASYMMETRIC_RESIDUALS
    return HeadSpace(
        mean=mean.astype(np.float32),
        basis=basis.astype(np.float32),
        face=face,
        face_mean=mean[face].astype(np.float32),
        face_basis=basis.reshape(len(basis), -1, 3)[:, face].reshape(len(basis), -1).astype(np.float32),
        names=tuple(measure.name for measure in anthropometry.MEASURES)
        + tuple(f"residual_{index}" for index in range(num_residuals)),
    )


def _ends() -> tuple[np.ndarray, np.ndarray]:
    """Vertex indices of the ends of each distance, `[D]` and `[D]`."""
    head = template.head_template()
    first = np.array([head.points[measure.ends[0]] for measure in anthropometry.DISTANCES])
    second = [
        head.points[measure.ends[1]] if len(measure.ends) == 2 else head.symmetry[head.points[measure.ends[0]]]
        for measure in anthropometry.DISTANCES
    ]
    return first, np.array(second)


def _raw_fields() -> list[np.ndarray]:
    """Fields `[V, 3]`, construction frame, in the order of `HeadSpace.names`."""
    head = template.head_template()
    points = head.construction
    found = []
    for measure in anthropometry.MEASURES:
        if measure.name in _EAR_FIELDS:
            found.append(_EAR_FIELDS[measure.name](points, head.ears))
        else:
            found.append(fields.FIELDS[measure.name](points))
    rng = np.random.default_rng(_RESIDUAL_SEED)
    mirror = np.array([-1.0, 1.0, 1.0])
    for index in range(anthropometry.NUM_RESIDUALS + anthropometry.NUM_ASYMMETRIC_RESIDUALS):
        field = fields.residual(points, rng)
        twin = field[head.symmetry] * mirror
        symmetric = index < anthropometry.NUM_RESIDUALS
        found.append((field + twin if symmetric else 0.5 * (field - twin)) / np.sqrt(2.0))
    return found


def _attached(field: np.ndarray) -> np.ndarray:
    """Makes a field carry the eyeballs along and keep the lids on them, and turns it into model axes.

    An eyeball moves rigidly with the margins of its lids. Of what lids move against their eyeball only the tangential
    part is kept, so that they slide.
    """
    head = template.head_template()
    field = field.copy()
    for side, (eyeball, margin) in enumerate(zip(head.eyeballs, head.lid_margins, strict=True)):
        centre = relief.EYE_CENTRE * [1.0 - 2.0 * side, 1.0, 1.0]
        shift = field[margin].mean(axis=0)
        off = head.construction - centre
        distance = np.linalg.norm(off, axis=-1)
        on_ball = np.exp(-((np.maximum(distance - relief.LID_RADIUS, 0.0) / 4.5) ** 2))
        on_ball *= smootherstep(off[:, 2], -8.0, 0.0)
        normal = off / distance[:, None]
        field -= (on_ball * ((field - shift) * normal).sum(axis=-1))[:, None] * normal
        field[eyeball] = shift
    return field * [1.0, -1.0, -1.0]


def _ear_length(points: np.ndarray, ears: np.ndarray) -> np.ndarray:
    field = np.zeros_like(points)
    field[ears, 1] = (points[ears, 1] + 13.0) / 62.0
    return field


def _ear_protrusion(points: np.ndarray, ears: np.ndarray) -> np.ndarray:
    field = np.zeros_like(points)
    behind = np.clip((points[ears, 2].max() - points[ears, 2]) / 34.0, 0.0, 1.2)
    field[ears, 0] = np.sign(points[ears, 0]) * behind
    return field


_EAR_FIELDS = {"ear_length": _ear_length, "ear_protrusion": _ear_protrusion}
