"""Where in a scan the face is, whichever way it is turned: candidates, trimmed ICP, and how sure the answer is."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from tfface import schema
from tfface.face.registration.surface import Surface
from tfface.geometry import alignment, mesh, rotation

Array = npt.NDArray[np.floating]

MAX_RESIDUAL = 4.5
"""mm: a candidate with a larger residual is no face. Faces of people on a mean face have 1.5 to 3 mm."""

AMBIGUOUS = 1.25
"""A runner-up whose residual is less than this times the best one's could as well be the answer."""

TWO_FACES = 1.6
"""As `AMBIGUOUS`, for a runner-up that lies elsewhere in the scan and is itself as good as a face."""

_APART_DEGREES, _APART_MM, _ELSEWHERE_MM = 25.0, 25.0, 90.0
_CAP = 15.0
"""mm: the residual of a template point that finds nothing; farther ones count no more."""

_SEEDS, _ROLLS, _TILT = 12, 12, 25.0
_SAMPLES, _COARSE, _FINE = 12000, 160, 1200
_KEPT_COARSE, _KEPT_FINE = 60, 10
_PROTRUSION_RADIUS = 38.0


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A place where the template may belong.

    Attributes:
      scan_from_template: rigid.
      residual: mm, mean over the template of the distance to the scan, at most 15 mm each.
    """

    scan_from_template: alignment.Transform
    residual: float


@dataclasses.dataclass(frozen=True)
class Found:
    """The face in a scan, and how sure that is.

    Attributes:
      best: the candidate of least residual.
      runner_up: the best one that differs from it by more than 25 degrees or 25 mm, or None.
      fault: why it must not be trusted, or None.
    """

    best: Candidate
    runner_up: Candidate | None
    fault: str | None

    @property
    def margin(self) -> float:
        """Residual of the runner-up over that of the best, infinite without a runner-up."""
        return np.inf if self.runner_up is None else self.runner_up.residual / max(self.best.residual, 1e-9)


def find(
    template: mesh.Mesh,
    surface: Surface,
    *,
    exposure: npt.ArrayLike | None = None,
    proposals: Sequence[alignment.Transform] = (),
) -> Found:
    """Finds the face in a scan without being told anything.

    Candidates put the template's nose on the points of the scan that stand out most, turned every way; `proposals`
    join them. They are sifted by the residual, refined by trimmed ICP (Chetverikov et al., "The trimmed iterative
    closest point algorithm", ICPR 2002) and compared.

    Args:
      template: mm, axes of the model frame, with the landmark of the tip of the nose.
      surface: of the scan, mm.
      exposure: [P], see `nonrigid_icp.exposure`: which vertices may take part.
      proposals: scan_from_template from elsewhere, such as a face detector.

    Returns:
      The answer; its fault is not None if there is no face, more than one, or two ways to place it.

    Raises:
      ValueError: if the template has no landmark of the tip of the nose.
    """
    nose = template.landmark_points((schema.NOSE_TIP,))[0].astype(np.float64)
    weights = np.ones(template.num_vertices) if exposure is None else np.asarray(exposure)
    rng = np.random.default_rng(0)
    area = mesh.vertex_areas(template.vertices, template.triangles) * (weights > 0.5)
    area *= np.linalg.norm(template.vertices - nose, axis=1) < 110
    chosen = rng.choice(template.num_vertices, _FINE, p=area / area.sum())
    normals = mesh.vertex_normals(template.vertices, template.triangles)[chosen].astype(np.float64)
    points = template.vertices[chosen].astype(np.float64)

    cloud, cloud_normals = sample(surface.mesh, _SAMPLES, rng)
    tree = cKDTree(cloud)
    rotations, translations = _hypotheses(nose, cloud, cloud_normals, tree)
    if proposals:
        rotations = np.concatenate([[given.rotation for given in proposals], rotations])
        translations = np.concatenate([[given.translation for given in proposals], translations])
    coarse = slice(0, _COARSE)
    rotations, translations = _sift(
        rotations, translations, points[coarse], normals[coarse], cloud, cloud_normals, tree, len(proposals)
    )
    candidates = [
        _refine(rotation_matrix, translation, points, normals, surface)
        for rotation_matrix, translation in zip(rotations, translations, strict=True)
    ]
    candidates.sort(key=lambda candidate: candidate.residual)
    best = candidates[0]
    others = [other for other in candidates[1:] if _differ(best, other, nose)]
    runner_up = others[0] if others else None
    return Found(best, runner_up, _fault(best, others, nose))


def refine(
    template: mesh.Mesh, surface: Surface, scan_from_template: alignment.Transform, exposure: npt.ArrayLike
) -> Candidate:
    """Trimmed ICP of the template onto a scan from a given start.

    Args:
      template: mm.
      surface: of the scan, mm.
      scan_from_template: rigid, the start.
      exposure: [P], which vertices take part (above 0.5).

    Returns:
      Where it ends.
    """
    rng = np.random.default_rng(0)
    area = mesh.vertex_areas(template.vertices, template.triangles) * (np.asarray(exposure) > 0.5)
    chosen = rng.choice(template.num_vertices, _FINE, p=area / area.sum())
    normals = mesh.vertex_normals(template.vertices, template.triangles)[chosen].astype(np.float64)
    points = template.vertices[chosen].astype(np.float64)
    return _refine(scan_from_template.rotation, scan_from_template.translation, points, normals, surface)


def sample(scan: mesh.Mesh, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Points [count, 3] spread evenly over a mesh, and the normals [count, 3] of the triangles that they lie in."""
    corners = scan.vertices[scan.triangles].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(cross, axis=1)
    chosen = rng.choice(len(areas), count, p=areas / areas.sum())
    first, second = rng.random(count), rng.random(count)
    outside = first + second > 1
    first, second = np.where(outside, 1 - first, first), np.where(outside, 1 - second, second)
    a, b, c = np.moveaxis(corners[chosen], 1, 0)
    points = a + first[:, None] * (b - a) + second[:, None] * (c - a)
    return points, cross[chosen] / np.maximum(areas[chosen, None], 1e-12)


def _hypotheses(nose: Array, cloud: Array, normals: Array, tree: cKDTree) -> tuple[Array, Array]:
    """Rotations [H, 3, 3] and translations [H, 3] that put the nose on what stands out, turned every way."""
    neighbours = tree.query_ball_point(cloud[::2], _PROTRUSION_RADIUS, return_sorted=False)
    middle = np.stack([cloud[near].mean(axis=0) for near in neighbours])
    away = cloud[::2] - middle
    height = np.einsum("qk,qk->q", away, normals[::2])
    seeds: list[int] = []
    for index in np.argsort(-height):
        if all(np.linalg.norm(cloud[::2][index] - cloud[::2][other]) > 20 for other in seeds):
            seeds.append(int(index))
        if len(seeds) == _SEEDS:
            break
    turns = [
        rotation.matrix_from_yaw_pitch_roll(yaw, pitch, 0.0)
        for yaw, pitch in ((0, 0), (_TILT, 0), (-_TILT, 0), (0, _TILT), (0, -_TILT), (0, 2 * _TILT), (0, -2 * _TILT))
    ]
    rolls = [rotation.matrix_from_yaw_pitch_roll(0.0, 0.0, roll) for roll in np.arange(_ROLLS) * 360 / _ROLLS]
    rotations, translations = [], []
    for seed in seeds:
        z = -away[seed] / np.linalg.norm(away[seed])
        x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
        x /= np.linalg.norm(x)
        upright = np.stack((x, np.cross(z, x), z), axis=-1)
        for roll in rolls:
            for turn in turns:
                rotations.append(upright @ roll @ turn)
                translations.append(cloud[::2][seed] - rotations[-1] @ nose)
    return np.stack(rotations), np.stack(translations)


def _sift(
    rotations: Array,
    translations: Array,
    points: Array,
    normals: Array,
    cloud: Array,
    cloud_normals: Array,
    tree: cKDTree,
    num_proposals: int,
) -> tuple[Array, Array]:
    """The most promising hypotheses, brought near by a few rounds of ICP on samples, all of them at once."""

    def residuals(turned: Array, shifted: Array) -> tuple[Array, Array]:
        moved = np.einsum("hij,pj->hpi", turned, points) + shifted[:, None]
        distance, nearest = tree.query(moved, distance_upper_bound=4 * _CAP)
        nearest = np.minimum(nearest, len(cloud) - 1)
        cosine = np.einsum("hpi,hpi->hp", np.einsum("hij,pj->hpi", turned, normals), cloud_normals[nearest])
        return np.where(cosine > 0.3, np.minimum(distance, 2 * _CAP), 2 * _CAP), nearest

    first = residuals(rotations, translations)[0].mean(axis=1)
    order = np.argsort(first, kind="stable")[:_KEPT_COARSE]
    kept = np.unique(np.concatenate((np.arange(num_proposals), order)))
    rotations, translations = rotations[kept], translations[kept]
    for _ in range(12):
        distance, nearest = residuals(rotations, translations)
        limit = np.quantile(distance, 0.75, axis=1, keepdims=True)
        trimmed = np.where((distance <= limit) & (distance < 2 * _CAP), 1.0, 1e-6)
        fitted = alignment.rigid(np.broadcast_to(points, (*distance.shape, 3)), cloud[nearest], trimmed)
        rotations, translations = fitted.rotation, fitted.translation
    order = np.argsort(residuals(rotations, translations)[0].mean(axis=1), kind="stable")
    picked: list[int] = []
    for index in order:
        near = [
            other
            for other in picked
            if _angle(rotations[index], rotations[other]) < 8
            and np.linalg.norm(translations[index] - translations[other]) < 10
        ]
        if not near:
            picked.append(int(index))
        if len(picked) == _KEPT_FINE:
            break
    return rotations[picked], translations[picked]


def _refine(turn: Array, shift: Array, points: Array, normals: Array, surface: Surface) -> Candidate:
    """Trimmed point-to-plane ICP on the surface itself."""
    pose = alignment.Transform(np.ones(()), turn, shift)
    for _ in range(20):
        moved = pose.apply(points)
        found = surface.closest(moved)
        cosine = np.einsum("pk,pk->p", normals @ pose.rotation.T, found.normals)
        usable = (cosine > 0.5) & ~found.on_border
        if np.count_nonzero(usable) < 12:
            break
        limit = max(float(np.quantile(found.distances[usable], 0.8)), 1.0)
        used = usable & (found.distances <= limit)
        centre = moved[used].mean(axis=0)
        rows = np.concatenate((np.cross(moved[used] - centre, found.normals[used]), found.normals[used]), axis=1)
        right = np.einsum("pk,pk->p", found.normals[used], found.points[used] - moved[used])
        # The prior of a step: 10 mm of shift, or as much at the face's rim by turning.
        damping = np.diag([60.0**2] * 3 + [1.0] * 3) * 1e-3 * len(right)
        step = np.linalg.solve(rows.T @ rows + damping, rows.T @ right)
        target = moved + np.cross(step[:3], moved - centre) + step[3:]
        pose = alignment.rigid(points, target)
        if np.linalg.norm(step[3:]) < 0.01 and np.linalg.norm(step[:3]) < 1e-4:
            break
    moved = pose.apply(points)
    found = surface.closest(moved)
    cosine = np.einsum("pk,pk->p", normals @ pose.rotation.T, found.normals)
    residual = np.where(cosine > 0.3, np.minimum(found.distances, _CAP), _CAP)
    return Candidate(pose, float(residual.mean()))


def _angle(first: Array, second: Array) -> float:
    """Degrees between two rotations."""
    return float(np.degrees(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))))


