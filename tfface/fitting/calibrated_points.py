"""Points that a landmark source gives, where they lie on a 3DMM, and how far off they are: as measured, stored, used.

The file beside this module says it of MediaPipe's points on ICT-FaceKit; `tfface.calibrate_landmarks` made it:
MediaPipe's canonical face is registered to the 3DMM, and then run on rendered people whose true points are known.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.spatial

from tfface import files
from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints
from tfface.fitting.initial_pose import scaled_orthographic_pose
from tfface.geometry import alignment, rotation

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

MEDIAPIPE = pathlib.Path(__file__).with_name("mediapipe_points.json")
_MAX_BYTES = 1 << 21
_FEWEST_LANDMARKS = 12


@dataclasses.dataclass(frozen=True, eq=False)
class CalibratedPoints:
    """Q of a source's points on the surface of one topology.

    Attributes:
      topology: `topology_of` the 3DMM that they were calibrated on.
      index: ``[Q]``, which of the source's points each one is.
      vertices: ``[Q, 3]``, of the surface.
      weights: ``[Q, 3]``, barycentric.
      offsets: ``[Q, 3]``, mm, model frame: where the source sees the point, from where it lies.
      deviations: ``[B, Q]``, of each coordinate, in shares of the face's size (`face_size`), by the magnitude of yaw.
      yaw_bounds: ``[B - 1]``, degrees, ascending, between the rows of the deviations.
      mean: ``[Q, 3]``, mm, the points on the mean face, for other topologies.
      landmarks: ``{name: [3]}``, mm, of that face.
    """

    topology: str
    index: Indices
    vertices: Indices
    weights: Array
    offsets: Array
    deviations: Array
    yaw_bounds: Array
    mean: Array
    landmarks: Mapping[str, Array]

    @classmethod
    def load(cls, path: str | os.PathLike[str] = MEDIAPIPE) -> "CalibratedPoints":
        """Reads a file of `save`.

        Raises:
          ValueError: naming the file, if it is none.
        """
        content = files.read_json(path, _MAX_BYTES)
        try:
            arrays: dict[str, npt.NDArray[Any]] = {
                name: np.asarray(content[name], dtype)
                for name, dtype in (
                    ("index", np.int64),
                    ("vertices", np.int64),
                    ("weights", np.float64),
                    ("offsets", np.float64),
                    ("deviations", np.float64),
                    ("yaw_bounds", np.float64),
                    ("mean", np.float64),
                )
            }
            landmarks = {str(name): np.asarray(point, np.float64) for name, point in content["landmarks"].items()}
            read = cls(topology=str(content["topology"]), landmarks=landmarks, **arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: expected a calibration of landmarks: {error!r}") from error
        count, rows = len(read.index), len(read.yaw_bounds) + 1
        shapes = {"vertices": (count, 3), "weights": (count, 3), "offsets": (count, 3), "mean": (count, 3)}
        for name, shape in {**shapes, "deviations": (rows, count)}.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ValueError(
                    f"{path}: {name}: expected finite numbers of the shape {list(shape)}, got "
                    f"{list(arrays[name].shape)}"
                )
        return read

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON, to a hundredth of a millimetre and a thousandth of a deviation's unit."""
        rounded = {
            "index": self.index.tolist(),
            "vertices": self.vertices.tolist(),
            "weights": np.round(self.weights, 4).tolist(),
            "offsets": np.round(self.offsets, 2).tolist(),
            "deviations": np.round(self.deviations, 5).tolist(),
            "yaw_bounds": self.yaw_bounds.tolist(),
            "mean": np.round(self.mean, 2).tolist(),
            "landmarks": {name: np.round(point, 2).tolist() for name, point in self.landmarks.items()},
        }
        lines = (
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in (("topology", self.topology), *rounded.items())
        )
        files.write_text(path, "{" + ",\n".join(lines) + "}\n")

    def on(self, face_model: MorphableModel) -> SurfacePoints:
        """The points on a 3DMM.

        On another topology than that of the calibration they are the vertices nearest to them, once the mean faces are
        laid on one another by their landmarks.

        Raises:
          ValueError: If the 3DMM has another topology and too few landmarks.
        """
        names = tuple(f"point_{number}" for number in self.index)
        if topology_of(face_model.triangles) == self.topology:
            weights = self.weights / self.weights.sum(axis=1, keepdims=True)
            return SurfacePoints(names, self.vertices, weights, offsets=self.offsets)
        known = [name for name in self.landmarks if name in face_model.landmarks]
        if len(known) < _FEWEST_LANDMARKS:
            raise ValueError(
                f"face_model: expected {_FEWEST_LANDMARKS} of the 68 landmarks or more, to place a landmark source's "
                f"points by, got {len(known)}"
            )
        mean = np.asarray(face_model.mean, np.float64)
        transform = alignment.similarity(
            np.stack([self.landmarks[name] for name in known]), mean[[face_model.landmarks[name] for name in known]]
        )
        _, nearest = scipy.spatial.cKDTree(mean).query(transform.apply(self.mean))
        vertices, weights = np.repeat(nearest[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(names), 1))
        return SurfacePoints(names, vertices, weights, offsets=self.offsets)

    def seen(self, landmarks: Array, intrinsics: Array) -> tuple[Array, Array]:
        """What a photograph says of the points.

        Args:
          landmarks: ``[L, 2]``, px, all of the source's points.
          intrinsics: ``[3, 3]``, px_from_cam.

        Returns:
          Points ``[Q, 2]`` and deviations ``[Q]``, px; these by the yaw in which the mean face would show such points.
        """
        px = np.asarray(landmarks, np.float64)[self.index]
        mean = self.mean + self.offsets
        turn, _ = scaled_orthographic_pose(mean, px, np.asarray(intrinsics, np.float64), np.ones(len(px)))
        yaw = abs(float(np.asarray(rotation.yaw_pitch_roll_from_matrix(turn)[0])))
        return px, self.deviations[int(np.searchsorted(self.yaw_bounds, yaw))] * face_size(px)


