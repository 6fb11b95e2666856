"""MediaPipe's face landmarker: its 478 points of every face in a picture, and a detector made of it.

Apache-2.0, Google. The package is the extra ``mediapipe``; its wheel has no model, which is one file of 4 MB.
"""

import functools
import os
import pathlib
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import fetching, files
from tfface.photographs.detector import DetectedFace

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

BUNDLE_VARIABLE = "FACE_LANDMARKER_TASK"
DOWNLOAD = "download"
URL = "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_MAX_BYTES = 1 << 23
_TIMEOUT = 60.0

_FIVE = ((33, 133), (362, 263), (1,), (61,), (291,))
"""Landmarks whose means are the points of `detector.FIVE_POINTS`: corners of the eyes, nose, corners of the mouth."""
NUM_LANDMARKS = 478
_LEAST_CONFIDENCE = 0.3
_MOST_FACES = 10


def find_bundle(named: str) -> pathlib.Path | None:
    """The file of the model.

    Args:
      named: Its path; `DOWNLOAD` fetches it into the cache, if it is not there; where it is empty, `BUNDLE_VARIABLE`
        is asked.

    Returns:
      The path; None if nobody names one.

    Raises:
      ValueError: If there is no such file, or it cannot be fetched.
    """
    if named == DOWNLOAD:
        path = files.cache_folder() / "face_landmarker.task"
        advice = f"Get it by hand and name it by --face_landmarker or {BUNDLE_VARIABLE}."
        if path.is_file():
            return path
        return fetching.fetch_file(URL, path, SHA256, max_bytes=_MAX_BYTES, timeout=_TIMEOUT, advice=advice)
    told = named or os.environ.get(BUNDLE_VARIABLE, "")
    if not told:
        return None
    if not os.path.isfile(told):
        raise ValueError(f"{'face_landmarker' if named else BUNDLE_VARIABLE}: no such file: {told}")
    return pathlib.Path(told)


class FaceLandmarker:
    """The landmarker, opened; threads take turns."""

    def __init__(self, bundle: pathlib.Path, faces: int = 1):
        """Opens a bundle.

        Args:
          bundle: ``face_landmarker.task``.
          faces: It looks for at most.

        Raises:
          ModuleNotFoundError: If mediapipe is not installed.
          ValueError: If the file is no bundle of the landmarker.
        """
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "MediaPipe's landmarks need the extra mediapipe: pip install tfface[mediapipe]", name="mediapipe"
            ) from error
        self._image: Any = mediapipe.Image
        self._format: Any = mediapipe.ImageFormat.SRGB
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(bundle)),
            num_faces=faces,
            min_face_detection_confidence=_LEAST_CONFIDENCE,
            min_face_presence_confidence=_LEAST_CONFIDENCE,
        )
        try:
            self._network: Any = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{bundle}: not a bundle of MediaPipe's face landmarker: {error}") from error
        # Its destructor calls this, which fails with a trace when the interpreter ends; the process frees everything.
        self._network.close = lambda: None
        self._turn = threading.Lock()

    def __call__(self, picture: Picture) -> Array:
        """The points ``[F, 478, 2]`` of F faces, px, in a picture ``[H, W, 3]``, RGB."""
        height, width = picture.shape[:2]
        with self._turn:
            found = self._network.detect(self._image(image_format=self._format, data=np.ascontiguousarray(picture)))
        points = [[(point.x, point.y) for point in face] for face in found.face_landmarks]
        return np.array(points, np.float64).reshape(len(points), NUM_LANDMARKS, 2) * [width, height]


@functools.cache
def shared(bundle: pathlib.Path, faces: int = 1) -> FaceLandmarker:
    """The landmarker, opened once a process."""
    return FaceLandmarker(bundle, faces)


class LandmarkDetector:
    """A `Detector` made of the landmarker: ten times as fast as `mtcnn`, for faces that are large in the picture."""

    def __init__(self, bundle: pathlib.Path):
        """See `FaceLandmarker`."""
        self._landmarker = shared(bundle, _MOST_FACES)

    def __call__(self, picture: Picture) -> list[DetectedFace]:
        """See `Detector`; the confidence of a face is 1, as the landmarker tells none."""
        found = []
        for points in self._landmarker(picture):
            five = np.stack([points[list(of)].mean(axis=0) for of in _FIVE])
            box = np.concatenate((points.min(axis=0), points.max(axis=0)))
            found.append(DetectedFace(five, box, 1.0, points))
        return found