def _shift(first: Candidate, second: Candidate, nose: Array) -> float:
    """Distance between the tips of the nose of two candidates, mm."""
    return float(
        np.linalg.norm(first.scan_from_template.apply(nose[None]) - second.scan_from_template.apply(nose[None]))
    )


def _differ(first: Candidate, second: Candidate, nose: Array) -> bool:
    turned = _angle(first.scan_from_template.rotation, second.scan_from_template.rotation)
    return turned > _APART_DEGREES or _shift(first, second, nose) > _APART_MM


def _fault(best: Candidate, others: Sequence[Candidate], nose: Array) -> str | None:
    if best.residual > MAX_RESIDUAL:
        return (
            f"no face found: the best of all placements leaves {best.residual:.1f} mm, a face at most "
            f"{MAX_RESIDUAL} mm; is the unit right?"
        )
    elsewhere = [other for other in others if _shift(best, other, nose) > _ELSEWHERE_MM]
    if elsewhere and elsewhere[0].residual < min(TWO_FACES * best.residual, MAX_RESIDUAL):
        return (
            f"two faces: placements {_shift(best, elsewhere[0], nose):.0f} mm apart leave {best.residual:.1f} and "
            f"{elsewhere[0].residual:.1f} mm"
        )
    if others and others[0].residual < AMBIGUOUS * best.residual:
        turned = _angle(best.scan_from_template.rotation, others[0].scan_from_template.rotation)
        return (
            f"ambiguous: placements {turned:.0f} degrees and {_shift(best, others[0], nose):.0f} mm apart leave "
            f"{best.residual:.1f} and {others[0].residual:.1f} mm"
        )
    return None
