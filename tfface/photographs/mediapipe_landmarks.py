"""MediaPipe's points as a landmark source: where they lie on a 3DMM, and how far they err.

``mediapipe_points.npz`` in the package holds the 468 vertices and the triangles of MediaPipe's canonical face
(Apache-2.0, Google; vertex i is landmark i; mm, axes of the model frame) and, by docs/embed_landmarks.py, their
places on ICT's face. On another 3DMM, the canonical face is registered once a process.
"""

import dataclasses
import functools
import pathlib

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel, register
from tfface.face.surface_points import SurfacePoints
from tfface.geometry import mesh
from tfface.photographs import face_crop
from tfface.photographs.face_crop import CropCamera
from tfface.photographs.face_landmarker import FaceLandmarker
from tfface.photographs.landmark_sources import MEDIAPIPE, SeenPoints

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

NUM_POINTS = 468
DEVIATION = 0.012
"""Of a point, as a share of the face's size, the square root of the area of the points' box."""

FILE = pathlib.Path(__file__).parent.parent / "assets" / "mediapipe_points.npz"
_CROP = 192  # px, the least side of the picture that the landmarker is shown
_WIDER = 1.5
"""The landmarker finds faces with some surroundings; models see them without."""
_FARTHEST = 0.25
"""Of the picture's side: a face whose middle is farther from the picture's is another one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding:
    """The canonical face, and its places on one topology.

    Attributes:
      canonical: ``[468, 3]`` mm, axes of the model frame.
      triangles: ``[F, 3]``, of the canonical face.
      vertices: ``[468, 3]``, vertices of the topology.
      weights: ``[468, 3]``, of these.
      num_vertices: Of the topology.
    """

    canonical: Array
    triangles: npt.NDArray[np.integer]
    vertices: npt.NDArray[np.integer]
    weights: Array
    num_vertices: int

    @classmethod
    @functools.cache
    def packaged(cls) -> "Embedding":
        """That of the package, on ICT's face."""
        with np.load(FILE, allow_pickle=False) as held:
            arrays = {field.name: held[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**arrays, "num_vertices": int(arrays["num_vertices"])})

    def on(self, face_model: MorphableModel) -> SurfacePoints:
        """The points on a 3DMM; registered to it, unless it has the vertices of this topology.

        Raises:
          ModuleNotFoundError: If what registers is not installed.
          ValueError: If the canonical face cannot be registered to it.
        """
        names = tuple(f"mediapipe_{i}" for i in range(len(self.canonical)))
        if face_model.num_vertices == self.num_vertices:
            return SurfacePoints(names, self.vertices, self.weights)
        return SurfacePoints(names, *places_on(face_model, self.canonical, self.triangles))


def places_on(
    face_model: MorphableModel, canonical: Array, triangles: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], Array]:
    """Where the canonical face's vertices lie on a 3DMM, which is fitted to it: vertices and weights ``[468, 3]``.

    The neutral 3DMM is fitted, as the canonical face shows no expression.

    Raises:
      ModuleNotFoundError: If what registers is not installed.
      ValueError: If it cannot be registered.
    """
    from tfface.face.registration.scan_surface import ScanSurface, barycentric

    scan = mesh.Mesh(canonical.astype(np.float32), triangles, {})
    neutral = dataclasses.replace(face_model, expressions=None, head=None)
    registered = register(scan, neutral)
    closest = ScanSurface(mesh.Mesh(registered, face_model.triangles, {})).closest(canonical)
    vertices = np.asarray(face_model.triangles, np.int64)[closest.triangle]
    corners = registered[vertices].astype(np.float64)
    return vertices, barycentric(closest.points, *np.moveaxis(corners, 1, 0))


def without_reflection(picture: Picture, px_from_crop: Array, photograph_hw: tuple[int, int]) -> Picture:
    """A crop, black where the photograph ends: a face that is cut off and its reflection look like another face.

    Args:
      picture: ``[S, S, 3]``, of `face_crop.take`.
      px_from_crop: ``[3, 3]``, see `CropCamera.px_from_crop`.
      photograph_hw: Height and width of the photograph, px.
    """
    rows, columns = np.indices(picture.shape[:2]) + 0.5
    here = np.stack((columns, rows, np.ones_like(rows)), axis=-1) @ px_from_crop.T
    px = here[..., :2] / here[..., 2:]
    inside = np.all((px >= 0) & (px <= photograph_hw[::-1]), axis=-1, keepdims=True)
    return np.where(inside, picture, np.uint8(0))


class MediaPipeLandmarks:
    """A `LandmarkSource`."""

    name = MEDIAPIPE

    def __init__(self, landmarker: FaceLandmarker):
        """Takes an open landmarker."""
        self._landmarker = landmarker
        self._surfaces: dict[str, SurfacePoints] = {}

    def surface(self, face_model: MorphableModel) -> SurfacePoints:
        """See `LandmarkSource`."""
        digest = face_model.digest()
        if digest not in self._surfaces:
            self._surfaces[digest] = Embedding.packaged().on(face_model)
        return self._surfaces[digest]

    def __call__(self, photograph: Picture, intrinsics: Array, crop: CropCamera) -> SeenPoints | None:
        """See `LandmarkSource`."""
        wide = dataclasses.replace(crop, side=crop.side * _WIDER)
        picture, _ = face_crop.take(photograph, intrinsics, wide, _CROP)
        side = len(picture)
        px_from_crop = wide.px_from_crop(intrinsics, side)
        height, width = photograph.shape[:2]
        found = self._landmarker(without_reflection(picture, px_from_crop, (height, width)))[:, :NUM_POINTS]
        if not len(found) or np.abs(found[0].mean(axis=0) / side - 0.5).max() > _FARTHEST:
            return None
        size = float(np.sqrt(np.prod(np.ptp(found[0], axis=0))))
        deviations = np.full(NUM_POINTS, DEVIATION * size)
        return SeenPoints.of_crop(found[0], deviations, px_from_crop)
