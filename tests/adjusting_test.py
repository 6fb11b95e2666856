"""Reconstructions adjusted to points: all photographs, whoever finds the points, and how sure everything is."""

import dataclasses

import numpy as np
import pytest
import small_face

from tfface.face import Expressions
from tfface.face.surface_points import SurfacePoints
from tfface.fitting import IdentityPrior
from tfface.geometry import camera, rotation
from tfface.photographs import face_crop, face_landmarker, mediapipe_landmarks
from tfface.photographs.detector import DetectedFace
from tfface.photographs.landmark_sources import AUTO, MEDIAPIPE, NETWORK, SeenPoints
from tfface.photographs.photograph import Photograph
from tfface.reconstruction import adjusting, json_file
from tfface.reconstruction.adjusting import Adjuster
from tfface.reconstruction.cropping import CroppedFace, PersonCrops
from tfface.reconstruction.reconstructed_face import Reconstruction, View

MOVES = np.stack([8 * np.sin(np.arange(525)[:, None] / [7.0, 5, 3]), 5 * np.cos(np.arange(525)[:, None] / [4.0, 9, 6])])
PLAIN = small_face.face_model()
FACE = dataclasses.replace(PLAIN, expressions=Expressions(MOVES, ("jawOpen", "mouthSmileLeft"), "blendshapes"))
SURFACE = SurfacePoints.spread(PLAIN, 150)
K = np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]])
CODE, WEIGHTS = np.array([0.8, -0.6, 0.5, -0.4]), np.array([[0.3, 0.2], [0.8, 0.1], [0.1, 0.6], [0.2, 0.9]])
YAWS = (-40.0, 30.0, 0.0, 10.0)


class Finder:
    """A landmark source that knows where its points are."""

    name = MEDIAPIPE

    def surface(self, face_model):
        return SURFACE

    def __call__(self, photograph, intrinsics, crop):
        raise AssertionError("points were found when photographs were read")


def pose(number):
    turn = rotation.matrix_from_yaw_pitch_roll(YAWS[number], 5.0, -3.0)
    return rotation.quaternion_from_matrix(turn), np.array([10.0, -5, 600 + 20 * number])


def seen(number, face_model):
    weights = WEIGHTS[number] if face_model.expressions is not None else np.zeros(0)
    points = SURFACE.of(face_model.posed(CODE, weights))
    return SeenPoints(camera.project_array(points, *pose(number), K), np.full(len(SURFACE), 0.05))


def person(face_model, found, without=()):
    """What a network that knows nothing says of two photographs, and the crops of all with their points."""
    blank = np.zeros((480, 640, 3), np.uint8)
    box = np.array([1.0, 2, 3, 4])
    views = tuple(
        View(f"{n}.jpg", blank, K, np.array([0, 0, 0, 1.0]), np.array([0, 0, 700.0]), box, 0.9) for n in found[:2]
    )
    crops = tuple(
        CroppedFace(
            Photograph(f"{n}.jpg", blank),
            K,
            "assumed",
            DetectedFace(np.zeros((5, 2)), box, 0.9),
            face_crop.CropCamera(np.eye(3), 0.3),
            blank[:8, :8],
            np.eye(3),
            points=None if n in without else seen(n, face_model),
        )
        for n in found
    )
    code = np.zeros(4, np.float32)
    weights = None if face_model.expressions is None else np.zeros((len(views), 2), np.float32)
    return Reconstruction("anna", code, face_model.decode(code), face_model, views, weights), PersonCrops(
        "anna", crops, ()
    )


@pytest.mark.parametrize("face_model", [FACE, PLAIN], ids=["expressions", "identity alone"])
def test_all_photographs_give_the_person_and_every_pose(face_model):
    network, crops = person(face_model, [0, 1, 2, 3])
    made = Adjuster(MEDIAPIPE, Finder()).adjusted(network, crops)
    assert np.abs(made.coefficients - CODE).max() < 0.05
    assert [view.name for view in made.views] == ["0.jpg", "2.jpg", "3.jpg", "1.jpg"]  # by ascending yaw
    for view in made.views:
        quaternion, translation = pose(int(view.name[0]))
        assert abs(view.quaternion @ quaternion) > np.cos(np.radians(0.5) / 2)
        assert np.abs(view.translation - translation).max() < 3
    if face_model.expressions is None:
        assert made.expressions is None
    else:
        assert np.abs(made.expressions - WEIGHTS[[0, 2, 3, 1]]).max() < 0.1
    assert np.abs(made.vertices - face_model.decode(made.coefficients)).max() == 0


def test_a_photograph_without_points_keeps_what_the_network_said():
    made = Adjuster(MEDIAPIPE, Finder()).adjusted(*person(FACE, [0, 1, 2], without=[1, 2]))
    assert made.fit.photographs == 1
    assert [view.name for view in made.views] == ["0.jpg", "1.jpg"]
    assert made.views[1].deviation is None
    assert made.views[1].translation.tolist() == [0, 0, 700]
    assert made.expressions[1].tolist() == [0, 0]
    network, crops = person(FACE, [0, 1], without=[0, 1])
    assert Adjuster(MEDIAPIPE, Finder()).adjusted(network, crops) is network


