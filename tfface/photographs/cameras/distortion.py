"""What a lens does to straight lines, and a photograph without it."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from tfface.geometry import camera

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

_ROWS = 256  # of a photograph, looked up at a time: memory stays small


@dataclasses.dataclass(frozen=True)
class Distortion:
    """A lens by OpenCV's formulas, on points (x, y) of the camera frame at z = 1, r^2 = x^2 + y^2.

    Perspective: ``x' = x (1 + k1 r^2 + k2 r^4 + ...) / (1 + d1 r^2 + ...) + 2 (v . x) x + v r^2`` with
    ``v = (p2, p1)``. Fisheye: ``x' = x theta (1 + k1 theta^2 + k2 theta^4 + ...) / r`` with ``theta = atan r``.

    Attributes:
      radial: k1, k2, ...
      denominator: d1, d2, ...; OpenCV calls them k4, k5, k6.
      tangential: v = (p2, p1); OpenCV names them the other way round.
      fisheye: Which of the two formulas.

    Raises:
      ValueError: If a coefficient is not finite, or a fisheye has a denominator or a tangential
        part, which its formula does not know.
    """

    radial: tuple[float, ...] = ()
    denominator: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)
    fisheye: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite((*self.radial, *self.denominator, *self.tangential)).all():
            raise ValueError(f"distortion: expected finite coefficients, got {self.radial}")
        if self.fisheye and (any(self.denominator) or any(self.tangential)):
            raise ValueError("distortion: a fisheye has radial coefficients alone")

    @property
    def is_none(self) -> bool:
        """Whether straight lines stay straight."""
        return not (self.fisheye or any(self.radial) or any(self.denominator) or any(self.tangential))

    def distorted(self, xy: npt.ArrayLike) -> Array:
        """Where points [..., 2] of a camera without distortion are seen, both at z = 1."""
        x = np.asarray(xy, np.float64)
        squared = np.sum(x * x, axis=-1, keepdims=True)
        if self.fisheye:
            r = np.sqrt(squared)
            theta = np.arctan(r)
            # theta / r is 1 in the middle.
            bent = np.divide(theta, r, out=np.ones_like(r), where=r > 1e-9)
            return x * bent * _one_plus(self.radial, theta * theta)
        v = np.asarray(self.tangential)
        along = 2 * (x @ v)[..., None] * x + v * squared
        return x * _one_plus(self.radial, squared) / _one_plus(self.denominator, squared) + along

    def turned(self, turn: npt.ArrayLike) -> "Distortion":
        """The same lens in a camera frame that is turned about its axis by [2, 2]: ``x_new = turn x``."""
        x, y = np.asarray(turn, np.float64) @ np.asarray(self.tangential)
        return dataclasses.replace(self, tangential=(float(x), float(y)))


NO_DISTORTION = Distortion()


def _one_plus(coefficients: tuple[float, ...], squared: Array) -> Array:
    """1 + c1 s + c2 s^2 + ..., by Horner's rule."""
    total = np.zeros_like(squared)
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * squared
    return 1 + total


def undistort(pixels: Picture, intrinsics: npt.ArrayLike, distortion: Distortion) -> Picture:
    """The photograph that a camera of the same K without distortion takes; black where the lens saw nothing.

    Args:
      pixels: [H, W, 3].
      intrinsics: [3, 3], px_from_cam, of both.
      distortion: Of the lens, in the frame of these pixels.

    Returns:
      [H, W, 3].
    """
    if distortion.is_none:
        return pixels
    K = np.asarray(intrinsics, np.float64)
    height, width = pixels.shape[:2]
    result = np.empty_like(pixels)
    for begin in range(0, height, _ROWS):
        rows, columns = np.mgrid[begin : min(begin + _ROWS, height), :width] + 0.5
        straight = camera.rays_from_px(np.stack((columns.ravel(), rows.ravel()), axis=-1), K)[:, :2]
        px = distortion.distorted(straight) @ K[:2, :2].T + K[:2, 2]
        place = px[:, 1] - 0.5, px[:, 0] - 0.5  # the interpolation counts from the centre of the first pixel
        for channel in range(pixels.shape[2]):
            values = scipy.ndimage.map_coordinates(pixels[..., channel], place, order=1, mode="grid-constant")
            result[begin : begin + _ROWS, :, channel] = values.reshape(rows.shape)
    return result
