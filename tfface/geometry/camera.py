"""The pinhole camera of section 3.2 of the paper: projection, rays, and what crops, resizes and flips do to K and pose.

Frames and pixels follow `tfface.schema`. `project` is TensorFlow; everything else is NumPy, except that the functions
which edit intrinsics and poses take TensorFlow tensors too and then return tensors.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfface.geometry import rotation, tensor_rotation, tensors
from tfface.schema import MIN_DEPTH

if TYPE_CHECKING:
    import tensorflow as tf

Array = npt.NDArray[np.floating]


def _check_shapes(points: Any, quaternion: Any, translation: Any, intrinsics: Any) -> None:
    """Raises ValueError unless the four arguments of a projection fit; unknown static dimensions pass."""
    arguments = {
        "points": (points, (None, 3)),
        "quaternion": (quaternion, (4,)),
        "translation": (translation, (3,)),
        "intrinsics": (intrinsics, (3, 3)),
    }
    leading = {}
    for name, (value, trailing) in arguments.items():
        shape = list(value.shape)
        expected = ", ".join("P" if size is None else str(size) for size in trailing)
        fits = len(shape) >= len(trailing) and all(
            None in (size, wanted) or size == wanted
            for size, wanted in zip(shape[-len(trailing) :], trailing, strict=True)
        )
        if not fits:
            raise ValueError(f"{name} must have the shape [..., {expected}], got {shape}")
        leading[name] = shape[: -len(trailing)]
    # Arrays of different rank broadcast from the right, which would pair batch with views: only constants may be short.
    ranks = {len(shape) for shape in leading.values() if shape}
    sizes = zip(*(shape for shape in leading.values() if shape), strict=True) if len(ranks) == 1 else ()
    if len(ranks) > 1 or any(len(set(size) - {None, 1}) > 1 for size in sizes):
        raise ValueError(
            "points, quaternion, translation and intrinsics must have the same number of leading dimensions, each of "
            f"the same size or 1, or none at all; got {leading}"
        )


def project(points: Any, quaternion: Any, translation: Any, intrinsics: Any) -> "tf.Tensor":
    """Projects points into an image (Eq. 3-4), differentiably, with TensorFlow.

    x_cam = R(q) x_model + t;   px = K x_cam / max(z_cam, MIN_DEPTH).

    A point at or behind the camera has no projection. Its depth is clamped to `schema.MIN_DEPTH`, so values and
    gradients are finite for every input; there, the gradient with respect to depth is zero.

    The leading dimensions are the same in number, and each broadcasts from 1: points [B, 1, P, 3] with quaternion
    [B, N, 4] gives [B, N, P, 2]. An argument without leading dimensions is shared by all. The batch may be unknown.

    Args:
      points: [..., P, 3], mm, model frame, float32 or float64.
      quaternion: [..., 4], cam_from_model, of unit length (not normalised here), same dtype.
      translation: [..., 3], mm, cam_from_model, same dtype.
      intrinsics: [..., 3, 3], px_from_cam, same dtype.

    Returns:
      [..., P, 2], pixel frame.

    Raises:
      ValueError: If the shapes do not fit, or a dtype is neither float32 nor float64 (a half-precision projection is
        wrong by pixels).
    """
    import tensorflow as tf

    return tf.linalg.matrix_transpose(project_rows(points, quaternion, translation, intrinsics))


def project_rows(points: Any, quaternion: Any, translation: Any, intrinsics: Any) -> "tf.Tensor":
    """`project` with all x before all y: a loss over many points and its gradient take half the time.

    Its arguments and errors are those of `project`.

    Returns:
      [..., 2, P], pixel frame.
    """
    import tensorflow as tf

    points = tf.convert_to_tensor(points)
    quaternion = tf.convert_to_tensor(quaternion)
    translation = tf.convert_to_tensor(translation)
    intrinsics = tf.convert_to_tensor(intrinsics)
    dtypes = [tensor.dtype for tensor in (points, quaternion, translation, intrinsics)]
    if set(dtypes) not in ({tf.float32}, {tf.float64}):
        names = [dtype.name for dtype in dtypes]
        raise ValueError(
            f"points, quaternion, translation and intrinsics must all be float32 or all be float64, got {names}"
        )
    _check_shapes(points, quaternion, translation, intrinsics)
    cam_from_model = tensor_rotation.matrix_from_quaternion(quaternion)
    # K's upper left part, which does not involve depth, is multiplied into R and t: nine numbers instead of P points.
    # Coordinates come first, [..., 3, P], as this product is several times faster than the one with P first.
    focal, centre = intrinsics[..., :2, :2], intrinsics[..., :2, 2:]
    xy = tf.matmul(focal @ cam_from_model[..., :2, :], points, transpose_b=True) + focal @ translation[..., :2, None]
    depth = tf.matmul(cam_from_model[..., 2:, :], points, transpose_b=True) + translation[..., 2:, None]
    return xy / tf.maximum(depth, MIN_DEPTH) + centre


def project_array(
    points: npt.ArrayLike, quaternion: npt.ArrayLike, translation: npt.ArrayLike, intrinsics: npt.ArrayLike
) -> Array:
    """`project` in NumPy: same arguments, same formula, same result; in float64 if one of the arguments is.

    Returns:
      [..., P, 2], pixel frame.

    Raises:
      ValueError: If the shapes do not fit.
    """
    points, quaternion, translation, intrinsics = (
        np.asarray(value) for value in (points, quaternion, translation, intrinsics)
    )
    _check_shapes(points, quaternion, translation, intrinsics)
    cam_from_model = rotation.matrix_from_quaternion(quaternion)
    points_cam = points @ np.swapaxes(cam_from_model, -1, -2) + translation[..., None, :]
    xy = points_cam[..., :2] / np.maximum(points_cam[..., 2:], MIN_DEPTH)
    return xy @ np.swapaxes(intrinsics[..., :2, :2], -1, -2) + intrinsics[..., None, :2, 2]


def rays_from_px(px: npt.ArrayLike, intrinsics: npt.ArrayLike) -> Array:
    """Directions of the rays through image points: the points of the camera frame at z = 1 that project there.

    Args:
      px: [..., Q, 2], pixel frame.
      intrinsics: [..., 3, 3], px_from_cam, leading dimensions broadcast with those of `px`.

    Returns:
      [..., Q, 3], camera frame, third component 1. A multiple d of a direction is the point at depth d.

    Raises:
      ValueError: If a shape does not fit.
    """
    px, intrinsics = np.asarray(px), np.asarray(intrinsics)
    if px.ndim < 2 or px.shape[-1] != 2:
        raise ValueError(f"px must have the shape [..., Q, 2], got {list(px.shape)}")
    _check_intrinsics(intrinsics)
    cam_from_px = np.linalg.inv(intrinsics[..., :2, :2])
    xy = (px - intrinsics[..., None, :2, 2]) @ np.swapaxes(cam_from_px, -1, -2)
    return np.concatenate((xy, np.ones_like(xy[..., :1])), axis=-1)


def intrinsics_from_fov(size_hw: tuple[int, int], fov_degrees: npt.ArrayLike) -> Array:
    """K of a camera with square pixels and a centred principal point: f = (width / 2) / tan(fov / 2).

    Args:
      size_hw: Height and width of the image, px.
      fov_degrees: [...], horizontal field of view (across the width), in (0, 180).

    Returns:
      [..., 3, 3] float32, px_from_cam.

    Raises:
      ValueError: If a size is not positive or the field of view is outside (0, 180).
    """
    height, width = size_hw
    fov = np.asarray(fov_degrees, np.float64)
    if height <= 0 or width <= 0:
        raise ValueError(f"size_hw must be positive, got {tuple(size_hw)}")
    if not np.all((fov > 0) & (fov < 180)):
        raise ValueError(f"fov_degrees must lie between 0 and 180, got {fov.tolist()}")
    intrinsics = np.zeros((*fov.shape, 3, 3))
    intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = 0.5 * width / np.tan(np.radians(fov) / 2)
    intrinsics[..., :2, 2] = 0.5 * width, 0.5 * height
    intrinsics[..., 2, 2] = 1
    return intrinsics.astype(np.float32)


def crop_intrinsics(intrinsics: Any, x: Any, y: Any) -> Any:
    """K of a crop whose top-left pixel has its outer corner at (x, y) of the image; px_crop = px - (x, y).

    Args:
      intrinsics: [..., 3, 3], px_from_cam of the image.
      x: [...], px, may be fractional or negative.
      y: [...], px.

    Returns:
      [..., 3, 3], px_from_cam of the crop.

    Raises:
      ValueError: If the shape of `intrinsics` is not [..., 3, 3].
    """
    intrinsics = tensors.floating(intrinsics)
    _check_intrinsics(intrinsics)
    along_x = _constant([[0, 0, 1], [0, 0, 0], [0, 0, 0]], intrinsics)
    along_y = _constant([[0, 0, 0], [0, 0, 1], [0, 0, 0]], intrinsics)
    return intrinsics - _as_matrix(x, intrinsics) * along_x - _as_matrix(y, intrinsics) * along_y


def resize_intrinsics(intrinsics: Any, from_hw: tuple[float, float], to_hw: tuple[float, float]) -> Any:
    """K of an image after it was resized; px_to = px_from * size_to / size_from, exactly, as corners are at integers.

    Args:
      intrinsics: [..., 3, 3], px_from_cam of the image of size `from_hw`.
      from_hw: Height and width before.
      to_hw: Height and width after.

    Returns:
      [..., 3, 3], px_from_cam of the image of size `to_hw`.

    Raises:
      ValueError: If the shape of `intrinsics` is not [..., 3, 3].
    """
    intrinsics = tensors.floating(intrinsics)
    _check_intrinsics(intrinsics)
    scale_y, scale_x = to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]
    return (
        intrinsics * _as_matrix(scale_x, intrinsics) * _constant([[1] * 3, [0] * 3, [0] * 3], intrinsics)
        + intrinsics * _as_matrix(scale_y, intrinsics) * _constant([[0] * 3, [1] * 3, [0] * 3], intrinsics)
        + intrinsics * _constant([[0] * 3, [0] * 3, [1] * 3], intrinsics)
    )


def flip_intrinsics(intrinsics: Any, width: Any) -> Any:
    """K of the image flipped left to right (px x -> width - x), for the mirrored scene of `flip_pose`.

    Args:
      intrinsics: [..., 3, 3], px_from_cam.
      width: [...] or one number, px.

    Returns:
      [..., 3, 3], px_from_cam of the flipped image.

    Raises:
      ValueError: If the shape of `intrinsics` is not [..., 3, 3].
    """
    intrinsics = tensors.floating(intrinsics)
    _check_intrinsics(intrinsics)
    signs = _constant([[1, -1, -1], [1, 1, 1], [1, 1, 1]], intrinsics)
    along_x = _constant([[0, 0, 1], [0, 0, 0], [0, 0, 0]], intrinsics)
    return intrinsics * signs + _as_matrix(width, intrinsics) * along_x


def flip_pose(quaternion: Any, translation: Any) -> tuple[Any, Any]:
    """Pose of the horizontally mirrored scene: R' = M R M, t' = M t with M = diag(-1, 1, 1).

    If both the scene and the model are mirrored (x -> -x), the mirrored points project with this pose and
    `flip_intrinsics` to the flipped image: (x, y, z, w) -> (x, -y, -z, w).

    Args:
      quaternion: [..., 4], cam_from_model.
      translation: [..., 3], mm, cam_from_model.

    Returns:
      The quaternion [..., 4] and the translation [..., 3] of the mirrored scene; w keeps its sign.
    """
    quaternion, translation = tensors.floating(quaternion), tensors.floating(translation)
    return (
        quaternion * _constant([1, -1, -1, 1], quaternion),
        translation * _constant([-1, 1, 1], translation),
    )


def _constant(values: Any, like: Any) -> Array:
    return np.asarray(values, like.dtype.as_numpy_dtype if tensors.is_tensor(like) else like.dtype)


def _as_matrix(value: Any, like: Any) -> Any:
    """A number, array or tensor [...] as [..., 1, 1] in the dtype of `like`."""
    if tensors.is_tensor(value):
        import tensorflow as tf

        return tf.cast(value, like.dtype)[..., None, None]
    return _constant(value, like)[..., None, None]


def _check_intrinsics(intrinsics: Any) -> None:
    if list(intrinsics.shape)[-2:] != [3, 3]:
        raise ValueError(f"intrinsics must have the shape [..., 3, 3], got {list(intrinsics.shape)}")
