"""Rotations: unit quaternions, matrices and yaw, pitch and roll, as NumPy arrays with any leading dimensions.

Quaternions and angles follow `tfface.schema`. Results are float32 if every argument is, and float64 otherwise.
The same quaternions on TensorFlow tensors are in `tfface.geometry.tensor_rotation`.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

_GIMBAL = 1e-6  # Below this cosine of pitch, yaw and roll turn about the same axis.


def _floating(values: npt.ArrayLike) -> Array:
    """Returns `values` as float32 if that is what they are, as float64 otherwise."""
    array = np.asarray(values)
    return array if array.dtype == np.float32 else array.astype(np.float64)


def _checked(name: str, values: npt.ArrayLike, trailing: tuple[int, ...]) -> Array:
    """`_floating`, after a check of the last dimensions."""
    array = _floating(values)
    if array.shape[-len(trailing) :] != trailing:
        raise ValueError(f"{name} must have the shape [..., {str(trailing).strip('(,)')}], got {list(array.shape)}")
    return array


def matrix_from_quaternion(quaternion: npt.ArrayLike) -> Array:
    """Rotation matrix of a unit quaternion.

    The quaternion is not normalised here: the formula is that of tensorflow-graphics, so that both give the same
    matrix. The length of q must be 1 to the precision that the result should have.

    Args:
      quaternion: [..., 4].

    Returns:
      [..., 3, 3].

    Raises:
      ValueError: If the shape of `quaternion` is not [..., 4].
    """
    q = _checked("quaternion", quaternion, (4,))
    x, y, z, w = np.moveaxis(q, -1, 0)
    entries = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack(entries, axis=-1).reshape(*q.shape[:-1], 3, 3)


def matrix_from_vector(vector: npt.ArrayLike) -> Array:
    """Rotation matrix of a rotation vector: the axis, as long as the angle; exact and smooth at zero.

    Args:
      vector: [3], radians.

    Returns:
      [3, 3].

    Raises:
      ValueError: If the shape of `vector` is not [3].
    """
    v = _checked("vector", vector, (3,))
    angle = np.linalg.norm(v)
    half = np.sinc(angle / (2 * np.pi)) / 2  # sin(a / 2) / a, finite at zero
    return matrix_from_quaternion(np.append(v * half, np.cos(angle / 2)))


def quaternion_from_matrix(matrix: npt.ArrayLike) -> Array:
    """Unit quaternion of a rotation matrix, with w >= 0.

    The products of the components, 4 q q^T, are sums of entries of the matrix; q is the column of the largest
    diagonal entry, normalised, which keeps full precision for every rotation (Shepperd, "Quaternion from rotation
    matrix", Journal of Guidance and Control 1(3), 1978).

    Args:
      matrix: [..., 3, 3], a rotation.

    Returns:
      [..., 4].

    Raises:
      ValueError: If the shape of `matrix` is not [..., 3, 3].
    """
    m = _checked("matrix", matrix, (3, 3))
    xx = 1 + m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2]
    yy = 1 - m[..., 0, 0] + m[..., 1, 1] - m[..., 2, 2]
    zz = 1 - m[..., 0, 0] - m[..., 1, 1] + m[..., 2, 2]
    ww = 1 + m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    xw, yw, zw = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    products = np.stack((xx, xy, xz, xw, xy, yy, yz, yw, xz, yz, zz, zw, xw, yw, zw, ww), axis=-1)
    # 4 q q^T; any row is q times one of its components. The row of the largest component has the least cancellation.
    products = products.reshape(*m.shape[:-2], 4, 4)
    largest = np.argmax(np.stack((xx, yy, zz, ww), axis=-1), axis=-1)
    q = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    # q and -q are one rotation.
    return np.where(q[..., 3:] < 0, -q, q)


def quaternion_multiply(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Hamilton product: the rotation `b` followed by the rotation `a`.

    Args:
      a: [..., 4].
      b: [..., 4], leading dimensions broadcast with those of `a`.

    Returns:
      [..., 4], with `matrix_from_quaternion(a b) = matrix_from_quaternion(a) matrix_from_quaternion(b)`.

    Raises:
      ValueError: If a shape is not [..., 4].
    """
    ax, ay, az, aw = np.moveaxis(_checked("a", a, (4,)), -1, 0)
    bx, by, bz, bw = np.moveaxis(_checked("b", b, (4,)), -1, 0)
    return np.stack(
        (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ),
        axis=-1,
    )


def matrix_from_yaw_pitch_roll(yaw: npt.ArrayLike, pitch: npt.ArrayLike, roll: npt.ArrayLike) -> Array:
    """R = Rz(roll) Rx(pitch) Ry(yaw).

    A positive pitch turns the nose down, a positive roll turns the picture of the face clockwise.

    Args:
      yaw: [...], degrees.
      pitch: [...], degrees.
      roll: [...], degrees. The three broadcast.

    Returns:
      [..., 3, 3].
    """
    angles = np.broadcast_arrays(*(np.radians(_floating(angle)) for angle in (yaw, pitch, roll)))
    (sy, sp, sr), (cy, cp, cr) = np.sin(angles), np.cos(angles)
    entries = (
        *(cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy),
        *(sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy),
        *(-cp * sy, sp, cp * cy),
    )
    return np.stack(entries, axis=-1).reshape(*np.shape(sy), 3, 3)


def yaw_pitch_roll_from_matrix(matrix: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Inverse of `matrix_from_yaw_pitch_roll`.

    At a pitch of +-90 degrees only the sum or difference of yaw and roll is defined, and roll is set to 0.

    Args:
      matrix: [..., 3, 3], a rotation.

    Returns:
      yaw in [-180, 180], pitch in [-90, 90] and roll in [-180, 180], each [...], degrees.

    Raises:
      ValueError: If the shape of `matrix` is not [..., 3, 3].
    """
    m = _checked("matrix", matrix, (3, 3))
    cos_pitch = np.hypot(m[..., 2, 0], m[..., 2, 2])
    gimbal = cos_pitch < _GIMBAL
    # R[2] = (-cp sy, sp, cp cy), and R[0, 1], R[1, 1] = -sr cp, cr cp: the angles by arctangents, which stay exact near
    # +-90 degrees. With cp = 0, R[0, 0] = cos(yaw -+ roll) and R[0, 2] = sin(yaw -+ roll).
    yaw = np.where(gimbal, np.arctan2(m[..., 0, 2], m[..., 0, 0]), np.arctan2(-m[..., 2, 0], m[..., 2, 2]))
    pitch = np.arctan2(m[..., 2, 1], cos_pitch)
    roll = np.where(gimbal, np.zeros_like(pitch), np.arctan2(-m[..., 0, 1], m[..., 1, 1]))
    return np.degrees(yaw), np.degrees(pitch), np.degrees(roll)


def yaw_from_quaternion(quaternion: npt.ArrayLike) -> Array:
    """Yaw, in degrees, of a unit quaternion.

    Args:
      quaternion: [..., 4].

    Returns:
      [...], in [-180, 180].

    Raises:
      ValueError: If the shape of `quaternion` is not [..., 4].
    """
    return yaw_pitch_roll_from_matrix(matrix_from_quaternion(quaternion))[0]


def angle_between(quaternion_a: npt.ArrayLike, quaternion_b: npt.ArrayLike) -> Array:
    """Angle of the rotation that takes one orientation to the other, in degrees.

    With 4-vectors of unit length, angle = 4 atan2(|a - b|, |a + b|), the sign of b chosen so that a.b >= 0. It keeps
    its precision near 0, where the arc cosine of the scalar product loses half of its digits.

    Args:
      quaternion_a: [..., 4].
      quaternion_b: [..., 4], broadcast with `quaternion_a`. Either sign of a quaternion gives the same angle.

    Returns:
      [...], in [0, 180].

    Raises:
      ValueError: If a shape is not [..., 4].
    """
    a, b = _checked("quaternion_a", quaternion_a, (4,)), _checked("quaternion_b", quaternion_b, (4,))
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    near, far = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    return np.degrees(4 * np.arctan2(np.minimum(near, far), np.maximum(near, far)))


def mean_quaternion(quaternions: npt.ArrayLike) -> Array:
    """Mean of rotations that are near one another, the normalised sum; q and -q are one rotation.

    Args:
      quaternions: [R, ..., 4], the R rotations of each mean.

    Returns:
      [..., 4], unit quaternions in the hemisphere of the first.
    """
    quaternions = _checked("quaternions", quaternions, (4,))
    signs = np.where((quaternions * quaternions[0]).sum(axis=-1, keepdims=True) < 0, -1, 1)
    total = (signs * quaternions).sum(axis=0)
    return total / np.linalg.norm(total, axis=-1, keepdims=True)
