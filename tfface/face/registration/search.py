"""Where in a scan the face is, whichever way it is turned: candidates, trimmed ICP, and how sure the answer is."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face.registration import hypotheses
from tfface.face.registration.hypotheses import ScanPoints, TemplatePoints
from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import alignment, mesh

Array = npt.NDArray[np.floating]

MAX_RESIDUAL = 4.5
"""mm: a candidate with a larger residual is no face. Faces of people on a mean face have 1.5 to 3 mm."""

AMBIGUOUS = 1.25
"""A candidate whose residual is less than this times the best one's could as well be the answer."""

TWO_FACES = 1.6
"""As `AMBIGUOUS`, for a runner-up that lies elsewhere in the scan and is itself as good as a face."""

_APART_DEGREES, _APART_MM, _ELSEWHERE_MM = 25.0, 25.0, 90.0
_FACE_RADIUS = 110.0
_SEEDS = 12
_BESIDE, _JUDGED, _POLISHED, _MAX_POLISHED, _ROUNDS, _SETTLED = 3, 6, 1.6, 3, 15, 0.02
# Points of the template in trimmed ICP on the surface; residuals are of all of them.
_MOVED = 500


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
class PoseSearch:
    """The face in a scan, and how sure that is.

    Attributes:
      best: the candidate of least residual.
      others: those that differ from it by more than 25 degrees or 25 mm, by residual.
      fault: why none of them must be trusted, or None.
    """

    best: Candidate
    others: tuple[Candidate, ...]
    fault: str | None

    @property
    def margin(self) -> float:
        """Residual of the runner-up over that of the best, infinite without a runner-up."""
        return self.others[0].residual / max(self.best.residual, 1e-9) if self.others else np.inf

    @property
    def rivals(self) -> tuple[Candidate, ...]:
        """Those of the others that a rigid face cannot tell from the best."""
        return tuple(other for other in self.others if other.residual < AMBIGUOUS * self.best.residual)


