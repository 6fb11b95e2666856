"""Registers a raw scan: brings a template's topology onto it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face import arkit
from tfface.face.morphable_model import MorphableModel
from tfface.face.registration import correspondence, model_fit, residual_field, search, smooth_prior
from tfface.face.registration.quality import Quality, measure
from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import alignment, mesh

Array = npt.NDArray[np.floating]

LANDMARK_DISTANCE = 10.0
"""mm, the farthest that a given landmark may lie from the scan's surface."""

LANDMARK_MEDIAN = 2.0
"""mm, the farthest that half of the given landmarks may lie off the scan's surface: a hand errs along it."""

LANDMARK_MISFIT = 12.0
"""mm, the largest root mean square distance of given landmarks from those of a template laid on them."""

_MAX_RIVALS = 2
"""Candidates beside the best that are fitted."""

_SAME_FIT = 4.0
"""mm, mean distance of the vertices of two fits that have come to the same place."""

_TRUNCATED = 2.0
"""mm, the most that a vertex counts where fits are compared: hair and what is hidden are far for all of them."""

_EXPRESSIVE = 0.99
"""A face with an expression is believed if it leaves less than this share of what the neutral one leaves."""

_UNLIKELY = 5.0
"""Deviations of the sum of squares of an identity from its mean beyond which a fit is taken for a wrong one."""

_LAUGH = {"jawOpen": 0.4, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}
"""Where a fit starts too: from a closed mouth, closest points do not find lips that are far apart."""

_WITHOUT_FACES = model_fit.ModelFitSettings(deviation=(100.0, 15.0), tangential=0.02)
_FACE_FIT = model_fit.ModelFitSettings()
_SMOOTH = smooth_prior.SmoothPriorSettings()
_RESIDUAL = residual_field.ResidualSettings()


@dataclasses.dataclass(frozen=True)
class RegistrationSettings:
    """How scans are registered.

    Attributes:
      face_fit: of the fit of a 3DMM, where the template is one.
      smooth: how the template may deform, where it is a mesh.
      smooth_fit: of the fit of the template that deforms so.
      residual: of what either fit leaves.
    """

    face_fit: model_fit.ModelFitSettings = _FACE_FIT
    smooth: smooth_prior.SmoothPriorSettings = _SMOOTH
    smooth_fit: model_fit.ModelFitSettings = _WITHOUT_FACES
    residual: residual_field.ResidualSettings = _RESIDUAL


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedTemplate:
    """What registrations to one template have in common, computed once.

    Attributes:
      face: the template.
      exposed: [P], see `registration.correspondence.exposure`.
      model: that is fitted: the 3DMM, or the template under a Gaussian process of smooth deformations.
      knows_faces: whether the model is a 3DMM.
      expressions: [S, E], weights that fits of a 3DMM with expressions start from beside the neutral face.
    """

    face: mesh.Mesh
    exposed: Array
    model: MorphableModel
    knows_faces: bool
    expressions: Array = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))

    def moved(self, weights: Array) -> mesh.Mesh:
        """The template with an expression [E]."""
        posed = self.model.posed(np.zeros(self.model.num_modes), weights)
        return mesh.Mesh(posed.astype(np.float32), self.face.triangles, self.face.landmarks)


def prepare(template: mesh.Mesh | MorphableModel, settings: RegistrationSettings | None = None) -> PreparedTemplate:
    """Prepares a template for many registrations; takes about a second for a mesh.

    Args:
      template: see `register_scan`.
      settings: of the registrations.

    Returns:
      What `register_scan` takes in its place.
    """
    known = isinstance(template, MorphableModel)
    if isinstance(template, MorphableModel):
        face, model = mesh.Mesh(template.mean, template.triangles, template.landmarks), template
    else:
        face, model = template, smooth_prior.smooth_model(template, (settings or RegistrationSettings()).smooth)
    exposed = correspondence.exposure(face.vertices, face.triangles)
    return PreparedTemplate(face, exposed, model, known, _starting_expressions(model))


def _starting_expressions(model: MorphableModel) -> Array:
    """[S, E]: neutral and, where the names are ARKit's, a laugh; nothing for a model without expressions."""
    if model.expressions is None:
        return np.zeros((0, 0))
    recipes = arkit.recipes(model.expressions.names)
    laugh = np.zeros(len(model.expressions))
    for target, share in _LAUGH.items():
        for name, weight in recipes.get(target, {}).items():
            laugh[model.expressions.names.index(name)] = share * weight
    return np.stack([np.zeros_like(laugh), laugh]) if laugh.any() else np.zeros((1, len(laugh)))


@dataclasses.dataclass(frozen=True, eq=False)
class Registration:
    """A registered scan.

    Attributes:
      vertices: [P, 3] float32, mm, frame of the scan, in the template's topology.
      matched: [P] bool, the vertices that the scan shows; the others have followed their surroundings smoothly.
      quality: measures.
      neutral: [P, 3] float32, mm, frame of the scan: the same person without the expression; the vertices themselves if
        there is none.
      expression: [E], weights of the 3DMM's expressions, all 0 for a neutral face; [0] if it has none.
    """

    vertices: npt.NDArray[np.float32]
    matched: npt.NDArray[np.bool_]
    quality: Quality
    neutral: npt.NDArray[np.float32]
    expression: Array


