"""Faces in a photograph: a packaged detector, its five points, and where it looks for them."""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface import schema

Picture = npt.NDArray[np.uint8]

FIVE_POINTS: Mapping[str, tuple[str, ...]] = {
    "right_eye": tuple(f"eye_right_{i}" for i in range(6)),
    "left_eye": tuple(f"eye_left_{i}" for i in range(6)),
    "nose": (schema.NOSE_TIP,),
    "mouth_right": ("lip_outer_0",),
    "mouth_left": ("lip_outer_6",),
}
"""The points that face detectors give (left and right are the person's own), each the mean of landmarks of ours."""

_SIZES = (1 << 18, 1 << 20, 1 << 16)
"""Pixels of the reduced photograph that a detector looks at, one after the other until it finds a face: the usual size,
a larger one for small faces, a smaller one, as a network finds now and then only at another scale what fills a picture.
"""
_SIDES = (None, 24, 48)
"""px, of the pictures that the three networks of MTCNN take."""
_SMALLEST = 24  # px, the smaller side of a picture that can hold a face which the network was made for


@dataclasses.dataclass(frozen=True, eq=False)
class DetectedFace:
    """A face that a detector found.

    Attributes:
      points: [5, 2] float64, pixel frame, in the order of `FIVE_POINTS`.
      box: [4] float64, left, top, right, bottom, pixel frame.
      confidence: 0 to 1.
      landmarks: [Q, 2] float64, pixel frame, of a detector that gives more than five points; None of one that does not.
    """

    points: npt.NDArray[np.float64]
    box: npt.NDArray[np.float64]
    confidence: float
    landmarks: npt.NDArray[np.float64] | None = None

    @property
    def area(self) -> float:
        """Of the box, px^2."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class Detector(Protocol):
    """Anything that finds faces in a picture."""

    def __call__(self, picture: Picture) -> Sequence[DetectedFace]:
        """Finds faces in [H, W, 3] RGB."""
        ...


@runtime_checkable
class SizedDetector(Detector, Protocol):
    """A detector with sizes of its own.

    Attributes:
      sizes: Pixels of the reduced photograph that it is shown, one after the other until it finds a face.
    """

    sizes: Sequence[int]


class MtcnnDetector:
    """The packaged network of `mtcnn`; loads TensorFlow.

    Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", 2016.
    """

    def __init__(self, *, min_confidence: float = 0.9):
        """Loads the network.

        Args:
          min_confidence: of a face.

        Raises:
          ModuleNotFoundError: if mtcnn is not installed; it comes with the extras ``scans`` and ``reconstruct``.
        """
        # The network's smallest scales make TensorFlow print a warning at every picture, which is none.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            from mtcnn import MTCNN
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "finding faces by a detector needs mtcnn, which comes with the extras scans and reconstruct: "
                "pip install tfface[reconstruct]",
                name="mtcnn",
            ) from error
        import tensorflow as tf

        self._network: Any = MTCNN()
        for stage, side in zip(self._network.stages, _SIDES, strict=True):
            # Layer by layer, as the package calls them, Python takes more time for a dozen scales than arithmetic.
            pictures = tf.TensorSpec((None, side, side, 3), tf.float32)
            stage._model = tf.function(stage.model, input_signature=(pictures,))
        self._min_confidence = min_confidence

    def __call__(self, picture: Picture) -> list[DetectedFace]:
        """See `Detector`."""
        if min(picture.shape[:2]) < _SMALLEST:
            return []
        # As arrays: the other form rounds points to whole pixels.
        found = self._network.detect_faces(picture, threshold_onet=0.7, output_type="numpy", box_format="xyxy")
        rows = np.asarray(found, np.float64).reshape(-1, 16)
        # Columns: picture, box, confidence, five x, five y. Its points are eyes, nose and mouth corners, the viewer's
        # left one first, which is the person's right one. It counts pixels by their centres.
        return [
            DetectedFace(np.stack((row[6:11], row[11:16]), axis=-1) + 0.5, row[1:5] + 0.5, float(row[5]))
            for row in rows
            if row[5] >= self._min_confidence and np.isfinite(row).all()
        ]


@functools.cache
def shared_mtcnn() -> MtcnnDetector:
    """The detector, loaded once a process."""
    return MtcnnDetector()


def find_faces(photograph: Picture, detector: Detector) -> list[DetectedFace]:
    """Finds the faces of a photograph of any size, which the detector sees reduced.

    Args:
      photograph: [H, W, 3], RGB.
      detector: the detector.

    Returns:
      The faces from left to right, in the photograph's pixels; none if the detector finds none at any size.

    Raises:
      ValueError: if the photograph is not [H, W, 3] uint8.
    """
    if photograph.ndim != 3 or photograph.shape[2] != 3 or photograph.dtype != np.uint8:
        raise ValueError(f"photograph must be uint8 [H, W, 3], got {photograph.dtype} {list(photograph.shape)}")
    seen: set[tuple[int, int]] = set()
    for pixels in detector.sizes if isinstance(detector, SizedDetector) else _SIZES:
        reduced, scale_xy = _reduced(photograph, pixels)
        if reduced.shape[:2] in seen:
            continue
        seen.add(reduced.shape[:2])
        faces = [
            DetectedFace(
                face.points * scale_xy,
                face.box * np.tile(scale_xy, 2),
                face.confidence,
                None if face.landmarks is None else face.landmarks * scale_xy,
            )
            for face in detector(reduced)
        ]
        if faces:
            return sorted(faces, key=lambda face: float(face.points[:, 0].mean()))
    return []


def _reduced(photograph: Picture, pixels: int) -> tuple[Picture, npt.NDArray[np.float64]]:
    """The photograph with at most so many pixels, and the size (x, y) of one of them in those of the photograph."""
    height, width = photograph.shape[:2]
    factor = math.sqrt(pixels / (height * width))
    if factor >= 1:
        return photograph, np.ones(2)
    size = max(1, int(width * factor)), max(1, int(height * factor))
    # Whole blocks are averaged first, which makes a hundred megapixels no slower to reduce than to read.
    reduced = Image.fromarray(photograph).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(reduced), np.array([width / size[0], height / size[1]])
