"""A person in the scene of given cameras: in their poses, in their frame, and as files that lie in it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfface import fitting
from tfface.files import write_json
from tfface.geometry import mesh, rotation
from tfface.photographs import cameras
from tfface.photographs.cameras import CameraSet, PosedCamera
from tfface.reconstruction import scale
from tfface.reconstruction.options import HELD, REFINED
from tfface.reconstruction.outputs.output_mesh import output_surface
from tfface.reconstruction.reconstructed_face import Reconstruction, SceneFrame, View

Array = npt.NDArray[np.floating]

FOLDER, FACE, FRAME = "scene", "face.ply", "scene.json"
_POINTS = 200
"""Of the face, by which it is placed among the cameras."""
_TURN_DEVIATION, _SHIFT_DEVIATION = 0.3, 3.0
"""Degrees and mm about and along each axis, of poses that are refined. For errors of about 1 degree and 10 mm: points
of a photograph err together, and its pose is about a third as sure as the adjustment takes it (chosen among 1, 0.3
and 0.1 degrees on five people, seed 778 of benchmarks/camera_poses.py)."""
_ONE_PLACE = 1e-6
"""Of the cameras' distance from the origin of their scene."""


@dataclasses.dataclass(frozen=True, eq=False)
class GivenCameras:
    """What a run was told about the cameras of its photographs.

    Attributes:
      cameras: As read.
      how: Which of `cameras.FORMATS` they were in.
      unit_mm: Millimetres in the scene's unit of length; None if nobody knows.
      poses: `HELD`, or `REFINED` in the adjustment.
    """

    cameras: CameraSet
    how: str
    unit_mm: float | None
    poses: str = HELD


def open_cameras(path: str, unit_mm: float, poses: str = HELD) -> GivenCameras | None:
    """What the options say; None if they name no cameras.

    Args:
      path: Of `cameras.read`; empty for none.
      unit_mm: Millimetres in the scene's unit of length; 0 if the file tells, or nobody knows.
      poses: `HELD` or `REFINED`.

    Raises:
      OSError: If a file cannot be read.
      ValueError: If it holds no cameras, or the unit is given against what the file says, or anything without cameras.
    """
    if not path:
        if unit_mm:
            raise ValueError("scene_unit: expected it with cameras, got none")
        if poses != HELD:
            raise ValueError(f"camera_poses: expected {poses} with cameras, got none")
        return None
    read, how = cameras.read(Path(path))
    if unit_mm and read.unit_mm not in (None, unit_mm):
        raise ValueError(f"scene_unit: {path} is in units of {read.unit_mm:g} mm, got {unit_mm:g}")
    return GivenCameras(read, how, read.unit_mm or unit_mm or None, poses)


def stamps(path: str) -> list[list[int]]:
    """Sizes and times of change of the files of cameras that an option names; a result depends on them."""
    if not path:
        return []
    return [[file.stat().st_size, file.stat().st_mtime_ns] for file in cameras.located(Path(path))[0]]


Shot = tuple[PosedCamera | None, np.ndarray, int, np.ndarray]
"""Of a photograph, the camera as it was given, the upright pixels, the EXIF orientation, and K [3, 3] of the pixels."""


def rig_of(shots: Sequence[Shot]) -> fitting.Rig | None:
    """The rig of photographs, if each has a camera."""
    upright = [
        camera.upright((pixels.shape[0], pixels.shape[1]), orientation)
        for camera, pixels, orientation, _ in shots
        if camera is not None
    ]
    if len(upright) != len(shots):
        return None
    return fitting.Rig(
        np.stack([one.quaternion for one in upright]),
        np.stack([one.translation for one in upright]),
        np.stack([intrinsics for *_, intrinsics in shots]),
    )


def adjustable_rig(shots: Sequence[Shot], poses: str) -> fitting.Rig | None:
    """The rig by which photographs are adjusted; None if one has no camera, or the cameras are at one place.

    Those do not tell how the poses hang together in depth: each is then found by itself.

    Args:
      shots: The photographs.
      poses: `HELD` or `REFINED`.
    """
    rig = rig_of(shots)
    if rig is None or rig.spread <= _ONE_PLACE * np.abs(rig.translations).max():
        return None
    if poses == HELD:
        return rig
    return dataclasses.replace(rig, turn_deviation=_TURN_DEVIATION, shift_deviation=_SHIFT_DEVIATION)