def test_the_network_s_own_points_are_taken_where_it_has_any():
    network, crops = person(FACE, [0, 1], without=[0, 1])
    views = tuple(dataclasses.replace(view, points=seen(n, FACE)) for n, view in enumerate(network.views))
    made = Adjuster(NETWORK, None).adjusted(dataclasses.replace(network, views=views, surface=SURFACE), crops)
    assert made.fit.source == NETWORK
    assert np.abs(made.coefficients - CODE).max() < 0.1


def test_what_the_network_knows_of_the_person_holds_against_points():
    network, crops = person(PLAIN, [0, 1, 2, 3])
    sure = IdentityPrior(np.full(4, 0.3), 1e9 * np.eye(4))
    held = Adjuster(MEDIAPIPE, Finder()).adjusted(dataclasses.replace(network, prior=sure), crops)
    np.testing.assert_allclose(held.coefficients, 0.3, atol=0.01)
    free = Adjuster(MEDIAPIPE, Finder()).adjusted(network, crops)
    assert np.abs(free.coefficients - CODE).max() < 0.05


def test_the_file_tells_how_sure_everything_is_and_more_photographs_are_surer():
    told = [
        json_file.content(Adjuster(MEDIAPIPE, Finder()).adjusted(*person(FACE, found)), {})
        for found in ([0], [0, 1, 2, 3])
    ]
    one, four = told
    assert four["fit"]["source"] == MEDIAPIPE
    assert four["fit"]["photographs"] == 4
    assert all(
        0 < more < less < 1
        for less, more in zip(one["coefficients_deviation"], four["coefficients_deviation"], strict=True)
    )
    shot = four["photographs"][0]
    assert all(0 < value < 2 for value in shot["pose_deviation"]["rotation"])
    assert all(0 < value < 20 for value in shot["pose_deviation"]["translation"])
    assert set(shot["weights_deviation"]) == {"jawOpen", "mouthSmileLeft"}


def test_points_and_deviations_of_a_crop_go_to_the_photograph():
    crop = face_crop.CropCamera(rotation.matrix_from_yaw_pitch_roll(8.0, -6.0, 25.0), 0.4)
    points = np.random.default_rng(0).normal(size=(20, 3)) * 40 + [-60, 40, 600.0]
    px = points[:, :2] / points[:, 2:] @ K[:2, :2].T + K[:2, 2]
    turned = points @ crop.crop_from_photograph.T
    inner = crop.intrinsics(64)
    in_crop = turned[:, :2] / turned[:, 2:] @ inner[:2, :2].T + inner[:2, 2]
    found = SeenPoints.of_crop(in_crop, np.ones(20), crop.px_from_crop(K, 64))
    assert np.allclose(found.points, px, atol=1e-6)
    moved = SeenPoints.of_crop(in_crop + [1e-4, 0], np.ones(20), crop.px_from_crop(K, 64))
    lengths = np.linalg.norm(moved.points - found.points, axis=1) / 1e-4
    assert np.allclose(found.deviations, lengths, rtol=0.05)


class Model:
    """A predictor of which only its 3DMM and points matter."""

    def __init__(self, surface=None):
        self.face_model, self.surface = PLAIN, surface


def test_the_source_is_the_network_s_own_points_before_any_other_and_its_absence_is_told(tmp_path):
    assert adjusting.open_adjuster(AUTO, "", Model(SURFACE)).name == NETWORK
    assert "no other landmark source is at hand" in adjusting.open_adjuster(AUTO, "", Model())
    with pytest.raises(ValueError, match="landmark_source: the model finds no points"):
        adjusting.open_adjuster(NETWORK, "", Model())
    with pytest.raises(ValueError, match="landmark_source: mediapipe needs its model"):
        adjusting.open_adjuster(MEDIAPIPE, "", Model())
    with pytest.raises(ValueError, match="face_landmarker: no such file"):
        adjusting.open_adjuster(AUTO, str(tmp_path / "none.task"), Model())


def test_the_landmarker_is_shown_no_reflection():
    crop = face_crop.CropCamera(np.eye(3), 1.0)
    intrinsics = np.array([[80.0, 0, 20], [0, 80, 30], [0, 0, 1]])
    picture, _ = face_crop.take(np.full((60, 100, 3), 200, np.uint8), intrinsics, crop, 80)
    shown = mediapipe_landmarks.without_reflection(picture, crop.px_from_crop(intrinsics, 80), (60, 100))
    assert picture.min() == 200
    # The photograph's corner lies 20 px left of and 30 above the axis, which is in the crop's middle.
    assert (shown[10:70, 20:] == 200).all()
    assert shown[:10].max() == shown[70:].max() == shown[:, :20].max() == 0


def test_a_bundle_that_is_none_is_refused_and_nobody_is_found_in_noise(face_landmarker_task, tmp_path):
    (tmp_path / "bad.task").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.task: not a bundle"):
        face_landmarker.FaceLandmarker(tmp_path / "bad.task")
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    assert face_landmarker.LandmarkDetector(face_landmarker_task)(noise) == []
