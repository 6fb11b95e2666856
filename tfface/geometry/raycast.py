"""Ray casting against a triangle mesh with Embree: what each pixel sees, and what hides what.

`Raycaster` works in the frame of its vertices. For a face that is the model frame: the tree is built once a person, and
the rays of every camera are brought into it.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from tfface.geometry import camera, mesh, rotation

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Hits:
    """Where rays meet the mesh first.

    Attributes:
      triangle: [...] int32, index of the triangle, -1 where a ray meets none.
      barycentric: [..., 3] float32, weights of the triangle's corners in their order; 0 where there is none.
      distance: [...] float32, in lengths of the ray's direction (mm for directions of unit length); inf where none.
    """

    triangle: npt.NDArray[np.int32]
    barycentric: Array
    distance: Array


@dataclasses.dataclass(frozen=True)
class Fragments:
    """What the centre of each pixel of an image sees.

    Attributes:
      triangle: [H, W] int32, index of the triangle, -1 where there is none.
      barycentric: [H, W, 3] float32, weights of the triangle's corners in their order; 0 where there is none.
      depth: [H, W] float32, mm, z in the camera frame; inf where there is none.
    """

    triangle: npt.NDArray[np.int32]
    barycentric: Array
    depth: Array


class Raycaster:
    """A triangle mesh and its ray-casting tree. Can be pickled; the tree is then built again."""

    def __init__(self, vertices: npt.ArrayLike, triangles: npt.ArrayLike):
        """Builds the tree (a few tens of ms for 10,000 vertices).

        Args:
          vertices: [V, 3], mm.
          triangles: [F, 3], vertex indices.

        Raises:
          ValueError: If the mesh is empty, not finite, has wrong shapes or an index out of range.
        """
        self.vertices = np.ascontiguousarray(vertices, np.float32)
        self.triangles = np.ascontiguousarray(mesh.checked_triangles(self.vertices, triangles), np.int32)
        self._scene = EmbreeScene()
        # It reads number by number, and Python's own numbers take a fifth less time than NumPy's.
        TriangleMesh(self._scene, self.vertices.astype(object), self.triangles.astype(object))

    def __reduce__(self) -> tuple[type["Raycaster"], tuple[Array, npt.NDArray[np.integer]]]:
        return Raycaster, (self.vertices, self.triangles)

    def cast(self, origins: npt.ArrayLike, directions: npt.ArrayLike) -> Hits:
        """Finds the first triangle on each ray; triangles are seen from both sides.

        Args:
          origins: [..., 3], mm, frame of the vertices; leading dimensions broadcast with those of `directions`.
          directions: [..., 3], of any length above 0.

        Returns:
          The hits, [...]; origin + distance * direction = sum_i barycentric_i * corner_i.

        Raises:
          ValueError: If a shape is not [..., 3].
        """
        origins, directions, leading = _rays(origins, directions)
        found = self._scene.run(origins, directions, output=1)
        triangle, u, v = found["primID"].astype(np.int32), found["u"], found["v"]
        miss = triangle < 0
        barycentric = np.empty((len(triangle), 3), np.float32)
        barycentric[:, 0] = 1 - u - v
        barycentric[:, 1] = u
        barycentric[:, 2] = v
        barycentric[miss] = 0
        distance = np.where(miss, np.float32(np.inf), found["tfar"])
        return Hits(triangle.reshape(leading), barycentric.reshape(*leading, 3), distance.reshape(leading))

    def occluded(
        self, origins: npt.ArrayLike, directions: npt.ArrayLike, max_distance: npt.ArrayLike = np.inf
    ) -> npt.NDArray[np.bool_]:
        """Whether anything lies on each ray up to a distance. A ray that starts on the surface may meet it at once.

        Args:
          origins: [..., 3], mm, frame of the vertices.
          directions: [..., 3], of any length above 0. The leading dimensions of the three arguments broadcast.
          max_distance: [...], in lengths of the ray's direction: with direction = target - origin, 1 is the target.

        Returns:
          [...] bool.

        Raises:
          ValueError: If the shape of `origins` or `directions` is not [..., 3].
        """
        origins, directions, leading = _rays(origins, directions, np.shape(max_distance))
        limits = np.minimum(np.broadcast_to(max_distance, leading), np.finfo(np.float32).max)
        limits = np.ascontiguousarray(limits.reshape(-1), np.float32)
        return (self._scene.run(origins, directions, dists=limits, query="OCCLUDED") >= 0).reshape(leading)

    def visible(self, points: npt.ArrayLike, viewpoint: npt.ArrayLike, tolerance: float = 0.1) -> npt.NDArray[np.bool_]:
        """Whether nothing of the mesh stands between points and a viewpoint.

        Args:
          points: [..., 3], mm, frame of the vertices; may lie on the mesh.
          viewpoint: [3], mm, frame of the vertices, such as the camera's centre.
          tolerance: mm, the end of each line of sight that is not looked at, as the point itself lies there.

        Returns:
          [...] bool.

        Raises:
          ValueError: If the shape of `points` is not [..., 3].
        """
        sights = np.asarray(points, np.float64) - np.asarray(viewpoint, np.float64)
        lengths = np.linalg.norm(sights, axis=-1)
        return ~self.occluded(viewpoint, sights, 1 - tolerance / np.maximum(lengths, tolerance))


def raster(
    raycaster: Raycaster,
    quaternion: npt.ArrayLike,
    translation: npt.ArrayLike,
    intrinsics: npt.ArrayLike,
    size_hw: tuple[int, int],
) -> Fragments:
    """What each pixel of a camera sees: one ray through each pixel's centre, exactly the inverse of `camera.project`.

    Args:
      raycaster: The mesh, model frame.
      quaternion: [4], cam_from_model.
      translation: [3], mm, cam_from_model.
      intrinsics: [3, 3], px_from_cam.
      size_hw: Height and width of the image.

    Returns:
      The fragments, [H, W].
    """
    height, width = size_hw
    intrinsics = np.asarray(intrinsics, np.float64)
    cam_from_model = rotation.matrix_from_quaternion(np.asarray(quaternion, np.float64))
    # A row vector times R is R^T times the column: model_from_cam.
    centre = -np.asarray(translation, np.float64) @ cam_from_model
    # Directions are linear in x and y: those of the first row, and what each further row adds, make all of them.
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    first = camera.rays_from_px(np.stack((x, np.full(width, 0.5)), axis=-1), intrinsics) @ cam_from_model
    down = camera.rays_from_px(np.stack((np.full(height, 0.5), y), axis=-1), intrinsics) @ cam_from_model
    directions = first.astype(np.float32) + (down - down[0]).astype(np.float32)[:, None]
    hits = raycaster.cast(centre, directions)
    return Fragments(hits.triangle, hits.barycentric, hits.distance)  # Directions have z = 1: distance is depth.


def _rays(
    origins: npt.ArrayLike, directions: npt.ArrayLike, *shapes: tuple[int, ...]
) -> tuple[Array, Array, tuple[int, ...]]:
    """Rays as contiguous float32 [R, 3] arrays, as Embree wants them, and their leading dimensions."""
    origins, directions = np.asarray(origins), np.asarray(directions)
    for name, array in (("origins", origins), ("directions", directions)):
        if array.shape[-1:] != (3,):
            raise ValueError(f"{name} must have the shape [..., 3], got {list(array.shape)}")
    leading = np.broadcast_shapes(origins.shape[:-1], directions.shape[:-1], *shapes)
    flat = [
        np.ascontiguousarray(np.broadcast_to(array, (*leading, 3)).reshape(-1, 3), np.float32)
        for array in (origins, directions)
    ]
    return flat[0], flat[1], leading
