"""Where brows, lips, beard and hair lie, from the 68 landmarks alone, so that every topology shares one face paint.

All functions work on points of the template, in its frame, and on `Landmarks`, its 68 landmark positions. Profiles over
|azimuth| are the outlines of beard and hair as one would draw them on a head unrolled about its vertical axis.
"""

import dataclasses
import functools
import itertools

import numpy as np
import numpy.typing as npt

from tfface import schema

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Landmarks:
    """Landmark positions of the template and the vertical axis about which the head is unrolled.

    Attributes:
      positions: [68, 3], mm, in the order of `schema.IBUG68`.
    """

    positions: npt.NDArray[np.floating]

    def named(self, prefix: str) -> npt.NDArray[np.floating]:
        """Positions of the landmarks whose names begin with `prefix`, [L, 3]."""
        return self.positions[_indices(prefix)]

    @property
    def axis(self) -> tuple[float, float]:
        """(x, z) of the head's vertical axis: midway between the ends of the jaw line, and a little behind them."""
        ends = self.positions[[0, 16]]
        width = float(np.linalg.norm(ends[0] - ends[1]))
        return float(ends[:, 0].mean()), float(ends[:, 2].mean() + 0.15 * width)

    @property
    def third(self) -> float:
        """mm, height of the middle third of the face, from the brows' line (glabella) to the base of the nose."""
        return float(self.named("nose_base_2")[0, 1] - self.glabella)

    @property
    def glabella(self) -> float:
        """Height (y) of the line between the inner ends of the brows, mm."""
        return float(np.mean([self.named("brow_right_4")[0, 1], self.named("brow_left_0")[0, 1]]))

    def azimuth(self, points: npt.NDArray[np.floating]) -> Array:
        """Angle of points [..., 3] about the head's axis, radians, 0 in front, positive towards +x, [...]."""
        x, z = self.axis
        return np.arctan2(points[..., 0] - x, z - points[..., 2]).astype(np.float32)


@functools.cache
def _indices(prefix: str) -> list[int]:
    return [i for i, name in enumerate(schema.IBUG68) if name.startswith(prefix)]


def blob(points: npt.NDArray[np.floating], centre: npt.NDArray[np.floating], deviation: float) -> Array:
    """Gaussian of the distance, mm, of points [..., 3] or [..., 2] from a centre, [3] or [2]; 1 there, [...]."""
    squared = ((points - centre) ** 2).sum(axis=-1)
    return np.exp(-squared / (2 * deviation**2)).astype(np.float32)


def brow(points: npt.NDArray[np.floating], landmarks: Landmarks) -> tuple[Array, Array]:
    """Coordinates along and across the nearer brow.

    Args:
      points: [..., 3], mm, model axes.
      landmarks: of the head.

    Returns:
      (along, across), each [...]: the share of the brow's length from its inner (0) to its outer end (1), beyond 0..1
      outside; and mm from its middle line, positive upwards.
    """
    right = landmarks.named("brow_right_")[::-1]
    left = landmarks.named("brow_left_")
    on_left = points[..., 0] > landmarks.axis[0]
    sides = [_curve_coordinates(points, curve) for curve in (left, right)]
    along, across = (np.where(on_left, a, b).astype(np.float32) for a, b in zip(*sides, strict=True))
    return along, across


