"""Crops framed anew: where the answer is the truth, the crop is the one that training cuts out."""

import dataclasses

import numpy as np
import pytest
import small_face

from tfface import schema
from tfface.geometry import camera, rotation
from tfface.people.photographer import framing
from tfface.people.photographer.settings import PhotographySettings
from tfface.photographs import face_crop
from tfface.photographs.detector import DetectedFace
from tfface.photographs.photograph import Photograph
from tfface.reconstruction.assembly import Models
from tfface.reconstruction.cropping import CroppedFace, PersonCrops
from tfface.reconstruction.predictor import Prediction
from tfface.reconstruction.reframing import reframed
from tfface.reconstruction.test_time_augmentation import with_test_time_augmentation

K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
SIZE = 32
FACE_MODEL = small_face.face_model()


def pose(yaw, pitch, roll, translation):
    matrix = rotation.matrix_from_yaw_pitch_roll(yaw, pitch, roll)
    return rotation.quaternion_from_matrix(matrix), np.array(translation, np.float64)


POSES = [pose(0, 0, 0, (0, 0, 700)), pose(35, -8, 12, (120, -60, 900)), pose(-60, 10, -25, (-90, 40, 600))]


def in_crop(crop, quaternion, translation):
    turn = crop.crop_from_photograph
    matrix = turn @ rotation.matrix_from_quaternion(quaternion)
    return rotation.quaternion_from_matrix(matrix), turn @ translation


class Knowing:
    """A predictor of one shape, which knows the pose in each photograph by its number, whatever the crop."""

    size, takes_fewer, surface, face_model = SIZE, False, None, FACE_MODEL

    def __init__(self, poses, cameras, num_views=1):
        self.poses, self.cameras, self.num_views = poses, cameras, num_views
        self.asked = []

    def predict(self, sets):
        found = []
        for crops in sets:
            numbers = [int(crop.pixels[0, 0, 0]) for crop in crops]
            self.asked.append(numbers)
            seen = [in_crop(self.cameras[number], *self.poses[number]) for number in numbers]
            quaternions, translations = (np.array(part, np.float32) for part in zip(*seen, strict=True))
            coefficients = np.zeros(FACE_MODEL.num_modes, np.float32)
            found.append(Prediction(coefficients, FACE_MODEL.mean.astype(np.float32), quaternions, translations))
        return found


def detected(poses):
    """Cameras as a detector might frame the faces: off in place, size and roll."""
    rng = np.random.default_rng(3)
    cameras = []
    for quaternion, translation in poses:
        turn = face_crop._towards(translation + rng.uniform(-15, 15, 3))
        roll = rotation.yaw_pitch_roll_from_matrix(turn @ rotation.matrix_from_quaternion(quaternion))[2]
        turn = rotation.matrix_from_yaw_pitch_roll(0.0, 0.0, rng.uniform(-6, 6) - roll) @ turn
        side = framed(poses[len(cameras)], face_crop.CropCamera(turn, 1.0))[1]
        cameras.append(face_crop.CropCamera(turn, side * rng.uniform(0.9, 1.1)))
    return cameras


def framed(of, crop):
    """Centre and side, in sides of the crop, of the square that training frames in the crop's camera; the roll."""
    quaternion, translation = in_crop(crop, *of)
    marks = [FACE_MODEL.landmarks[name] for name in schema.IBUG68]
    points = framing.framed_points(FACE_MODEL.mean[marks].astype(np.float64))
    on_plane = camera.project_array(points, quaternion, translation, np.eye(3))
    low, high = on_plane.min(axis=0), on_plane.max(axis=0)
    side = (high - low).max() * (1 + PhotographySettings.margin)
    roll = rotation.yaw_pitch_roll_from_matrix(rotation.matrix_from_quaternion(quaternion))[2]
    return (low + high) / 2 / crop.side, side / crop.side, roll


def person(cameras):
    face = DetectedFace(np.zeros((5, 2)), np.array([1.0, 2, 3, 4]), 0.97)
    found = [
        CroppedFace(
            Photograph(f"{number}.jpg", np.full((480, 640, 3), number, np.uint8)),
            K,
            "assumed",
            face,
            crop,
            np.full((SIZE, SIZE, 3), number, np.uint8),
            crop.intrinsics(SIZE),
        )
        for number, crop in enumerate(cameras)
    ]
    return PersonCrops("a", tuple(found), ("a line",))


@pytest.mark.parametrize("num_views", [1, 2])
def test_a_right_answer_frames_the_crop_as_training_does(num_views):
    cameras = detected(POSES)
    given, model = person(cameras), Knowing(POSES, cameras, num_views)
    (made,) = reframed([given], Models(model))
    assert (made.name, made.faults) == ("a", ("a line",))
    for of, before, after in zip(POSES, given.found, made.found, strict=True):
        off, size, roll = framed(of, before.camera)
        assert np.abs(off).max() > 0.005
        assert abs(size - 1) > 0.005
        assert abs(roll) > 0.1
        off, size, roll = framed(of, after.camera)
        np.testing.assert_allclose(off, 0, atol=1e-3)
        assert size == pytest.approx(1, abs=2e-3)
        assert roll == pytest.approx(0, abs=0.5)  # the last turn towards the middle of the square
        assert after.photograph is before.photograph
        fine = len(after.crop)
        np.testing.assert_allclose(after.crop_intrinsics, after.camera.intrinsics(fine))
        np.testing.assert_array_equal(after.crop, before.photograph.pixels[0, 0, 0])
    assert model.asked == ([[0], [1], [2]] if num_views == 1 else [[0, 1], [2, 0]])


def test_each_crop_is_asked_for_once_and_by_the_single_view_model_if_there_is_one():
    cameras = detected(POSES)
    main, single = Knowing(POSES, cameras, 3), Knowing(POSES, cameras)
    reframed([person(cameras)], Models(with_test_time_augmentation(main), with_test_time_augmentation(single)))
    assert main.asked == []
    assert single.asked == [[0], [1], [2]]


@pytest.mark.parametrize(
    "wrong",
    [(0, 0, -700), (0, 0, 20), (500, 0, 700), (0, 0, 250), (0, 0, 2500), (np.nan, 0, 700)],
    ids=["behind", "inside", "aside", "large", "small", "nowhere"],
)
def test_an_answer_that_is_no_such_face_leaves_the_detectors_crop(wrong):
    cameras = detected(POSES)
    given = person(cameras[:1])
    (made,) = reframed([given], Models(Knowing([pose(0, 0, 0, wrong)], cameras)))
    assert made.found[0] is given.found[0]


def test_a_3dmm_without_the_landmarks_frames_nothing():
    cameras = detected(POSES)
    model, given = Knowing(POSES, cameras), person(cameras)
    model.face_model = dataclasses.replace(FACE_MODEL, landmarks={})
    assert reframed([given], Models(model)) == [given]
    assert model.asked == []
