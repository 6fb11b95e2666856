"""Where eyes look in a photograph: turned until their irises lie where it shows dark discs between the lids.

Expressions of a fit tell a gaze only roughly; a texture taken by it would have the iris beside its place.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.signal
from PIL import Image

from tfface.face import Head
from tfface.face.eyes import EYES
from tfface.geometry import camera, rasterise, rotation
from tfface.reconstruction.outputs import head_parts, seated_eyes
from tfface.reconstruction.reconstructed_face import View

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_NEAR = 1.7
"""Radii of an eyeball around it: what may hide it."""
_DISC_PX = 16.0
"""px; a larger iris is looked for in a reduced picture."""
_DISC, _RING = 0.92, (1.12, 1.7)
"""Radii, in the iris's, of what is to be dark, and of what around it is to be bright."""
_LEAST_DISC, _LEAST_RING = 0.3, 0.12
"""Share of disc and ring that lids have to leave to see."""
_CONTRAST = 0.16
"""Share of the ring's brightness by which the disc has to be darker."""
_USUAL = 0.04, 0.6
"""Of that share, for each squared radius of the iris from where the fit has it, across and along the face: lids follow
a gaze up and down, and their lashes are dark, too."""
_MOST_TURN = 35.0
"""Degrees from where the fit has an eye."""
_SLOPE = 0.03, 0.25
"""Radii of the layout between which angles on the eyeball grow as radii do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Eyeball:
    """What of an eye does not depend on the person.

    Attributes:
      vertices: ``[E]``, of the head.
      radius: ``[E]``, distance of each from the middle of its texture layout.
    """

    vertices: Indices
    radius: Array


def eyeballs(tiled: head_parts.TiledAtlas) -> list[Eyeball]:
    """The eyes of a head, by the tiles of their texture."""
    atlas, found = tiled.atlas, []
    for tile, region in enumerate(head_parts.TILES):
        members = np.flatnonzero(atlas.chart == tile)
        if region == EYES and len(members):
            middle = (np.array([tile % 2, tile // 2]) + 0.5) / 2
            radius = 2 * np.linalg.norm(atlas.uv[members] - middle, axis=1)
            vertices, first = np.unique(atlas.vertex[members], return_index=True)
            found.append(Eyeball(vertices, radius[first]))
    return found


def turned(view: View, head: Head, eyes: list[Eyeball], posed: Array) -> tuple[Array, list[bool]]:
    """Turns the eyes of a head to where a photograph shows their irises.

    Args:
      view: The photograph.
      head: Of the 3DMM.
      eyes: Its `eyeballs`.
      posed: ``[V, 3]``, mm, model frame, with the photograph's expression.

    Returns:
      The vertices, and of each eye whether its iris was found; if not, the eye is as it was.
    """
    moved, found = np.array(posed, np.float32), []
    opaque = head.triangles[
        np.concatenate([head_parts.triangles_of(head, part) for part in (head_parts.SKIN, *head_parts.OPAQUE)])
    ]
    for eye in eyes:
        turn = _turn(view, opaque, eye, np.asarray(posed, np.float64))
        found.append(turn is not None)
        if turn is not None:
            centre, rotated = turn
            moved[eye.vertices] = (posed[eye.vertices] - centre) @ rotated.T + centre
    return moved, found


def _turn(view: View, opaque: Indices, eye: Eyeball, posed: Array) -> tuple[Array, Array] | None:
    """Centre ``[3]`` and rotation ``[3, 3]`` of an eye, or None where the photograph shows no iris."""
    points = posed[eye.vertices]
    centre, radius = seated_eyes.sphere(points[points[:, 2] > np.median(points[:, 2])])
    sight = points[eye.radius.argmin()] - centre
    sight /= np.linalg.norm(sight)
    angle = np.arccos(np.clip((points - centre) @ sight / np.linalg.norm(points - centre, axis=1), -1, 1))
    linear = (eye.radius > _SLOPE[0]) & (eye.radius < _SLOPE[1])
    half = float(np.median(angle[linear] / eye.radius[linear])) * head_parts.LIMBUS
    cam_from_model = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
    translation = np.asarray(view.translation, np.float64)
    place = cam_from_model @ (centre + radius * np.cos(half) * sight) + translation
    intrinsics = np.asarray(view.intrinsics, np.float64)
    if place[2] < radius or (cam_from_model @ sight)[2] > 0:
        return None
    disc = radius * np.sin(half) * float(np.sqrt(intrinsics[0, 0] * intrinsics[1, 1])) / place[2]
    usual = intrinsics[:2] @ place / place[2]
    reach = 3 * disc
    low = np.maximum(np.floor(usual - reach), 0).astype(int)
    high = np.minimum(np.ceil(usual + reach), view.pixels.shape[1::-1]).astype(int)
    if disc < 2 or (high - low < disc).any():
        return None
    level = max(1, int(disc / _DISC_PX))
    crop = Image.fromarray(np.ascontiguousarray(view.pixels[low[1] : high[1], low[0] : high[0]])).reduce(level)
    # Lids and white are red as skin is; an iris of any colour is darker there.
    red = np.asarray(crop)[..., 0] / 255
    local = camera.crop_intrinsics(intrinsics, low[0], low[1])
    local = np.diag([1 / level, 1 / level, 1]) @ local
    near = opaque[(np.linalg.norm(posed[opaque[:, 0]] - centre, axis=1) < _NEAR * radius)]
    shown = _shown(near, posed, eye, (view.quaternion, translation, local), red.shape)
    px = _disc(red, shown, disc / level, (usual - low) / level, cam_from_model[:2, 1])
    if px is None:
        return None
    # The middle of the iris lies on a sphere of the radius R cos(angle) about the eye's centre.
    ray = camera.rays_from_px((px * level + low)[None], intrinsics)[0] @ cam_from_model
    start = -translation @ cam_from_model - centre
    ray /= np.linalg.norm(ray)
    along = ray @ start
    inside = along**2 - start @ start + (radius * np.cos(half)) ** 2
    wanted = start + (-along - np.sqrt(max(inside, 0.0))) * ray
    wanted /= np.linalg.norm(wanted)
    axis = np.cross(sight, wanted)
    turn = float(np.arctan2(np.linalg.norm(axis), sight @ wanted))
    if np.degrees(turn) > _MOST_TURN:
        return None
    return centre, rotation.matrix_from_vector(axis / max(np.linalg.norm(axis), 1e-12) * turn)


def _shown(
    near: Indices, posed: Array, eye: Eyeball, pose: tuple[Array, Array, Array], size_hw: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Pixels ``[H, W]`` that show the eye."""
    height, width = size_hw
    rows, columns = np.indices((height, width)).reshape(2, -1)
    screen = rasterise.Screen(rasterise.project(posed, *pose), near, (height, width))
    triangle = screen.nearest(rasterise.Samples.of((height, width), rows, columns, 1)).triangle
    mine = np.append(np.isin(near[:, 0], eye.vertices), False)
    return mine[triangle].reshape(height, width)