def _curve_coordinates(
    points: npt.NDArray[np.floating], curve: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Along and across a polyline; across is signed by whether the point lies above (smaller y) the polyline."""
    lengths = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    starts = np.concatenate(([0.0], np.cumsum(lengths)))
    best = np.full(points.shape[:-1], np.inf)
    along, across = np.zeros_like(best), np.zeros_like(best)
    last = len(lengths) - 1
    for i, (a, b) in enumerate(itertools.pairwise(curve)):
        direction = (b - a) / lengths[i]
        s = (points - a) @ direction
        inside = np.clip(s, 0 if i else -np.inf, np.inf if i == last else lengths[i])
        offset = points - (a + inside[..., None] * direction)
        squared = (offset**2).sum(axis=-1)
        nearer = squared < best
        best = np.where(nearer, squared, best)
        along = np.where(nearer, (starts[i] + inside) / starts[-1], along)
        across = np.where(nearer, -np.sign(offset[..., 1]) * np.sqrt(squared), across)
    return along, across


def outline(corners: npt.NDArray[np.floating], steps: int = 5) -> npt.NDArray[np.floating]:
    """A closed Catmull-Rom curve through corners, [steps * L, D]."""
    before, after, after2 = (np.roll(corners, shift, axis=0) for shift in (1, -1, -2))
    t = (np.arange(steps) / steps)[:, None, None]
    curve = (
        2 * corners
        + (after - before) * t
        + (2 * before - 5 * corners + 4 * after - after2) * t**2
        + (3 * corners - before - 3 * after + after2) * t**3
    ) / 2
    return curve.transpose(1, 0, 2).reshape(-1, corners.shape[1])


def inside_distance(points: npt.NDArray[np.floating], corners: npt.NDArray[np.floating]) -> Array:
    """Signed distance of points [..., 3] to the outline of corners [L, 3] in the plane (x, y), mm, + inside, [...]."""
    xy = points[..., :2]
    curve = outline(corners[:, :2])
    squared = np.full(xy.shape[:-1], np.inf)
    inside = np.zeros(xy.shape[:-1], bool)
    for a, b in zip(curve, np.roll(curve, -1, axis=0), strict=True):
        edge, offset = b - a, xy - a
        t = np.clip((offset @ edge) / max(float(edge @ edge), 1e-12), 0, 1)
        squared = np.minimum(squared, ((offset - t[..., None] * edge) ** 2).sum(axis=-1))
        crosses = (a[1] > xy[..., 1]) != (b[1] > xy[..., 1])
        if b[1] != a[1]:
            inside ^= crosses & (offset[..., 0] < (xy[..., 1] - a[1]) * edge[0] / edge[1])
    return (np.where(inside, 1, -1) * np.sqrt(squared)).astype(np.float32)


def lips(points: npt.NDArray[np.floating], landmarks: Landmarks) -> Array:
    """Signed distance of points [..., 3] to the lips' outline, mm, positive on them, [...]."""
    return _only_in_front(inside_distance(points, landmarks.named("lip_outer_")), points, landmarks, "lip_outer_")


def eyes(points: npt.NDArray[np.floating], landmarks: Landmarks) -> Array:
    """Signed distance of points [..., 3] to the nearer eye's outline, mm, positive inside it, [...]."""
    sides = [inside_distance(points, landmarks.named(f"eye_{side}_")) for side in ("right", "left")]
    return _only_in_front(np.maximum(*sides), points, landmarks, "eye_")


def mouth_line(points: npt.NDArray[np.floating], landmarks: Landmarks) -> Array:
    """Distance of points [..., 3] to the line where the lips meet, mm, [...]."""
    inner = landmarks.named("lip_inner_")
    line = np.stack([inner[0], *(inner[1:4] + inner[7:4:-1]) / 2, inner[4]])
    along, across = _curve_coordinates(points, line)
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    beyond = np.maximum(np.maximum(-along, along - 1), 0) * length
    return np.hypot(across, beyond).astype(np.float32)


def _only_in_front(distance: Array, points: npt.NDArray[np.floating], landmarks: Landmarks, prefix: str) -> Array:
    """Makes a frontal-plane distance negative at the back of the head, which projects to the same place."""
    depth = landmarks.named(prefix)[:, 2].max() + 0.4 * landmarks.third
    return np.where(points[..., 2] < depth, distance, -np.float32(landmarks.third))


def beard(points: npt.NDArray[np.floating], landmarks: Landmarks) -> Array:
    """How far points [..., 3] lie inside the region where a beard grows, mm, positive inside, [...]."""
    nose, corner = landmarks.named("nose_base_2")[0], landmarks.named("lip_outer_")[[0, 6]]
    jaw = landmarks.named("jaw_")
    at = np.abs(landmarks.azimuth(jaw))
    angles = [0.0, np.abs(landmarks.azimuth(corner)).mean(), at[[3, 13]].mean(), at[[1, 15]].mean(), at[[0, 16]].mean()]
    tops = [
        nose[1] + 3,
        corner[:, 1].mean() - 9,
        jaw[[2, 14], 1].mean(),
        jaw[[1, 15], 1].mean() - 8,
        jaw[[0, 16], 1].mean(),
    ]
    azimuth = np.abs(landmarks.azimuth(points))
    top = points[..., 1] - np.interp(azimuth, angles, tops)
    bottom = np.interp(azimuth, [0, at[[4, 12]].mean()], [jaw[8, 1] + 22, jaw[[4, 12], 1].mean() + 28]) - points[..., 1]
    back = (at[[0, 16]].mean() + 0.04 - azimuth) * 90
    return np.minimum(np.minimum(top, bottom), back).astype(np.float32)


def hairline(points: npt.NDArray[np.floating], landmarks: Landmarks, fringe: float = 0.0, long: bool = False) -> Array:
    """How far above the hairline, mm, positive where hair covers the head, [...]; temples and nape, but not the ears.

    Args:
      points: [..., 3], mm.
      landmarks: of the same head.
      fringe: mm by which the hairline above the forehead is lower than it grows; negative if it recedes.
      long: whether the hair hangs over the ears and down the neck.
    """
    jaw = landmarks.named("jaw_")
    ear = float(np.abs(landmarks.azimuth(jaw[[0, 16]])).mean())
    ear_top, ear_base = jaw[[0, 16], 1].mean(), jaw[[1, 15], 1].mean()
    front = landmarks.glabella - 0.74 * landmarks.third + fringe
    temple = landmarks.glabella - 0.1 * landmarks.third + 0.5 * min(fringe, 0)
    angles = [0.0, 0.45 * ear, 0.72 * ear, ear - 0.1, ear, ear + 0.05, ear + 0.55, ear + 0.75, np.pi]
    lines = [
        front,
        front + 2,
        max(temple, front),
        ear_top + 5,
        ear_base,
        ear_top - 4,
        ear_top,
        ear_base + 35,
        ear_base + 50,
    ]
    if long:
        far = ear_base + 5 * landmarks.third
        lines[3:] = [ear_base, far, far, far, far, far]
    return (np.interp(np.abs(landmarks.azimuth(points)), angles, lines) - points[..., 1]).astype(np.float32)


def cap_line(points: npt.NDArray[np.floating], landmarks: Landmarks, depth: float) -> Array:
    """How far above the rim of a cap, mm, positive below it where the cap sits, [...].

    Args:
      points: [..., 3], mm.
      landmarks: of the same head.
      depth: mm from the glabella up to the rim in front; at the back it lies lower.
    """
    turn = 0.5 - 0.5 * np.cos(landmarks.azimuth(points))
    front, back = landmarks.glabella - depth, landmarks.glabella + 0.25 * landmarks.third
    return (front + turn * (back - front) - points[..., 1]).astype(np.float32)
