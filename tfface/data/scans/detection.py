"""A face detector that sees a scan from several sides, and its five points cast back onto the surface."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.data.rendering import overlay
from tfface.geometry import alignment, camera, mesh, raycast, rotation

Array = npt.NDArray[np.floating]

FIVE_POINTS: Mapping[str, tuple[str, ...]] = {
    "right_eye": tuple(f"eye_right_{i}" for i in range(6)),
    "left_eye": tuple(f"eye_left_{i}" for i in range(6)),
    "nose": (schema.NOSE_TIP,),
    "mouth_right": ("lip_outer_0",),
    "mouth_left": ("lip_outer_6",),
}
"""The points that face detectors give (left and right are the person's own), each the mean of landmarks of ours."""

MAX_MISFIT = 9.0
"""mm, root mean square, of five points that are no face's: other faces than the template's have 2 to 6."""

_SIZE, _FOV = 224, 32.0
_FRAMED = 0.72
"""Share of the scan's extent across a picture: shoulders may be cut off, so that the face is larger."""
_COLOR, _BACKGROUND = (0.85, 0.70, 0.60), (0.3, 0.3, 0.3)
_ROLLS = (0.0, 90.0, 180.0, 270.0)
_DIRECTIONS = 14


class Detector(Protocol):
    """Anything that finds faces in a picture."""

    def __call__(self, picture: npt.NDArray[np.uint8]) -> Sequence[Mapping[str, tuple[float, float]]]:
        """Finds faces in [H, W, 3] RGB: for each, the pixel (x, y) of every name of `FIVE_POINTS`."""
        ...


class MtcnnDetector:
    """The packaged network of `mtcnn`; loads TensorFlow.

    Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", 2016.
    """

    def __init__(self, *, min_confidence: float = 0.9):
        """Loads the network.

        Args:
          min_confidence: of a face.

        Raises:
          ModuleNotFoundError: if mtcnn is not installed; it comes with the extra ``scans``.
        """
        # The network's smallest scales make TensorFlow print a warning at every picture, which is none.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            from mtcnn import MTCNN
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "finding faces by a detector needs mtcnn, which comes with the extra scans: pip install tfface[scans]",
                name="mtcnn",
            ) from error
        self._network: Any = MTCNN()
        self._min_confidence = min_confidence

    def __call__(self, picture: npt.NDArray[np.uint8]) -> list[dict[str, tuple[float, float]]]:
        """See `Detector`."""
        # Its names of eyes and mouth corners are the viewer's: its left eye is the person's right one.
        names = {
            "left_eye": "right_eye",
            "right_eye": "left_eye",
            "nose": "nose",
            "mouth_left": "mouth_right",
            "mouth_right": "mouth_left",
        }
        found = self._network.detect_faces(picture, threshold_onet=0.7)
        return [
            {names[key]: (float(x), float(y)) for key, (x, y) in face["keypoints"].items()}
            for face in found
            if face["confidence"] >= self._min_confidence
        ]


@functools.cache
def shared_mtcnn() -> MtcnnDetector:
    """The detector, loaded once a process."""
    return MtcnnDetector()


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
            points = _cast_back(caster, view, np.array([face[name] for name in FIVE_POINTS]))
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