def face_size(px: npt.ArrayLike) -> float:
    """px, square root of width times height of the box about points ``[..., Q, 2]``."""
    return float(np.sqrt(np.prod(np.ptp(np.asarray(px, np.float64), axis=-2))))


def topology_of(triangles: npt.ArrayLike) -> str:
    """Hash of a mesh's triangles ``[F, 3]``."""
    return hashlib.sha256(np.ascontiguousarray(triangles, "<i4").tobytes()).hexdigest()[:16]


def calibrate(
    found: Array, true: Array, jacobians: Array, yaws: Array, yaw_bounds: Sequence[float]
) -> tuple[Array, Array, float]:
    """Offsets and deviations of a source's points, from photographs of known people.

    The offset of a point is the displacement d in the model frame that explains best, over all photographs, what the
    source sees: least squares of found - true - J d, each photograph in units of its face's size.

    Args:
      found: ``[M, Q, 2]``, px, where the source sees the points.
      true: ``[M, Q, 2]``, px, where they are.
      jacobians: ``[M, 2, 3]``, px a mm, of the projection by a displacement in the model frame.
      yaws: ``[M]``, degrees.
      yaw_bounds: Between the rows of the deviations.

    Returns:
      Offsets ``[Q, 3]``, mm; deviations ``[B, Q]``, shares of the face's size; the number of independent points that
      the points come to, (sum of eigenvalues)^2 / sum of squared eigenvalues of their errors' correlation.

    Raises:
      ValueError: If a row of the deviations has fewer than two photographs.
    """
    sizes = np.array([face_size(points) for points in found])
    scaled = jacobians / sizes[:, None, None]
    errors = (found - true) / sizes[:, None, None]
    design = scaled.reshape(-1, 3)
    normal = design.T @ design
    # A hundredth of what is seen along a mean direction: depth, which frontal faces do not show, stays finite.
    normal += 1e-2 * np.trace(normal) / 3 * np.eye(3)
    offsets = np.linalg.solve(normal, design.T @ errors.transpose(0, 2, 1).reshape(-1, errors.shape[1])).T
    left = errors - np.einsum("mij,qj->mqi", scaled, offsets)
    rows = np.searchsorted(yaw_bounds, np.abs(yaws))
    counts = np.bincount(rows, minlength=len(yaw_bounds) + 1)
    if counts.min() < 2:
        raise ValueError(f"yaws: expected two photographs in each of {len(counts)} ranges, got {counts.tolist()}")
    deviations = np.stack([np.sqrt((left[rows == row] ** 2).mean(axis=(0, 2))) for row in range(len(counts))])
    whitened = left.transpose(0, 2, 1).reshape(-1, left.shape[1])
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(whitened.T))
    return offsets, deviations, float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
