"""Registers a raw scan: brings a template's topology onto it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfface.face.morphable_model import MorphableModel
from tfface.face.registration import model_fit, nonrigid_icp, search
from tfface.face.registration.quality import Quality, measure
from tfface.face.registration.surface import Surface
from tfface.geometry import alignment, mesh

Array = npt.NDArray[np.floating]

LANDMARK_DISTANCE = 10.0
"""mm, the farthest that a given landmark may lie from the scan's surface."""

LANDMARK_MISFIT = 12.0
"""mm, the largest root mean square distance of given landmarks from those of a template laid on them."""

_AFTER_PRIOR = nonrigid_icp.NonrigidSettings(
    stiffness=(10.0, 5.0, 2.5), max_distance=(4.0, 2.0), max_angle=(45.0, 35.0), landmark_weight=(0.05, 0.01)
)

_FROM_TEMPLATE = nonrigid_icp.NonrigidSettings()
_PRIOR = model_fit.ModelFitSettings()


@dataclasses.dataclass(frozen=True)
class RegistrationSettings:
    """How scans are registered.

    Attributes:
      nonrigid: of the non-rigid ICP that starts from the template.
      after_prior: of the non-rigid ICP that starts from the fit of a 3DMM, which leaves less to do.
      prior: of the fit of a 3DMM.
    """

    nonrigid: nonrigid_icp.NonrigidSettings = _FROM_TEMPLATE
    after_prior: nonrigid_icp.NonrigidSettings = _AFTER_PRIOR
    prior: model_fit.ModelFitSettings = _PRIOR


@dataclasses.dataclass(frozen=True, eq=False)
class Registration:
    """A registered scan.

    Attributes:
      vertices: [P, 3] float32, mm, frame of the scan, in the template's topology.
      matched: [P] bool, the vertices that the scan shows; the others have followed their surroundings smoothly.
      quality: measures.
    """

    vertices: npt.NDArray[np.float32]
    matched: npt.NDArray[np.bool_]
    quality: Quality


def register(
    scan: mesh.Mesh,
    template: mesh.Mesh | MorphableModel,
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
    template: mesh.Mesh | MorphableModel,
    landmarks: Mapping[str, npt.ArrayLike] | None = None,
    *,
    settings: RegistrationSettings | None = None,
    proposals: Sequence[alignment.Transform] = (),
) -> Registration:
    """Registers a scan to a template.

    1. Placement: by landmarks, if there are three or more, otherwise by a search over all rotations; then trimmed ICP.
    2. With a 3DMM as template, its maximum a posteriori fit to the scan. 3. Non-rigid ICP with optimal steps. What the
    scan does not show (holes, hair, borders) follows its surroundings.

    Args:
      scan: mm, any topology, any pose; normals outwards.
      template: a mesh, mm, in the axes of the model frame with named landmarks, the tip of the nose among them; or a
        3DMM, whose mean is the template and whose modes are a prior of faces.
      landmarks: points [3] on the scan by name, mm; names that the template does not know are not used.
      settings: of every step.
      proposals: scan_from_template, rigid, where the face may be (such as from a face detector), for the search.

    Returns:
      The registration.

    Raises:
      ValueError: if there is no face, more than one, or two ways to place it (`search.find`), or the landmarks do not
        belong to the scan.
    """
    settings = settings or RegistrationSettings()
    prior = template if isinstance(template, MorphableModel) else None
    face = mesh.Mesh(prior.mean, prior.triangles, prior.landmarks) if prior is not None else template
    assert isinstance(face, mesh.Mesh)
    surface = Surface(scan)
    visible = nonrigid_icp.exposure(face.vertices, face.triangles)
    known = _known_landmarks(face, landmarks, surface)
    if known is not None and len(known[0]) >= 3:
        placed = _place_by_landmarks(face, known, surface, visible)
        searched = float("nan"), float("nan")
    else:
        found = search.find(face, surface, exposure=visible, proposals=proposals)
        if found.fault is not None:
            raise ValueError(f"scan: {found.fault}")
        placed, searched = found.best, (found.best.residual, found.margin)
    pose = placed.scan_from_template
    if prior is not None:
        start, _ = model_fit.fit(prior, pose, surface, known, settings.prior, visible)
        nonrigid = settings.after_prior
    else:
        start, nonrigid = pose.apply(face.vertices.astype(np.float64)), settings.nonrigid
    vertices, matched = nonrigid_icp.fit(start, face.triangles, surface, known, nonrigid, visible)
    quality = measure(vertices, face.vertices, face.triangles, matched, visible, known, searched)
    return Registration(vertices.astype(np.float32), matched.weights > 0, quality)


def _known_landmarks(
    face: mesh.Mesh, landmarks: Mapping[str, npt.ArrayLike] | None, surface: Surface
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
    return np.array([face.landmarks[name] for name in names]), points


def _place_by_landmarks(
    face: mesh.Mesh, known: tuple[npt.NDArray[np.integer], Array], surface: Surface, visible: Array
) -> search.Candidate:
    indices, points = known
    pose = alignment.rigid(face.vertices[indices], points)
    misfit = float(np.sqrt(((pose.apply(face.vertices[indices]) - points) ** 2).sum(axis=1).mean()))
    if misfit > LANDMARK_MISFIT:
        raise ValueError(
            f"landmarks: laid on them, the template's {len(indices)} landmarks are off by {misfit:.1f} mm, more than "
            f"{LANDMARK_MISFIT:.0f} mm; are they of another subject, or named wrongly?"
        )
    placed = search.refine(face, surface, pose, visible)
    if placed.residual > search.MAX_RESIDUAL:
        raise ValueError(
            f"scan: no face where the landmarks are: the template laid there leaves {placed.residual:.1f} mm, a face "
            f"at most {search.MAX_RESIDUAL} mm"
        )
    return placed
