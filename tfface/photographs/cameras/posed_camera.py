"""A photograph's camera in a scene, and the cameras of a scene."""

import dataclasses
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from tfface.geometry import camera, rotation
from tfface.photographs.cameras.distortion import NO_DISTORTION, Distortion
from tfface.photographs.photograph import upright_intrinsics

Array = npt.NDArray[np.float64]

MAX_CAMERAS = 1_000_000
"""So many cameras a file may hold."""
LARGEST = 1e9
"""Numbers of a camera are smaller, in whatever unit they are: computing with them cannot overflow."""
_LARGEST_SIDE = 1 << 20  # px, of a photograph
_SAME_SHAPE = 0.01
"""By which share the sides of a photograph may differ in ratio from those its camera was computed for."""

_UPRIGHT_TURNS = {1: ((1, 0), (0, 1)), 3: ((-1, 0), (0, -1)), 6: ((0, -1), (1, 0)), 8: ((0, 1), (-1, 0))}
"""By EXIF orientation, from the axes x, y of the stored photograph to those of the upright one."""


@dataclasses.dataclass(frozen=True, eq=False)
class PosedCamera:
    """The camera of one photograph as it is stored. Frames and pixels are those of `schema`.

    Attributes:
      image: Path of the photograph as the file names it, relative to wherever the photographs are.
      size_hw: Height and width of the photograph that K belongs to, px; None if it is not known.
      intrinsics: [3, 3], px_from_cam.
      quaternion: [4], cam_from_scene.
      translation: [3], cam_from_scene, in the unit of the scene.
      distortion: Of the lens.
    """

    image: str
    size_hw: tuple[int, int] | None
    intrinsics: Array
    quaternion: Array
    translation: Array
    distortion: Distortion = NO_DISTORTION

    def __post_init__(self) -> None:
        K = np.asarray(self.intrinsics, np.float64)
        numbers = np.concatenate((K.ravel(), np.ravel(self.quaternion), np.ravel(self.translation)))
        if K.shape != (3, 3) or len(numbers) != 16 or not (np.abs(numbers) < LARGEST).all():
            raise ValueError(f"{self.image}: expected 3x3 intrinsics and a pose of numbers below {LARGEST:g}")
        if not (K[0, 0] > 0 and K[1, 1] > 0 and K[0, 1] == K[1, 0] == 0 and (K[2] == (0, 0, 1)).all()):
            raise ValueError(
                f"{self.image}: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0, got {K.tolist()}"
            )
        length = float(np.linalg.norm(self.quaternion))
        if not abs(length - 1) < 1e-3:
            raise ValueError(f"{self.image}: expected a quaternion of unit length, got {length:.6g}")
        if self.size_hw is not None and not all(0 < side < _LARGEST_SIDE for side in self.size_hw):
            raise ValueError(f"{self.image}: expected sides of 1 to {_LARGEST_SIDE} px, got {self.size_hw}")

    @property
    def matrix(self) -> Array:
        """[3, 4], cam_from_scene."""
        turn = rotation.matrix_from_quaternion(np.asarray(self.quaternion, np.float64))
        return np.concatenate((turn, np.asarray(self.translation, np.float64)[:, None]), axis=1)

    def upright(self, upright_hw: tuple[int, int], orientation: int) -> "PosedCamera":
        """The camera of the photograph as it is meant to be seen.

        Args:
          upright_hw: Height and width of the upright photograph, px; it may be a reduced copy.
          orientation: EXIF orientation of the stored photograph.

        Raises:
          ValueError: If the photograph has another shape than the camera's, or its orientation mirrors it.
        """
        if orientation not in _UPRIGHT_TURNS:
            raise ValueError(f"{self.image}: its EXIF orientation {orientation} mirrors it, which no camera's pose can")
        stored_hw = upright_hw if orientation in (1, 3) else upright_hw[::-1]
        K = np.asarray(self.intrinsics, np.float64)
        if self.size_hw is not None:
            ratio = (stored_hw[1] / stored_hw[0]) / (self.size_hw[1] / self.size_hw[0])
            if abs(ratio - 1) > _SAME_SHAPE:
                raise ValueError(
                    f"{self.image}: its camera is of {self.size_hw[1]} x {self.size_hw[0]} px, the photograph has "
                    f"{stored_hw[1]} x {stored_hw[0]}"
                )
            K = camera.resize_intrinsics(K, self.size_hw, stored_hw)
        turn = np.eye(3)
        turn[:2, :2] = _UPRIGHT_TURNS[orientation]
        matrix = turn @ self.matrix
        return PosedCamera(
            self.image,
            upright_hw,
            upright_intrinsics(K, upright_hw, orientation),
            np.asarray(rotation.quaternion_from_matrix(matrix[:, :3]), np.float64),
            matrix[:, 3],
            self.distortion.turned(turn[:2, :2]),
        )

    def stored_pose(self, quaternion: npt.ArrayLike, translation: npt.ArrayLike, orientation: int) -> "PosedCamera":
        """This camera with a pose that was found for the upright photograph.

        Args:
          quaternion: [4], cam_from_scene of the upright photograph.
          translation: [3], in the unit of the scene.
          orientation: EXIF orientation of the stored photograph.
        """
        back = np.eye(3)
        back[:2, :2] = np.transpose(_UPRIGHT_TURNS[orientation])
        turn = back @ rotation.matrix_from_quaternion(np.asarray(quaternion, np.float64))
        return dataclasses.replace(
            self,
            quaternion=np.asarray(rotation.quaternion_from_matrix(turn), np.float64),
            translation=back @ np.asarray(translation, np.float64),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class CameraSet:
    """Cameras of one scene.

    Attributes:
      cameras: One a photograph.
      unit_mm: Millimetres in the scene's unit of length; None if the file does not tell, as where a scene was computed
        from photographs alone.
    """

    cameras: tuple[PosedCamera, ...]
    unit_mm: float | None = None

    def of(self, path: Path) -> PosedCamera:
        """The camera of a photograph: the one whose name its path ends with, or else the only one of its file name.

        Raises:
          ValueError: If there is none, or several.
        """
        parts = path.resolve().parts
        named = [one for one in self.cameras if PurePosixPath(one.image).name == path.name]
        longest = 0
        best: list[PosedCamera] = []
        for one in named:
            own = [part for part in PurePosixPath(one.image).parts if part not in (".", "..", "/")]
            common = next((n for n in range(len(own), 0, -1) if tuple(own[-n:]) == parts[-n:]), 0)
            if common > longest:
                longest, best = common, [one]
            elif common == longest:
                best.append(one)
        if len(best) != 1:
            raise ValueError(f"{path}: expected one camera for it, got {len(best)} of {len(self.cameras)}")
        return best[0]
