"""nerfstudio's transforms.json.

Its matrices are scene_from_cam of OpenGL's camera frame: x right, y up, z towards the viewer. Its pixels are ours. A
camera's numbers stand at the head for all frames, or in a frame for that one.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.geometry import rotation
from tfface.photographs.cameras.distortion import Distortion
from tfface.photographs.cameras.posed_camera import MAX_CAMERAS, CameraSet, PosedCamera

_OPENGL = np.diag([1.0, -1.0, -1.0])
"""From OpenGL's camera frame to ours, and back."""
_PERSPECTIVE, _FISHEYE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE"), ("OPENCV_FISHEYE",)
_OFF = 1e-3


def read(path: Path) -> CameraSet:
    """Reads the file.

    Raises:
      OSError: If it cannot be read.
      ValueError: naming the file, the frame and the fault.
    """
    content = files.read_json(path)
    frames = content.get("frames") if isinstance(content, Mapping) else None
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_CAMERAS:
        raise ValueError(f"{path}: expected an object with 1 to {MAX_CAMERAS} frames")
    cameras = []
    for number, frame in enumerate(frames):
        if not isinstance(frame, Mapping):
            raise ValueError(f"{path}: frame {number}: expected an object, got {type(frame).__name__}")
        try:
            cameras.append(_camera({**content, **frame}))
        except ValueError as error:
            raise ValueError(f"{path}: frame {number}: {error}") from error
    return CameraSet(tuple(cameras))


def _camera(of: Mapping[str, Any]) -> PosedCamera:
    image = of.get("file_path")
    if not isinstance(image, str) or not image:
        raise ValueError("expected the file_path of a photograph")
    matrix = _matrix(of.get("transform_matrix"))
    turn = matrix[:3, :3]
    off = max(np.abs(turn @ turn.T - np.eye(3)).max(), abs(np.linalg.det(turn) - 1))
    if off > _OFF:
        raise ValueError(f"transform_matrix: expected a rotation in its upper left 3x3, it is off by {off:.2g}")
    cam_from_scene = _OPENGL @ turn.T
    size = [_number(of, name, None) for name in ("h", "w")]
    height, width = size
    size_hw = (int(height), int(width)) if height is not None and width is not None else None
    fx = _number(of, "fl_x", None)
    angle = _number(of, "camera_angle_x", None)
    if fx is None and angle is not None and width is not None and 0 < angle < math.pi:
        fx = width / 2 / math.tan(angle / 2)
    if fx is None:
        raise ValueError("expected fl_x, or camera_angle_x and w")
    centre = [_number(of, name, None if side is None else side / 2) for name, side in (("cx", width), ("cy", height))]
    cx, cy = centre
    if cx is None or cy is None:
        raise ValueError("expected cx and cy, or w and h")
    fy = _number(of, "fl_y", fx)
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
    quaternion = np.asarray(rotation.quaternion_from_matrix(cam_from_scene), np.float64)
    return PosedCamera(image, size_hw, K, quaternion, -cam_from_scene @ matrix[:3, 3], _distortion(of))


def _distortion(of: Mapping[str, Any]) -> Distortion:
    model = of.get("camera_model", "OPENCV")
    if model not in (*_PERSPECTIVE, *_FISHEYE):
        raise ValueError(f"camera_model: expected one of {', '.join((*_PERSPECTIVE, *_FISHEYE))}, got {model!r}")
    # Here all four are of the numerator, r^8 the last; OpenCV's k4 is of the denominator.
    radial = tuple(_number(of, f"k{number}", 0.0) or 0.0 for number in range(1, 5))
    p1, p2 = (_number(of, name, 0.0) or 0.0 for name in ("p1", "p2"))
    return Distortion(radial, (), (p2, p1), fisheye=model in _FISHEYE)


def _number(of: Mapping[str, Any], name: str, default: float | None) -> float | None:
    value = of.get(name, default)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9):
        raise ValueError(f"{name}: expected a number below 1e9, got {str(value)[:80]!r}")
    return value


def _matrix(value: Any) -> npt.NDArray[np.float64]:
    rows = value if isinstance(value, list) and len(value) in (3, 4) else []
    sound = len(rows) > 0 and all(
        isinstance(row, list)
        and len(row) == 4
        and all(not isinstance(entry, bool) and isinstance(entry, int | float) and abs(entry) < 1e9 for entry in row)
        for row in rows
    )
    if not sound:
        raise ValueError(f"transform_matrix: expected 4 x 4 numbers below 1e9, got {str(value)[:80]!r}")
    return np.array(rows[:3], np.float64)


def write(path: Path, cameras: CameraSet) -> None:
    """Writes the file.

    Raises:
      ValueError: If a camera has a distortion that nerfstudio does not know.
      OSError: If the file cannot be written.
    """
    files.write_json(path, {"frames": [_frame(camera) for camera in cameras.cameras]})


def _frame(camera: PosedCamera) -> dict[str, Any]:
    lens = camera.distortion
    if any(lens.denominator) or any(lens.radial[4:]):
        raise ValueError(f"{camera.image}: nerfstudio has no such coefficients of distortion")
    K = camera.intrinsics
    turn, translation = camera.matrix[:, :3], camera.matrix[:, 3]
    matrix = np.eye(4)
    matrix[:3, :3] = (_OPENGL @ turn).T
    matrix[:3, 3] = -turn.T @ translation
    frame: dict[str, Any] = {"file_path": camera.image, "camera_model": "OPENCV_FISHEYE" if lens.fisheye else "OPENCV"}
    if camera.size_hw is not None:
        frame |= {"w": camera.size_hw[1], "h": camera.size_hw[0]}
    frame |= {"fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2])}
    frame |= {f"k{number}": float(value) for number, value in enumerate(lens.radial, 1)}
    if any(lens.tangential):
        frame |= {"p1": lens.tangential[1], "p2": lens.tangential[0]}
    return {**frame, "transform_matrix": matrix.tolist()}
