"""A picture of one registration: the scan, the registered template, both together, and how far they are apart."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface.drawing import overlay
from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import alignment, camera, mesh, rotation

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

FAR_MM = 2.0
"""The distance that is drawn in the strongest colour."""

_SIZE, _YAWS = 220, (0.0, 50.0)
_SCAN, _FIT = (0.78, 0.74, 0.70), (0.45, 0.62, 0.85)


def draw(scan: mesh.Mesh, vertices: npt.ArrayLike, template: mesh.Mesh, matched: npt.NDArray[np.bool_]) -> Picture:
    """Draws a registration in two rows, frontal and from the side.

    From left to right: the scan; the registered template; both, so that each shows where it is in front; the template
    coloured by its distance from the scan (white 0, red `FAR_MM` and more, grey where nothing was matched).

    Args:
      scan: mm.
      vertices: [P, 3], mm, frame of the scan.
      template: its axes say which way is up.
      matched: [P], see `tfface.face.register.Registration`.

    Returns:
      [H, W, 3], RGB.
    """
    vertices = np.asarray(vertices, np.float64)
    upright = alignment.rigid(vertices, template.vertices)
    face, raw = upright.apply(vertices), upright.apply(np.asarray(scan.vertices, np.float64))
    centre = (face.min(axis=0) + face.max(axis=0)) / 2
    near = np.linalg.norm(raw - centre, axis=1) < 260
    part, _ = mesh.submesh(mesh.Mesh(raw, scan.triangles), near)
    both = (
        np.concatenate((part.vertices, face)),
        np.concatenate((part.triangles, template.triangles + len(part.vertices))),
    )
    of_both = np.concatenate((np.tile(_SCAN, (len(part.vertices), 1)), np.tile(_FIT, (len(face), 1))))
    share = np.clip(ScanSurface(part).closest(face).distances / FAR_MM, 0, 1)[:, None]
    distance = np.where(matched[:, None], 1 - share * [0.1, 0.85, 0.85], [[0.45, 0.45, 0.45]])
    panels = (
        (part.vertices, part.triangles, np.tile(_SCAN, (len(part.vertices), 1))),
        (face, template.triangles, np.tile(_FIT, (len(face), 1))),
        (*both, of_both),
        (face, template.triangles, distance),
    )
    rows = [np.concatenate([_panel(*panel, centre, yaw) for panel in panels], axis=1) for yaw in _YAWS]
    return np.concatenate(rows)


def _panel(vertices: Array, triangles: npt.NDArray[np.integer], colors: Array, centre: Array, yaw: float) -> Picture:
    cam_from_model = rotation.matrix_from_yaw_pitch_roll(yaw, 0.0, 0.0)
    intrinsics = camera.intrinsics_from_fov((_SIZE, _SIZE), 22.0)
    translation = np.array([0.0, 0.0, 700.0]) - cam_from_model @ centre
    quaternion = rotation.quaternion_from_matrix(cam_from_model)
    return overlay.render(vertices, triangles, quaternion, translation, intrinsics, (_SIZE, _SIZE), colors=colors)


def jpeg(picture: Picture) -> bytes:
    """A picture [H, W, 3], RGB, as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88)
    return file.getvalue()
