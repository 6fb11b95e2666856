"""Where a face may be in a scan: rotations and translations by the hundred, sifted and settled all at once."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import alignment, mesh, rotation

Array = npt.NDArray[np.floating]

CAP = 15.0
"""mm: the residual of a template point that finds nothing; farther ones count no more."""

TIPS = 6000
"""Points of the scan that may be the tip of a nose: about one every 8 mm of head and shoulders."""

_ROLLS, _TILT = 12, 25.0
_PROTRUSION_RADIUS = 38.0
# Points of the scan: all, and those that tell how much it stands out; of how many of these at a time.
_SAMPLES, _AROUND, _AT_A_TIME = 20000, 4000, 250
# mm: cells of the grid that tells what is near, and how far it reaches beyond the scan; and how many there may be.
_CELL, _MARGIN, _MAX_CELLS = 4.0, 32.0, 4_000_000
# Points of the template at each step, and how many candidates and rounds.
_COARSEST, _COARSE, _SETTLING, _FINE = 72, 120, 400, 1200
_KEPT_COARSE, _SIFTING_ROUNDS = 60, 12
_KEPT_FINE, _SETTLING_ROUNDS = 16, 12
_SAME_DEGREES, _SAME_MM = 8.0, 10.0
_BESIDE_DEGREES, _BESIDE_MM = 18.0, 20.0


@dataclasses.dataclass(frozen=True, eq=False)
class TemplatePoints:
    """Points of the template, spread evenly over a part of it, and their normals, [Q, 3] each."""

    points: Array
    normals: Array

    @classmethod
    def of_template(
        cls, template: mesh.Mesh, part: npt.NDArray[np.bool_], rng: np.random.Generator, count: int = _FINE
    ) -> "TemplatePoints":
        """Draws points of a part [P] of a template, one after another, so that the first of them lie everywhere."""
        area = mesh.vertex_areas(template.vertices, template.triangles) * part
        chosen = rng.choice(template.num_vertices, count, p=area / area.sum())
        normals = mesh.vertex_normals(template.vertices, template.triangles)[chosen]
        return cls(template.vertices[chosen].astype(np.float64), normals.astype(np.float64))

    def __getitem__(self, part: slice) -> "TemplatePoints":
        return TemplatePoints(self.points[part], self.normals[part])


class ScanPoints:
    """Points spread evenly over a scan, the normals of the triangles that they lie in, and a grid that finds them.

    Attributes:
      points: [S, 3], mm, in random order.
      normals: [S, 3].
      on_border: [S] bool, see `scan_surface.ScanSurface.border_triangles`.
      away: [TIPS, 3], mm, of the first points: from the middle of what surrounds them.
    """

    def __init__(self, surface: ScanSurface, rng: np.random.Generator):
        self.points, self.normals, triangles = sample(surface.mesh, _SAMPLES, rng)
        self.on_border = surface.border_triangles[triangles]
        self.away = _away(self.points[:TIPS], self.points[:_AROUND])
        low = self.points.min(axis=0) - _MARGIN
        extent = self.points.max(axis=0) + _MARGIN - low
        self._low, self._cell = low, max(_CELL, float((extent.prod() / _MAX_CELLS) ** (1 / 3)))
        self._size = np.ceil(extent / self._cell).astype(np.intp)
        holder = np.full(self._size, -1, np.int32)
        cells = tuple(((self.points - low) / self._cell).astype(np.intp).T)
        holder[cells] = np.arange(len(self.points))
        nearest = scipy.ndimage.distance_transform_edt(holder < 0, return_distances=False, return_indices=True)
        self._nearest = holder[tuple(nearest)].ravel()

    def nearest(self, moved: Array) -> tuple[Array, npt.NDArray[np.integer]]:
        """Distances [...] and indices [...] of about the nearest of the points, for points [..., 3].

        About: it is the nearest to the cell, of 4 mm unless the scan is larger than a person, that the point lies in.
        """
        x, y, z = (
            np.clip(((moved[..., axis] - self._low[axis]) / self._cell).astype(np.intp), 0, self._size[axis] - 1)
            for axis in range(3)
        )
        nearest = self._nearest[(x * self._size[1] + y) * self._size[2] + z]
        return np.linalg.norm(moved - self.points[nearest], axis=-1), nearest


def sample(scan: mesh.Mesh, count: int, rng: np.random.Generator) -> tuple[Array, Array, npt.NDArray[np.integer]]:
    """Points spread evenly over a mesh.

    Args:
      scan: mm.
      count: of points.
      rng: decides where they lie.

    Returns:
      The points [count, 3], the normals [count, 3] of the triangles that they lie in, and those triangles [count].
    """
    corners = scan.vertices[scan.triangles].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(cross, axis=1)
    chosen = rng.choice(len(areas), count, p=areas / areas.sum())
    first, second = rng.random(count), rng.random(count)
    # A uniform point of the parallelogram; its far half is folded back onto the triangle.
    outside = first + second > 1
    first, second = np.where(outside, 1 - first, first), np.where(outside, 1 - second, second)
    a, b, c = np.moveaxis(corners[chosen], 1, 0)
    points = a + first[:, None] * (b - a) + second[:, None] * (c - a)
    return points, cross[chosen] / np.maximum(areas[chosen, None], 1e-12), chosen


def _away(tips: Array, around: Array) -> Array:
    """[T, 3]: from the mean of those of the points around that are near, to each of the points [T, 3]."""
    # Single precision is enough around the middle; a block at a time stays in the processor's cache.
    middle = tips.mean(axis=0)
    tips, around = (tips - middle).astype(np.float32), (around - middle).astype(np.float32)
    means = np.empty_like(tips)
    with_ones = np.concatenate((around, np.ones((len(around), 1), np.float32)), axis=1)
    limit = (around**2).sum(axis=1) - np.float32(_PROTRUSION_RADIUS**2)
    for start in range(0, len(tips), _AT_A_TIME):
        block = tips[start : start + _AT_A_TIME]
        # |t - a|^2 < r^2 is 2 t . a - |t|^2 > |a|^2 - r^2: one matrix product for all pairs.
        near = (2 * block @ around.T - (block**2).sum(axis=1)[:, None] > limit).astype(np.float32)
        sums = near @ with_ones
        means[start : start + _AT_A_TIME] = sums[:, :3] / np.maximum(sums[:, 3:], 1)
    return (tips - means).astype(np.float64)


def guess(nose: Array, cloud: ScanPoints, usable: npt.NDArray[np.bool_], num_seeds: int) -> tuple[Array, Array]:
    """Poses that put the nose on what stands out, turned every way.

    Args:
      nose: [3], mm, tip of the template's nose.
      cloud: of the scan.
      usable: [TIPS], which of the first points of the cloud may be the tip.
      num_seeds: how many of them are tried, 20 mm and more apart.

    Returns:
      Rotations [H, 3, 3] and translations [H, 3], scan_from_template.
    """
    tips, away = cloud.points[:TIPS][usable], cloud.away[usable]
    # How far a point stands out of its surroundings along the normal: noses, ears, chins and tufts of hair lead.
    height = np.einsum("qk,qk->q", away, cloud.normals[:TIPS][usable])
    seeds: list[int] = []
    for index in np.argsort(-height):
        if all(np.linalg.norm(tips[index] - tips[other]) > 20 for other in seeds):
            seeds.append(int(index))
        if len(seeds) == num_seeds:
            break
    turns = [
        rotation.matrix_from_yaw_pitch_roll(yaw, pitch, 0.0)
        for yaw, pitch in ((0, 0), (_TILT, 0), (-_TILT, 0), (0, _TILT), (0, -_TILT), (0, 2 * _TILT), (0, -2 * _TILT))
    ]
    rolls = [rotation.matrix_from_yaw_pitch_roll(0.0, 0.0, roll) for roll in np.arange(_ROLLS) * 360 / _ROLLS]
    rotations, translations = [], []
    for seed in seeds:
        # The face looks along -z of the model frame, so that z points back into the head.
        z = -away[seed] / np.linalg.norm(away[seed])
        x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
        x /= np.linalg.norm(x)
        upright = np.stack((x, np.cross(z, x), z), axis=-1)
        for roll in rolls:
            for turn in turns:
                rotations.append(upright @ roll @ turn)
                translations.append(tips[seed] - rotations[-1] @ nose)
    return np.stack(rotations), np.stack(translations)


def sift(
    rotations: Array, translations: Array, face: TemplatePoints, cloud: ScanPoints, num_proposals: int
) -> tuple[Array, Array]:
    """The most promising hypotheses, brought near by a few rounds of ICP on samples, all of them at once.

    Args:
      rotations: [H, 3, 3], scan_from_template.
      translations: [H, 3], mm.
      face: of the template.
      cloud: of the scan.
      num_proposals: how many of the first are kept whatever their residual before the rounds.

    Returns:
      At most 16 rotations and translations that differ.
    """

    def residuals(turned: Array, shifted: Array, part: TemplatePoints) -> tuple[Array, npt.NDArray[np.integer]]:
        moved = np.einsum("hij,pj->hpi", turned, part.points) + shifted[:, None]
        distance, nearest = cloud.nearest(moved)
        cosine = np.einsum("hpi,hpi->hp", np.einsum("hij,pj->hpi", turned, part.normals), cloud.normals[nearest])
        return np.where(cosine > 0.3, np.minimum(distance, 2 * CAP), 2 * CAP), nearest

    first = residuals(rotations, translations, face[:_COARSEST])[0].mean(axis=1)
    order = np.argsort(first, kind="stable")[:_KEPT_COARSE]
    kept = np.unique(np.concatenate((np.arange(num_proposals), order)))
    rotations, translations, part = rotations[kept], translations[kept], face[:_COARSE]
    for _ in range(_SIFTING_ROUNDS):
        distance, nearest = residuals(rotations, translations, part)
        # Trimmed ICP: the farthest quarter is hair, shoulders, or what the scan does not show.
        limit = np.quantile(distance, 0.75, axis=1, keepdims=True)
        trimmed = np.where((distance <= limit) & (distance < 2 * CAP), 1.0, 1e-6)
        fitted = alignment.rigid(np.broadcast_to(part.points, (*distance.shape, 3)), cloud.points[nearest], trimmed)
        rotations, translations = fitted.rotation, fitted.translation
    order = np.argsort(residuals(rotations, translations, part)[0].mean(axis=1), kind="stable")
    picked: list[alignment.Transform] = []
    for index in order:
        pose = alignment.Transform(np.ones(()), rotations[index], translations[index])
        if not any(same(pose, other) for other in picked):
            picked.append(pose)
        if len(picked) == _KEPT_FINE:
            break
    return np.stack([pose.rotation for pose in picked]), np.stack([pose.translation for pose in picked])


def neighbours(rotations: Array, translations: Array, nose: Array) -> tuple[Array, Array]:
    """Poses, and each of them turned and slid to where ICP may have got stuck beside.

    A face slides along itself: a nose on a chin, turned back, is a minimum of its own.

    Args:
      rotations: [H, 3, 3], scan_from_template.
      translations: [H, 3], mm.
      nose: [3], mm, tip of the template's nose, about which it is turned.

    Returns:
      [7 H, 3, 3] and [7 H, 3], rotations and translations, the given ones first.
    """
    moves = [(0.0, 0.0, 0.0), *((sign * _BESIDE_DEGREES, 0.0, 0.0) for sign in (-1, 1))]
    moves += [(0.0, sign * _BESIDE_DEGREES, slide * _BESIDE_MM) for sign in (-1, 1) for slide in (0, sign)]
    turned, shifted = [], []
    for yaw, pitch, slide in moves:
        turn = rotation.matrix_from_yaw_pitch_roll(yaw, pitch, 0.0)
        turned.append(rotations @ turn)
        tip = np.einsum("hij,j->hi", rotations, nose + [0.0, slide, 0.0]) + translations
        shifted.append(tip - np.einsum("hij,j->hi", turned[-1], nose))
    return np.concatenate(turned), np.concatenate(shifted)


def settle(rotations: Array, translations: Array, face: TemplatePoints, cloud: ScanPoints) -> tuple[Array, Array]:
    """Trimmed point-to-plane ICP of all candidates at once, on samples and the planes through them.

    Args:
      rotations: [H, 3, 3], scan_from_template.
      translations: [H, 3], mm.
      face: of the template.
      cloud: of the scan.

    Returns:
      Rotations and translations, the best first.
    """
    part = face[:_SETTLING]
    for _ in range(_SETTLING_ROUNDS):
        moved = np.einsum("hij,pj->hpi", rotations, part.points) + translations[:, None]
        distance, nearest = cloud.nearest(moved)
        planes = cloud.normals[nearest]
        cosine = np.einsum("hpi,hpi->hp", np.einsum("hij,pj->hpi", rotations, part.normals), planes)
        usable = (cosine > 0.5) & ~cloud.on_border[nearest] & (distance < 2 * CAP)
        # 6 mm is about the distance between samples: a closer one says nothing about the distance to the plane.
        ordered = np.sort(np.where(usable, distance, np.inf), axis=1)
        trimmed = (0.8 * usable.sum(axis=1, keepdims=True)).astype(np.intp)
        limit = np.maximum(np.take_along_axis(ordered, np.minimum(trimmed, len(part.points) - 1), axis=1), 6.0)
        used = (usable & (distance <= limit)).astype(np.float64)
        rotations, translations = plane_step(moved, planes, cloud.points[nearest], used, part.points)
        residuals = np.where(cosine > 0.3, np.minimum(distance, CAP), CAP).mean(axis=1)
    order = np.argsort(residuals, kind="stable")
    return rotations[order], translations[order]


def plane_step(moved: Array, planes: Array, found: Array, used: Array, points: Array) -> tuple[Array, Array]:
    """One step of point-to-plane ICP.

    Args:
      moved: [H, Q, 3], mm, points of the template where they are.
      planes: [H, Q, 3], normals of the scan at what they found.
      found: [H, Q, 3], mm.
      used: [H, Q], weights.
      points: [Q, 3], mm, points of the template.

    Returns:
      Rotations [H, 3, 3] and translations [H, 3], scan_from_template.
    """
    count = used.sum(axis=1)
    centre = np.einsum("hp,hpk->hk", used, moved) / np.maximum(count, 1)[:, None]
    # Linearised: n . (turn x (m - c) + shift) = n . (found - m); (m - c) x n is the derivative by the turn.
    rows = np.concatenate((np.cross(moved - centre[:, None], planes), planes), axis=2)
    right = np.einsum("hpk,hpk->hp", planes, found - moved)
    weighted = np.swapaxes(used[..., None] * rows, 1, 2)
    matrix = weighted @ rows
    # The prior of a step: 10 mm of shift, or as much at the face's rim by turning.
    matrix += np.diag([60.0**2] * 3 + [1.0] * 3) * 1e-3 * np.maximum(count, 12)[:, None, None]
    step = np.linalg.solve(matrix, weighted @ right[..., None])[..., 0]
    target = moved + np.cross(step[:, None, :3], moved - centre[:, None]) + step[:, None, 3:]
    fitted = alignment.rigid(np.broadcast_to(points, target.shape), target)
    return fitted.rotation, fitted.translation


def angle(first: Array, second: Array) -> float:
    """Degrees between two rotations [3, 3]."""
    return float(np.degrees(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))))


def same(first: alignment.Transform, second: alignment.Transform) -> bool:
    """Whether ICP from two poses ends in the same place."""
    shift = float(np.linalg.norm(first.translation - second.translation))
    return angle(first.rotation, second.rotation) < _SAME_DEGREES and shift < _SAME_MM
