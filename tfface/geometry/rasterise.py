"""Rasterisation in NumPy: what samples of one camera's picture see of a triangle mesh.

For a mesh that one camera looks at, this takes a fraction of the time of a tree (`raycast`), which pays where many rays
from anywhere meet the same mesh. Both answer alike.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.geometry import raycast, rotation

Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.integer]

_SLACK = 1e-4
"""What a barycentric coordinate may lie below 0: rounding must not open the edge between two triangles."""


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Points of a picture: the centres of count x count squares in each of some pixels, row by row.

    Attributes:
      number: [H, W] int32, of each pixel among those that have samples; -1 for the others.
      pixels: how many have samples.
      count: samples along each side of a pixel.
    """

    number: npt.NDArray[np.int32]
    pixels: int
    count: int

    @classmethod
    def of(cls, size_hw: tuple[int, int], rows: Indices, columns: Indices, count: int) -> "Samples":
        """Samples of the pixels at rows [Q] and columns [Q]; sample s of pixel q is number q count^2 + s."""
        number = np.full(size_hw, -1, np.int32)
        number[rows, columns] = np.arange(len(rows), dtype=np.int32)
        return cls(number, len(rows), count)

    def __len__(self) -> int:
        return self.pixels * self.count**2


@dataclasses.dataclass(frozen=True, eq=False)
class Fragments:
    """Where triangles cover samples, in no order.

    Attributes:
      sample: [N], number of the sample.
      triangle: [N], index of the triangle.
      barycentric: [N, 3] float32, weights of the triangle's corners in space, not in the picture.
      depth: [N] float32, mm, z in the camera frame.
    """

    sample: Indices
    triangle: Indices
    barycentric: Array
    depth: Array

    def __getitem__(self, chosen: npt.NDArray[np.generic]) -> "Fragments":
        """Some of them: indices or a mask."""
        return Fragments(self.sample[chosen], self.triangle[chosen], self.barycentric[chosen], self.depth[chosen])

    def nearest(self, num_samples: int) -> raycast.Hits:
        """The foremost at each sample, [S]: what the sample sees."""
        depth = np.full(num_samples, np.inf, np.float32)
        np.minimum.at(depth, self.sample, self.depth)
        front = self[np.flatnonzero(self.depth == depth[self.sample])]
        triangle = np.full(num_samples, -1, np.int32)
        barycentric = np.zeros((num_samples, 3), np.float32)
        triangle[front.sample], barycentric[front.sample] = front.triangle, front.barycentric
        return raycast.Hits(triangle, barycentric, depth)


def project(
    vertices: npt.ArrayLike, quaternion: npt.ArrayLike, translation: npt.ArrayLike, intrinsics: npt.ArrayLike
) -> Array:
    """Vertices as a camera sees them: (x, y) in the pixel frame, as of `camera.project`, and depth.

    Args:
      vertices: [V, 3], mm, model frame.
      quaternion: [4], cam_from_model.
      translation: [3], mm, cam_from_model.
      intrinsics: [3, 3], px_from_cam, without skew.

    Returns:
      [3, V] float32: x and y, px, and depth, mm.
    """
    cam_from_model = rotation.matrix_from_quaternion(np.asarray(quaternion, np.float64)).astype(np.float32)
    seen = cam_from_model @ np.asarray(vertices, np.float32).T + np.asarray(translation, np.float32)[:, None]
    k = np.asarray(intrinsics, np.float32)
    nearness = 1 / np.maximum(seen[2], np.float32(schema.MIN_DEPTH))
    seen[0] = k[0, 0] * seen[0] * nearness + k[0, 2]
    seen[1] = k[1, 1] * seen[1] * nearness + k[1, 2]
    return seen