def placed(person: Reconstruction, given: GivenCameras) -> Reconstruction:
    """A person among the given cameras, whose poses stay as they are, or are those of the adjustment.

    Where the unit of their scene is known, it tells how large the person is. Poses are refined where the person was
    adjusted to a photograph in `adjustable_rig`; the others are held.

    Args:
      person: Whose photographs each have a camera.
      given: The cameras.

    Raises:
      ValueError: If the cameras do not tell the unit of their scene and it is not known.
    """
    shots = [(view.camera, view.pixels, view.orientation, view.intrinsics) for view in person.views]
    rig = rig_of(shots)
    if rig is None:
        raise ValueError(f"{person.name}: expected a camera for every photograph")
    step = max(1, len(person.vertices) // _POINTS)
    points = np.stack([person.posed(number)[::step] for number in range(len(person.views))])
    found = fitting.place(
        points,
        np.stack([view.quaternion for view in person.views]),
        np.stack([view.translation for view in person.views]),
        rig,
        scale=None if given.unit_mm is None else 1 / given.unit_mm,
    )
    in_scene = found.scene_from_model
    size = person.scale
    if given.unit_mm is not None and np.isfinite(found.scale_deviation):
        size = scale.Scale(scale.CAMERAS, float(in_scene.scale) * given.unit_mm, found.scale_deviation)
    refines = given.poses == REFINED and adjustable_rig(shots, REFINED) is not None
    poses = REFINED if refines and any(view.deviation is not None for view in person.views) else HELD
    frame = SceneFrame(float(in_scene.scale), in_scene.rotation, in_scene.translation, given.how, poses)
    views = [
        _with_refined_camera(view, frame)
        if refines and view.deviation is not None
        else dataclasses.replace(view, quaternion=quaternion, translation=translation)
        for view, quaternion, translation in zip(person.views, found.quaternions, found.translations, strict=True)
    ]
    # The model's millimetres become true ones; the photographs stay as they are.
    return dataclasses.replace(person, views=tuple(views), scene=frame).scaled(size)


def _with_refined_camera(view: View, frame: SceneFrame) -> View:
    """The view with the camera, of the stored photograph, that sees the scene as the view sees the face."""
    assert view.camera is not None
    # x_cam = R_v x_model + t_v in mm, and x_scene = s R x_model + T; the camera is in the scene's unit, s a mm.
    turn = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64)) @ frame.rotation.T
    shift = frame.scale * np.asarray(view.translation, np.float64) - turn @ frame.translation
    camera = view.camera.stored_pose(rotation.quaternion_from_matrix(turn), shift, view.orientation)
    return dataclasses.replace(view, camera=camera)


def write(person: Reconstruction, folder: Path) -> None:
    """Writes the face and its cameras in the frame of the scene: `FACE`, `FRAME`, and the cameras in their format.

    Raises:
      ValueError: If the person is in no scene, or the format cannot say what a camera is.
      OSError: If a file cannot be written.
    """
    frame = person.scene
    if frame is None:
        raise ValueError(f"{person.name}: is in no scene")
    surface = output_surface(person.face_model)
    vertices = frame.apply(np.asarray(person.vertices, np.float64)).astype(np.float32)
    mesh.write_mesh(folder / FOLDER / FACE, mesh.Mesh(vertices, surface.triangles))
    known = tuple(view.camera for view in person.views if view.camera is not None)
    cameras.write(folder / FOLDER, CameraSet(known), frame.cameras)
    write_json(folder / FOLDER / FRAME, content(frame))


def content(frame: SceneFrame) -> dict[str, object]:
    """What JSON says of it: ``x_scene = scale R(q) x_model + translation``."""
    return {
        "scale": frame.scale,
        "quaternion": np.asarray(rotation.quaternion_from_matrix(frame.rotation), np.float64).tolist(),
        "translation": np.asarray(frame.translation, np.float64).tolist(),
        "cameras": frame.cameras,
        "poses": frame.poses,
    }
