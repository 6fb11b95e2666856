"""A face detector that sees a scan from several sides, and its five points cast back onto the surface."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tfface.drawing import overlay
from tfface.geometry import alignment, camera, mesh, raycast, rotation
from tfface.photographs.detector import FIVE_POINTS, Detector

Array = npt.NDArray[np.floating]

MAX_MISFIT = 9.0
"""mm, root mean square, of five points that are no face's: other faces than the template's have 2 to 6."""

_SIZE, _FOV = 224, 32.0
_FRAMED = 0.72
"""Share of the scan's extent across a picture: shoulders may be cut off, so that the face is larger."""
_COLOR, _BACKGROUND = (0.85, 0.70, 0.60), (0.3, 0.3, 0.3)
_ROLLS = (0.0, 90.0, 180.0, 270.0)
_DIRECTIONS = 14


@dataclasses.dataclass(frozen=True, eq=False)
class _View:
    quaternion: Array
    translation: Array
    intrinsics: Array


def propose(scan: mesh.Mesh, template: mesh.Mesh, detector: Detector) -> list[alignment.Transform]:
    """Where a detector believes the face of a scan to be.

    The shaded scan is drawn from sides spread over the sphere, turned upright in four ways. The five points of each
    face that is found are cast back, the template is laid on them rigidly, and what does not fit is dropped.

    Args:
      scan: mm.
      template: mm, axes of the model frame, with the landmarks of `FIVE_POINTS`.
      detector: the detector.

    Returns:
      scan_from_template of each face found, the best fitting first: proposals for `tfface.face.registration.search`.

    Raises:
      ValueError: if the template lacks a landmark.
    """
    model = np.stack([template.landmark_points(names).mean(axis=0) for names in FIVE_POINTS.values()])
    low, high = np.quantile(scan.vertices, [0.02, 0.98], axis=0)
    centre, extent = (low + high) / 2, float(np.linalg.norm(high - low))
    caster = raycast.Raycaster(scan.vertices, scan.triangles)
    skin = np.tile(_COLOR, (scan.num_vertices, 1))
    found: list[tuple[float, alignment.Transform]] = []
    for view in _views(centre, extent):
        picture = overlay.render(
            scan.vertices,
            scan.triangles,
            view.quaternion,
            view.translation,
            view.intrinsics,
            (_SIZE, _SIZE),
            colors=skin,
            background=_BACKGROUND,
        )
        for face in detector(picture):
            points = _cast_back(caster, view, face.points)
            if points is None:
                continue
            # The detector's eye is on the lid, and the mean of our six landmarks lies near it.
            pose = alignment.rigid(model, points)
            misfit = float(np.sqrt(((pose.apply(model) - points) ** 2).sum(axis=1).mean()))
            if misfit <= MAX_MISFIT:
                found.append((misfit, pose))
    return [pose for _, pose in sorted(found, key=lambda entry: entry[0])]


def _views(centre: Array, extent: float) -> Iterator[_View]:
    """Cameras around the middle of a scan that see all of it, on a Fibonacci sphere."""
    intrinsics = camera.intrinsics_from_fov((_SIZE, _SIZE), _FOV).astype(np.float64)
    distance = 0.5 * _FRAMED * extent / np.tan(np.radians(_FOV) / 2)
    for number in range(_DIRECTIONS):
        height = 1 - (2 * number + 1) / _DIRECTIONS
        azimuth = number * np.pi * (3 - np.sqrt(5))
        z = -np.array([np.sqrt(1 - height**2) * np.cos(azimuth), height, np.sqrt(1 - height**2) * np.sin(azimuth)])
        x = np.cross([0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        upright = np.stack((x, np.cross(z, x), z))
        for roll in _ROLLS:
            cam_from_scan = rotation.matrix_from_yaw_pitch_roll(0.0, 0.0, roll) @ upright
            translation = np.array([0.0, 0.0, distance]) - cam_from_scan @ centre
            yield _View(rotation.quaternion_from_matrix(cam_from_scan), translation, intrinsics)


def _cast_back(caster: raycast.Raycaster, view: _View, px: Array) -> Array | None:
    """Points [5, 3] of the scan under pixels [5, 2], or None if one of them shows no scan."""
    cam_from_scan = rotation.matrix_from_quaternion(view.quaternion)
    origin = -view.translation @ cam_from_scan
    directions = camera.rays_from_px(px, view.intrinsics) @ cam_from_scan
    hits = caster.cast(origin, directions)
    if (hits.triangle < 0).any():
        return None
    return origin + hits.distance[:, None].astype(np.float64) * directions
