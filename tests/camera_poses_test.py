"""Poses of given cameras in the adjustment: held as they are, or refined by what the photographs show."""

import dataclasses
import itertools

import adjusting_test as adjusted
import numpy as np
import pytest

from tfface.geometry import camera, rotation
from tfface.photographs.cameras import CameraSet, PosedCamera
from tfface.photographs.landmark_sources import MEDIAPIPE
from tfface.reconstruction import scene
from tfface.reconstruction.adjusting import Adjuster
from tfface.reconstruction.options import HELD, REFINED
from tfface.reconstruction.refining import Refiner, Sizes
from tfface.reconstruction.scene import GivenCameras

SCALE, TURN, SHIFT = 0.002, rotation.matrix_from_yaw_pitch_roll(70.0, 20.0, -40.0), np.array([3.0, -1, 2])
"""``x_scene = SCALE TURN x_model + SHIFT``."""
ORIENTATIONS = (1, 1, 3, 1)
NUMBERS = (0, 1, 2, 3)


def true_camera(number):
    """Of the upright photograph, in the scene; K is the same for one that is stored on its head."""
    quaternion, translation = adjusted.pose(number)
    turn = rotation.matrix_from_quaternion(quaternion) @ TURN.T
    return PosedCamera(
        f"{number}.jpg",
        (480, 640),
        adjusted.K,
        rotation.quaternion_from_matrix(turn),
        SCALE * translation - turn @ SHIFT,
    )


def given_camera(number, degrees, mm):
    """Of the stored photograph, off the truth."""
    true, random = true_camera(number), np.random.default_rng(number)
    turn = rotation.matrix_from_vector(np.radians(degrees) * random.normal(size=3))
    shift = true.translation + SCALE * mm * random.normal(size=3)
    quaternion = rotation.quaternion_from_matrix(turn @ rotation.matrix_from_quaternion(true.quaternion))
    return true.stored_pose(quaternion, shift, ORIENTATIONS[number])


def found(poses, degrees=1.0, mm=8.0, numbers=NUMBERS, without=()):
    """The person among cameras that are off."""
    network, crops = adjusted.person(adjusted.FACE, list(numbers), without)
    given = {number: given_camera(number, degrees, mm) for number in numbers}
    faces = tuple(
        dataclasses.replace(
            face,
            given=given[number],
            photograph=dataclasses.replace(face.photograph, orientation=ORIENTATIONS[number]),
        )
        for number, face in zip(numbers, crops.found, strict=True)
    )
    views = tuple(
        dataclasses.replace(view, camera=given[number], orientation=ORIENTATIONS[number])
        for number, view in zip(numbers, network.views, strict=False)
    )
    adjuster = Adjuster(MEDIAPIPE, adjusted.Finder(), poses)
    sizes = Sizes(GivenCameras(CameraSet(tuple(given.values())), "colmap", 1 / SCALE, poses), None)
    made = Refiner(adjuster, sizes).refined(
        dataclasses.replace(network, views=views), dataclasses.replace(crops, found=faces)
    )
    return made, given


def errors(cameras):
    """Degrees between what cameras and the truth say of the turn from each photograph to the next."""
    ones = [cameras[number].upright((480, 640), ORIENTATIONS[number]).matrix[:, :3] for number in NUMBERS]
    true = [true_camera(number).matrix[:, :3] for number in NUMBERS]
    pairs = list(itertools.pairwise(NUMBERS))
    turns = [ones[a] @ ones[b].T @ (true[a] @ true[b].T).T for a, b in pairs]
    return np.degrees(np.arccos(np.clip([(np.trace(turn) - 1) / 2 for turn in turns], -1, 1)))


def test_refined_cameras_are_nearer_to_the_truth_and_see_the_face_where_it_is():
    made, given = found(REFINED)
    cameras = {int(view.name[0]): view.camera for view in made.views}
    assert errors(given).max() > 1
    assert errors(cameras).max() < 0.15
    assert scene.content(made.scene)["poses"] == REFINED
    points = adjusted.SURFACE.of(made.vertices).astype(np.float64)
    for view in made.views:
        upright = cameras[int(view.name[0])].upright((480, 640), view.orientation)
        np.testing.assert_allclose(
            camera.project_array(made.scene.apply(points), upright.quaternion, upright.translation, adjusted.K),
            camera.project_array(points, view.quaternion, view.translation, adjusted.K),
            atol=0.01,
        )
    assert abs(made.size - 1) < 2 * made.scale.deviation


def test_held_cameras_are_as_they_were_given():
    made, given = found(HELD)
    for view in made.views:
        assert view.camera == given[int(view.name[0])]
    assert scene.content(made.scene)["poses"] == HELD


def test_exact_cameras_stay_where_they_are():
    made, given = found(REFINED, degrees=0.0, mm=0.0)
    assert errors(given).max() < 1e-5
    assert errors({int(view.name[0]): view.camera for view in made.views}).max() < 0.05
    assert made.scene.scale == pytest.approx(SCALE, rel=0.01)
    np.testing.assert_allclose(made.scene.translation, SHIFT, atol=0.05)


@pytest.mark.parametrize(("numbers", "without"), [((1,), ()), ((0, 1), (1,))], ids=["one", "one without points"])
def test_what_no_points_tell_of_is_held(numbers, without):
    made, given = found(REFINED, numbers=numbers, without=without)
    held = [number for number in numbers if number in without or len(numbers) == 1]
    cameras = {int(view.name[0]): view.camera for view in made.views}
    assert all(cameras[number] == given[number] for number in held)
    assert scene.content(made.scene)["poses"] == (HELD if len(numbers) == 1 else REFINED)


def test_poses_are_refined_of_cameras_alone():
    with pytest.raises(ValueError, match="camera_poses: expected refined with cameras, got none"):
        scene.open_cameras("", 0.0, REFINED)