class Screen:
    """Triangles before one camera, seen from both sides; those that reach behind the camera are not there."""

    def __init__(self, projected: Array, triangles: Indices, size_hw: tuple[int, int], chosen: Indices | None = None):
        """Prepares the triangles that touch the picture.

        Args:
          projected: [3, V], as of `project`.
          triangles: [F, 3].
          size_hw: height and width of the picture.
          chosen: [K], the triangles that are there; all of them if None.
        """
        height, width = size_hw
        x, y, depth = projected
        corners = np.asarray(triangles).T
        index = np.ascontiguousarray(corners if chosen is None else corners[:, chosen], np.intp)
        xs, ys = x[index], y[index]
        low_x, high_x, low_y, high_y = *_range(xs), *_range(ys)
        touching = (high_x > 0) & (low_x < width) & (high_y > 0) & (low_y < height)
        touching &= np.minimum(np.minimum(*(near := depth[index])[:2]), near[2]) > schema.MIN_DEPTH
        # Edge functions over twice the area: the weights (1 - s - t, s, t) of a triangle's corners at (x, y) of the
        # picture are linear, s = ((x - ax) (cy - ay) - (y - ay) (cx - ax)) / area, t = ... with b for c.
        (ax, bx, cx), (ay, by, cy) = xs, ys
        abx, acx, aby, acy = bx - ax, cx - ax, by - ay, cy - ay
        area = abx * acy - aby * acx
        touching &= area != 0
        met = np.flatnonzero(touching)
        self._triangle = met if chosen is None else chosen[met]
        inverse = 1 / area[met]
        self._slopes = acy[met] * inverse, -acx[met] * inverse, -aby[met] * inverse, abx[met] * inverse
        self._corner = ax[met], ay[met]
        self._bounds = tuple(bound[met] for bound in (low_x, high_x, low_y, high_y))
        self._nearness = tuple(1 / corner[met] for corner in near)
        self._size_hw = size_hw

    def fragments(self, samples: Samples) -> Fragments:
        """Where the triangles cover samples of a picture of the screen's size."""
        count = np.float32(samples.count)
        height, width = (size * samples.count for size in self._size_hw)
        # Samples lie at whole numbers + 1/2 of a picture that is `count` times as large.
        low_x, high_x, low_y, high_y = (bound * count - np.float32(0.5) for bound in self._bounds)
        top, bottom = np.maximum(np.ceil(low_y), 0), np.minimum(np.floor(high_y), height - 1)
        met = np.flatnonzero((top <= bottom) & (np.ceil(low_x) <= np.floor(high_x)))
        if samples.pixels < samples.number.size:
            met = met[self._asked(samples, met)]
        if not len(met):
            nothing = np.zeros(0, np.intp)
            return Fragments(nothing, nothing, np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
        ax, ay = (corner[met] * count for corner in self._corner)
        sx, sy, tx, ty = (slope[met] / count for slope in self._slopes)

        # Rows of the triangles, and in each of them the columns where no weight is below 0.
        uppermost = top[met].astype(np.intp)
        of, row = _counted(uppermost, bottom[met].astype(np.intp) - uppermost + 1)
        y = row.astype(np.float32) + np.float32(0.5) - ay[of]
        sx, tx, s, t, ax = sx[of], tx[of], y * sy[of], y * ty[of], ax[of]
        left, right = np.zeros(len(of), np.float32), np.full(len(of), width - 1, np.float32)
        for slope, start in ((sx, s), (tx, t), (-sx - tx, 1 - s - t)):
            with np.errstate(divide="ignore", invalid="ignore"):  # A weight that is level is looked at below.
                end = (-_SLACK - start) / slope + (ax - np.float32(0.5))
            np.maximum(left, end, out=left, where=slope > 0)
            np.minimum(right, end, out=right, where=slope < 0)
            right[(slope == 0) & (start < -_SLACK)] = -1
        leftmost = np.ceil(left).astype(np.intp)
        span, column = _counted(leftmost, np.maximum(np.floor(right).astype(np.intp) - leftmost + 1, 0))
        row = row[span]
        pixel = samples.number[row // samples.count, column // samples.count]
        if samples.pixels < samples.number.size:
            asked = np.flatnonzero(pixel >= 0)
            span, column, row, pixel = span[asked], column[asked], row[asked], pixel[asked]

        x = column.astype(np.float32) + np.float32(0.5) - ax[span]
        second, third = s[span] + x * sx[span], t[span] + x * tx[span]
        of = met[of[span]]
        # 1 / depth is linear in the picture; so is a weight over depth.
        shares = np.stack((1 - second - third, second, third), axis=-1)
        for corner, nearness in enumerate(self._nearness):
            shares[:, corner] *= nearness[of]
        depth = 1 / (shares[:, 0] + shares[:, 1] + shares[:, 2])
        shares *= depth[:, None]
        down, across = row % samples.count, column % samples.count
        sample = (pixel * samples.count + down) * samples.count + across
        return Fragments(sample, self._triangle[of], shares, depth)

    def nearest(self, samples: Samples) -> raycast.Hits:
        """What samples see, [S]."""
        return self.fragments(samples).nearest(len(samples))

    def _asked(self, samples: Samples, met: Indices) -> npt.NDArray[np.bool_]:
        """Whether any pixel with samples is within a triangle's bounds, by sums over rectangles."""
        height, width = self._size_hw
        sums = np.zeros((height + 1, width + 1), np.int32)
        np.cumsum(np.cumsum(samples.number >= 0, axis=0, dtype=np.int32), axis=1, out=sums[1:, 1:])
        low_x, high_x, low_y, high_y = (bound[met] for bound in self._bounds)
        left, right = np.maximum(low_x, 0).astype(np.intp), np.minimum(high_x, width - 1).astype(np.intp) + 1
        top, bottom = np.maximum(low_y, 0).astype(np.intp), np.minimum(high_y, height - 1).astype(np.intp) + 1
        return sums[bottom, right] - sums[bottom, left] - sums[top, right] + sums[top, left] > 0


def _range(values: Array) -> tuple[Array, Array]:
    """The least and the largest of three rows [3, F]."""
    a, b, c = values
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)


def _counted(first: Indices, number: Indices) -> tuple[Indices, Indices]:
    """first, first + 1, ... of each, `number` of them, one behind the other: (of which one, the count)."""
    of = np.repeat(np.arange(len(first)), number)
    return of, np.arange(len(of)) - (np.cumsum(number) - number - first)[of]