def find_pose(
    template: mesh.Mesh,
    surface: ScanSurface,
    *,
    exposure: npt.ArrayLike | None = None,
    proposals: Sequence[alignment.Transform] = (),
) -> PoseSearch:
    """Finds the face in a scan without being told anything.

    Candidates put the template's nose on the points of the scan that stand out most, turned every way; `proposals`
    join them. They are sifted by the residual, refined by trimmed ICP (Chetverikov et al., "The trimmed iterative
    closest point algorithm", ICPR 2002) and compared.

    Args:
      template: mm, axes of the model frame, with the landmark of the tip of the nose.
      surface: of the scan, mm.
      exposure: [P], see `correspondence.exposure`: which vertices may take part.
      proposals: scan_from_template from elsewhere, such as a face detector.

    Returns:
      The answer; its fault is not None if there is no face, or more than one.

    Raises:
      ValueError: if the template has no landmark of the tip of the nose.
    """
    nose = template.landmark_points((schema.NOSE_TIP,))[0].astype(np.float64)
    rng = np.random.default_rng(0)
    near = np.linalg.norm(template.vertices - nose, axis=1) < _FACE_RADIUS
    if exposure is not None:
        near &= np.asarray(exposure) > 0.5
    face, cloud = TemplatePoints.of_template(template, near, rng), ScanPoints(surface, rng)
    guesses = hypotheses.guess(nose, cloud, np.ones(hypotheses.TIPS, bool), _SEEDS)
    if proposals:
        given = np.stack([each.rotation for each in proposals]), np.stack([each.translation for each in proposals])
        guesses = np.concatenate((given[0], guesses[0])), np.concatenate((given[1], guesses[1]))
    candidates = _followed(guesses, nose, face, cloud, surface, num_proposals=len(proposals))
    best = candidates[0]
    # Seeds are few, and a second face may have none of them: what is far from the first is searched by itself.
    tip = best.scan_from_template.apply(nose[None])
    elsewhere = np.linalg.norm(cloud.points[: hypotheses.TIPS] - tip, axis=1) > _ELSEWHERE_MM
    if elsewhere.any() and best.residual <= MAX_RESIDUAL:
        guesses = hypotheses.guess(nose, cloud, elsewhere, _SEEDS // 2)
        candidates += _followed(guesses, nose, face, cloud, surface, best=best.residual)
    others = [other for other in candidates[1:] if _differ(best, other, nose)]
    others.sort(key=lambda candidate: candidate.residual)
    return PoseSearch(best, tuple(others), _fault(best, others, nose))


def _followed(
    guesses: tuple[Array, Array],
    nose: Array,
    face: TemplatePoints,
    cloud: ScanPoints,
    surface: ScanSurface,
    *,
    num_proposals: int = 0,
    best: float = np.inf,
) -> list[Candidate]:
    """Where guesses lead, by residual: sifted, settled, and polished if they may be a face as good as the best."""
    settled = hypotheses.settle(*hypotheses.sift(*guesses, face, cloud, num_proposals), face, cloud)
    # A nose on a chin is a minimum, too: neighbours of the best, turned and slid, are tried as well.
    beside = hypotheses.neighbours(settled[0][:_BESIDE], settled[1][:_BESIDE], nose)
    rotations, translations = (
        np.concatenate((near, left[_BESIDE:])) for near, left in zip(beside, settled, strict=True)
    )
    rotations, translations = hypotheses.settle(rotations, translations, face, cloud)
    candidates: list[Candidate] = []
    for turn, shift in zip(rotations, translations, strict=True):
        pose = alignment.Transform(np.ones(()), turn, shift)
        if len(candidates) < _JUDGED and not any(
            hypotheses.same(pose, other.scan_from_template) for other in candidates
        ):
            candidates.append(_judged(pose, face, surface))
    candidates.sort(key=lambda candidate: candidate.residual)
    limit = _POLISHED * min(best, candidates[0].residual)
    good = [candidate for candidate in candidates if candidate.residual <= limit][:_MAX_POLISHED]
    polished = [_refine(candidate.scan_from_template, face, surface) for candidate in good]
    return sorted(polished + candidates[len(good) :], key=lambda candidate: candidate.residual)


def refine(
    template: mesh.Mesh, surface: ScanSurface, scan_from_template: alignment.Transform, exposure: npt.ArrayLike
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
    face = TemplatePoints.of_template(template, np.asarray(exposure) > 0.5, np.random.default_rng(0))
    return _refine(scan_from_template, face, surface)


def _refine(start: alignment.Transform, face: TemplatePoints, surface: ScanSurface) -> Candidate:
    """Trimmed point-to-plane ICP on the surface itself."""
    pose, part = alignment.Transform(np.ones(()), start.rotation, start.translation), face[:_MOVED]
    for _ in range(_ROUNDS):
        moved = pose.apply(part.points)
        found = surface.closest(moved)
        cosine = np.einsum("pk,pk->p", part.normals @ pose.rotation.T, found.normals)
        usable = (cosine > 0.5) & ~found.on_border
        if np.count_nonzero(usable) < 12:
            break
        limit = max(float(np.quantile(found.distances[usable], 0.8)), 1.0)
        used = (usable & (found.distances <= limit)).astype(np.float64)
        turn, shift = hypotheses.plane_step(
            moved[None], found.normals[None], found.points[None], used[None], part.points
        )
        pose = alignment.Transform(np.ones(()), turn[0], shift[0])
        if np.linalg.norm(pose.apply(part.points) - moved, axis=1).mean() < _SETTLED:
            break
    return _judged(pose, face, surface)


def _judged(pose: alignment.Transform, face: TemplatePoints, surface: ScanSurface) -> Candidate:
    return Candidate(pose, residual(pose.apply(face.points), face.normals @ pose.rotation.T, surface))


def residual(points: Array, normals: Array, surface: ScanSurface) -> float:
    """Mean distance, mm, of a face from a scan; points that find nothing, or its back, count 15 mm.

    Args:
      points: [Q, 3], mm, frame of the scan.
      normals: [Q, 3], of the face there.
      surface: of the scan.
    """
    found = surface.closest(points)
    facing = np.einsum("pk,pk->p", normals, found.normals) > 0.3
    return float(np.where(facing, np.minimum(found.distances, hypotheses.CAP), hypotheses.CAP).mean())


def _shift(first: Candidate, second: Candidate, nose: Array) -> float:
    """Distance between the tips of the nose of two candidates, mm."""
    return float(
        np.linalg.norm(first.scan_from_template.apply(nose[None]) - second.scan_from_template.apply(nose[None]))
    )


def _differ(first: Candidate, second: Candidate, nose: Array) -> bool:
    turned = hypotheses.angle(first.scan_from_template.rotation, second.scan_from_template.rotation)
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
    return None


def ambiguity(best: Candidate, other: Candidate, nose: npt.ArrayLike) -> str:
    """Says that two placements are as good as one another.

    Args:
      best: the one with the least residual.
      other: the other one.
      nose: [3], mm, of the template; how far apart they are is said there.
    """
    turned = hypotheses.angle(best.scan_from_template.rotation, other.scan_from_template.rotation)
    return (
        f"ambiguous: placements {turned:.0f} degrees and {_shift(best, other, np.asarray(nose)):.0f} mm apart leave "
        f"{best.residual:.1f} and {other.residual:.1f} mm"
    )