def register(
    scan: mesh.Mesh,
    template: mesh.Mesh | MorphableModel | PreparedTemplate,
    landmarks: Mapping[str, npt.ArrayLike] | None = None,
    *,
    settings: RegistrationSettings | None = None,
    proposals: Sequence[alignment.Transform] = (),
) -> npt.NDArray[np.float32]:
    """Registers a scan to a template: `register_scan` without its measures.

    Args:
      scan: mm, any topology, any pose.
      template: see `register_scan`.
      landmarks: see `register_scan`.
      settings: see `register_scan`.
      proposals: see `register_scan`.

    Returns:
      [P, 3] float32, mm, frame of the scan.

    Raises:
      ValueError: see `register_scan`.
    """
    return register_scan(scan, template, landmarks, settings=settings, proposals=proposals).vertices


def register_scan(
    scan: mesh.Mesh,
    template: mesh.Mesh | MorphableModel | PreparedTemplate,
    landmarks: Mapping[str, npt.ArrayLike] | None = None,
    *,
    settings: RegistrationSettings | None = None,
    proposals: Sequence[alignment.Transform] = (),
) -> Registration:
    """Registers a scan to a template.

    1. Placement: by landmarks, if there are three or more, otherwise by a search over all rotations; then trimmed ICP.
    Placements that a rigid face cannot tell apart all reach step 2, which decides.
    2. The maximum a posteriori fit of a model: of the 3DMM, or of the template under a Gaussian process of smooth
    deformations (`registration.smooth_prior`). A 3DMM with expressions is fitted without them and with them, and the
    expression is believed if it brings the face nearer to the scan, so that a neutral scan is registered as if there
    were none. 3. A smooth field of displacements for what the model leaves. What the
    scan does not show (holes, hair, borders) follows its surroundings, as the model has it.

    Args:
      scan: mm, any topology, any pose; normals outwards.
      template: a mesh, mm, in the axes of the model frame with named landmarks, the tip of the nose among them; or a
        3DMM, whose mean is the template and whose modes are a prior of faces; or either of them by `prepare`.
      landmarks: points [3] on the scan by name, mm; names that the template does not know are not used.
      settings: of every step.
      proposals: scan_from_template, rigid, where the face may be (such as from a face detector), for the search.

    Returns:
      The registration.

    Raises:
      ValueError: if there is no face, more than one (`search.find_pose`), or two ways to place it that are as good
        after deforming, or the landmarks do not belong to the scan.
    """
    settings = settings or RegistrationSettings()
    prepared = template if isinstance(template, PreparedTemplate) else prepare(template, settings)
    face, exposed = prepared.face, prepared.exposed
    surface = ScanSurface(scan)
    known = _known_landmarks(face, landmarks, surface)
    if known is not None and len(known[0]) >= 3:
        candidates = [_place_by_landmarks(face, known, surface, exposed)]
        searched = float("nan"), float("nan")
    else:
        found = _found(prepared, surface, proposals)
        candidates, searched = [found.best, *found.rivals[:_MAX_RIVALS]], (found.best.residual, found.margin)
    fitting = settings.face_fit if prepared.knows_faces else settings.smooth_fit
    starts = [_fit(prepared, candidate, surface, known, fitting) for candidate in candidates]
    start = _decided(starts, candidates, prepared, surface)
    if not _is_plausible(start, prepared):
        for weights in prepared.expressions[1:]:
            moved_face = prepared.moved(weights)
            other = search.find_pose(moved_face, surface, exposure=exposed, proposals=proposals).best
            start = min(start, _fit(prepared, other, surface, known, fitting), key=_left_by(prepared, surface))
    vertices, matched = residual_field.fit(start.vertices, face.triangles, surface, exposed, settings.residual)
    neutral, rest = vertices, face.vertices
    if prepared.model.expressions is not None:
        moved = prepared.model.expressions.displacement(start.weights)
        neutral, rest = vertices - moved @ start.scan_from_model.rotation.T, face.vertices + moved
    quality = measure(vertices, rest, face.triangles, matched, exposed, known, searched)
    return Registration(
        vertices.astype(np.float32), matched.weights > 0, quality, neutral.astype(np.float32), start.weights
    )


def _found(
    prepared: PreparedTemplate, surface: ScanSurface, proposals: Sequence[alignment.Transform]
) -> search.PoseSearch:
    """The face in a scan; where none is found, an open mouth that smiles is looked for.

    Raises:
      ValueError: see `register_scan`.
    """
    faces = [prepared.face, *(prepared.moved(weights) for weights in prepared.expressions[1:])]
    for face in faces:
        found = search.find_pose(face, surface, exposure=prepared.exposed, proposals=proposals)
        if found.fault is None:
            return found
        if found.best.residual <= search.MAX_RESIDUAL:
            break
    raise ValueError(f"scan: {found.fault}")