def _disc(red: Array, shown: npt.NDArray[np.bool_], radius: float, usual: Array, down: Array) -> Array | None:
    """The middle ``[2]``, px, of the disc that is darkest beside the ring around it, or None if none is dark.

    Args:
      red: ``[H, W]``, 0..1.
      shown: ``[H, W]``, where the eye is.
      radius: px, of the disc.
      usual: ``[2]``, px, where it is expected.
      down: ``[2]``, where the face's y axis points.
    """
    side = int(np.ceil(_RING[1] * radius))
    away = np.hypot(*np.mgrid[-side : side + 1, -side : side + 1]) / radius
    disc, ring = away < _DISC, (away > _RING[0]) & (away < _RING[1])
    sums = [
        scipy.signal.fftconvolve(picture, kernel.astype(float), "same")
        for kernel in (disc, ring)
        for picture in (shown.astype(float), shown * red)
    ]
    enough = (sums[0] > _LEAST_DISC * disc.sum()) & (sums[2] > _LEAST_RING * ring.sum())
    dark, bright = sums[1] / np.maximum(sums[0], 1), np.maximum(sums[3] / np.maximum(sums[2], 1), 1e-3)
    y, x = np.indices(shown.shape) + 0.5
    away_x, away_y = (x - usual[0]) / radius, (y - usual[1]) / radius
    along = (away_x * down[0] + away_y * down[1]) / max(float(np.hypot(*down)), 1e-6)
    far = _USUAL[0] * (away_x**2 + away_y**2 - along**2) + _USUAL[1] * along**2
    contrast = np.where(enough, 1 - dark / bright, -np.inf)
    best = np.unravel_index(np.argmax(contrast - far), shown.shape)
    return np.array([x[best], y[best]]) if contrast[best] > _CONTRAST else None