def _fit(
    prepared: PreparedTemplate,
    candidate: search.Candidate,
    surface: ScanSurface,
    known: tuple[npt.NDArray[np.integer], Array] | None,
    settings: model_fit.ModelFitSettings,
) -> model_fit.Fit:
    """The model fitted from a candidate, with an expression only if that brings it nearer to the scan."""
    model, place = prepared.model, candidate.scan_from_template
    neutral = model_fit.fit(model, place, surface, known, prepared.exposed, settings)
    if model.expressions is None:
        return neutral

    left = _left_by(prepared, surface)
    expressive = [
        model_fit.fit(model, place, surface, known, prepared.exposed, settings, expression=weights)
        for weights in prepared.expressions
    ]
    best = min(expressive, key=left)
    if left(best) < _EXPRESSIVE * left(neutral):
        return best
    return dataclasses.replace(neutral, weights=np.zeros(len(model.expressions)))


def _left_by(prepared: PreparedTemplate, surface: ScanSurface) -> Callable[[model_fit.Fit], float]:
    """What a fit leaves: mm, the mean distance to the scan of what a scanner can see, `_TRUNCATED` at most each."""
    seen = prepared.exposed > 0.5

    def left(fitted: model_fit.Fit) -> float:
        return float(np.minimum(surface.closest(fitted.vertices[seen]).distances, _TRUNCATED).mean())

    return left


def _is_plausible(fitted: model_fit.Fit, prepared: PreparedTemplate) -> bool:
    """Whether the sum of squares of the identity is one that faces have: chi-squared of K degrees of freedom."""
    num_modes = len(fitted.coefficients)
    limit = num_modes + _UNLIKELY * np.sqrt(2 * num_modes)
    return not prepared.knows_faces or float((fitted.coefficients**2).sum()) <= limit


def _decided(
    starts: Sequence[model_fit.Fit],
    candidates: Sequence[search.Candidate],
    prepared: PreparedTemplate,
    surface: ScanSurface,
) -> model_fit.Fit:
    """Of the model fitted from candidates that a rigid face could not tell apart, the fit that is nearest to the scan.

    Raises:
      ValueError: if a fit from elsewhere is as near.
    """
    if len(starts) == 1:
        return starts[0]
    left = [_left_by(prepared, surface)(start) for start in starts]
    best = int(np.argmin(left))
    for index, start in enumerate(starts):
        apart = np.linalg.norm(start.vertices - starts[best].vertices, axis=1).mean() > _SAME_FIT
        if apart and left[index] < search.AMBIGUOUS * left[best]:
            nose = prepared.face.landmark_points((schema.NOSE_TIP,))
            told = search.ambiguity(candidates[best], candidates[index], nose)
            raise ValueError(f"scan: {told}; after deforming, {left[best]:.2f} and {left[index]:.2f} mm")
    return starts[best]


def _known_landmarks(
    face: mesh.Mesh, landmarks: Mapping[str, npt.ArrayLike] | None, surface: ScanSurface
) -> tuple[npt.NDArray[np.integer], Array] | None:
    """Vertex indices [L] and points [L, 3] of the landmarks that scan and template share."""
    names = sorted(set(landmarks or ()) & set(face.landmarks))
    if landmarks is None or not names:
        return None
    points = np.stack([np.asarray(landmarks[name], np.float64) for name in names])
    if points.shape != (len(names), 3) or not np.isfinite(points).all():
        raise ValueError(f"landmarks: expected three finite numbers each, got the shape {list(points.shape)}")
    distances = surface.closest(points).distances
    far = {name: round(float(d), 1) for name, d in zip(names, distances, strict=True) if d > LANDMARK_DISTANCE}
    if far:
        raise ValueError(
            f"landmarks: expected them within {LANDMARK_DISTANCE:.0f} mm of the scan, got {far} mm; are they of "
            f"another subject, or in another unit?"
        )
    if np.median(distances) > LANDMARK_MEDIAN:
        raise ValueError(
            f"landmarks: expected half of them within {LANDMARK_MEDIAN:.0f} mm of the scan, got a median of "
            f"{np.median(distances):.1f} mm; are they of another subject?"
        )
    return np.array([face.landmarks[name] for name in names]), points


def _place_by_landmarks(
    face: mesh.Mesh, known: tuple[npt.NDArray[np.integer], Array], surface: ScanSurface, exposed: Array
) -> search.Candidate:
    indices, points = known
    pose = alignment.rigid(face.vertices[indices], points)
    misfit = float(np.sqrt(((pose.apply(face.vertices[indices]) - points) ** 2).sum(axis=1).mean()))
    if misfit > LANDMARK_MISFIT:
        raise ValueError(
            f"landmarks: laid on them, the template's {len(indices)} landmarks are off by {misfit:.1f} mm, more than "
            f"{LANDMARK_MISFIT:.0f} mm; are they of another subject, or named wrongly?"
        )
    placed = search.refine(face, surface, pose, exposed)
    if placed.residual > search.MAX_RESIDUAL:
        raise ValueError(
            f"scan: no face where the landmarks are: the template laid there leaves {placed.residual:.1f} mm, a face "
            f"at most {search.MAX_RESIDUAL} mm"
        )
    return placed
