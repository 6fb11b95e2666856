"""Which photographs a model sees, in which order, and what becomes of its answers, by one that knows the truth."""

import dataclasses

import numpy as np
import pytest
import tiny

from tfface import fitting
from tfface.geometry import camera, rotation
from tfface.photographs import face_crop
from tfface.photographs.detector import DetectedFace
from tfface.photographs.photograph import Photograph
from tfface.reconstruction.assembly import Models, assemble
from tfface.reconstruction.cropping import CroppedFace, PersonCrops
from tfface.reconstruction.predictor import Prediction, batches

K = np.array([[80.0, 0, 32], [0, 80, 32], [0, 0, 1]])
FACE_MODEL = tiny.face_model()


class Oracle:
    """A predictor that reads the number of a photograph off its first pixel and knows the yaw by it.

    The coefficients of a set are the numbers of its photographs in their order, padded with -1, so that a test sees who
    was asked for what; each set that was asked for is kept.
    """

    def __init__(self, yaws, num_views, takes_fewer=False, size=8, moves=False):
        self.yaws, self.num_views, self.takes_fewer, self.size = yaws, num_views, takes_fewer, size
        self.moves = moves
        self.face_model, self.surface = FACE_MODEL, None
        self.asked = []

    def predict(self, sets):
        found = []
        for crops in [one for batch in batches(sets, 3, self) for one in batch]:
            numbers = [int(crop.pixels[0, 0, 0]) for crop in crops]
            self.asked.append(tuple(numbers))
            turns = rotation.matrix_from_yaw_pitch_roll([self.yaws[n] for n in numbers], 0.0, 0.0)
            coefficients = np.zeros(4, np.float32)
            coefficients[: len(numbers)] = numbers
            found.append(
                Prediction(
                    coefficients,
                    FACE_MODEL.decode(coefficients),
                    rotation.quaternion_from_matrix(turns).astype(np.float32),
                    np.array([[n, 0, 500] for n in numbers], np.float32),
                    np.array([[n, 2 * n] for n in numbers], np.float32) if self.moves else None,
                )
            )
        return found


def person(name, numbers, turn=None):
    """PersonCrops whose crops carry their numbers."""
    crop_camera = face_crop.CropCamera(np.eye(3) if turn is None else turn, 0.3)
    face = DetectedFace(np.zeros((5, 2)), np.array([1.0, 2, 3, 4]), 0.97)
    found = [
        CroppedFace(
            Photograph(f"{name}{number}.jpg", np.zeros((64, 64, 3), np.uint8)),
            K,
            "assumed",
            face,
            crop_camera,
            np.full((8, 8, 3), number, np.uint8),
            crop_camera.intrinsics(8),
        )
        for number in numbers
    ]
    return PersonCrops(name, tuple(found), ())


def test_one_photograph_goes_to_a_single_view_model_and_its_pose_to_the_photograph():
    turn = rotation.matrix_from_yaw_pitch_roll(10.0, -5.0, 30.0)
    (made,) = assemble([person("a", [3], turn)], Models(Oracle({3: 20.0}, 1)), 1)
    assert made.coefficients.tolist() == [3, 0, 0, 0]
    (view,) = made.views
    in_crop = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(20.0, 0.0, 0.0))
    points = made.vertices.astype(np.float64)
    crop_camera = face_crop.CropCamera(turn, 0.3)
    px = camera.project_array(points, in_crop, [3.0, 0, 500], crop_camera.intrinsics(64))
    mapped = np.column_stack((px, np.ones(len(px)))) @ crop_camera.px_from_crop(K, 64).T
    expected = mapped[:, :2] / mapped[:, 2:]
    np.testing.assert_allclose(
        camera.project_array(points, view.quaternion, view.translation, view.intrinsics), expected, atol=1e-3
    )
    assert view.name == "a3.jpg"
    assert view.confidence == 0.97
    assert view.box.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("num_views", [1, 3])
def test_each_photograph_keeps_the_expression_that_was_seen_in_it(num_views):
    yaws = {0: 40.0, 1: -30.0, 2: 0.0, 3: 20.0}
    (made,) = assemble([person("a", [0, 1, 2])], Models(Oracle(yaws, num_views, moves=True)), 1)
    assert [view.name for view in made.views] == ["a1.jpg", "a2.jpg", "a0.jpg"]
    assert made.expressions.tolist() == [[1, 2], [2, 4], [0, 0]]
    (averaged,) = assemble([person("a", [0, 1, 2, 3])], Models(Oracle(yaws, 3, moves=True)), 4)
    numbers = [int(view.name[1]) for view in averaged.views]
    assert numbers == [1, 2, 3, 0]
    assert averaged.expressions.tolist() == [[n, 2 * n] for n in numbers]
    (neutral,) = assemble([person("a", [0, 1, 2])], Models(Oracle(yaws, num_views)), 1)
    assert neutral.expressions is None


@pytest.mark.parametrize(("order", "calls"), [([0, 1, 2], 1), ([2, 0, 1], 2)])
def test_views_are_shown_by_ascending_yaw(order, calls):
    """As they were given they are shown once; a second time only if they were not in order."""
    oracle = Oracle({0: -40.0, 1: 5.0, 2: 50.0}, 3)
    (made,) = assemble([person("a", order)], Models(oracle), 1)
    assert oracle.asked[-1] == (0, 1, 2)
    assert len(oracle.asked) == calls
    assert [view.name for view in made.views] == ["a0.jpg", "a1.jpg", "a2.jpg"]
    np.testing.assert_array_equal(made.coefficients, [0, 1, 2, 0])
    assert [view.translation[0] for view in made.views] == [0, 1, 2]


def test_of_more_photographs_those_nearest_to_the_targets_are_shown():
    yaws = {0: 60.0, 1: -44.0, 2: 8.0, 3: -2.0, 4: -70.0, 5: 46.0, 6: 30.0}
    (made,) = assemble([person("a", list(yaws))], Models(Oracle(yaws, 3)), 1)
    assert [view.name for view in made.views] == ["a1.jpg", "a3.jpg", "a5.jpg"]
    np.testing.assert_array_equal(made.coefficients, [1, 3, 5, 0])


@pytest.mark.parametrize("alone", [False, True])
def test_several_choices_are_averaged(alone):
    """The two nearest triples of five; yaws by the model's own heads, or by a single view model's."""
    yaws = {0: -45.0, 1: -50.0, 2: 0.0, 3: 45.0, 4: 80.0}
    main, single = Oracle(yaws, 3), Oracle(yaws, 1)
    models = Models(main, single if alone else None)
    (made,) = assemble([person("a", list(yaws))], models, 2)
    np.testing.assert_allclose(made.coefficients, (np.array([0, 2, 3, 0]) + [1, 2, 3, 0]) / 2)
    np.testing.assert_allclose(made.vertices, FACE_MODEL.decode(made.coefficients), atol=1e-4)
    assert [view.name for view in made.views] == ["a1.jpg", "a0.jpg", "a2.jpg", "a3.jpg"]
    assert main.asked == ([(0, 2, 3), (1, 2, 3)] if alone else [(0, 1, 2), (3, 4, 0), (0, 2, 3), (1, 2, 3)])


def test_fewer_photographs_than_views():
    """A merge block that takes fewer gets them by yaw; another needs a single view model, or says so."""
    yaws = {0: 30.0, 1: -30.0}
    (masked,) = assemble([person("a", [0, 1])], Models(Oracle(yaws, 3, takes_fewer=True)), 1)
    np.testing.assert_array_equal(masked.coefficients, [1, 0, 0, 0])
    main, single = Oracle(yaws, 3, takes_fewer=True), Oracle(yaws, 1)
    assemble([person("a", [1]), person("b", [0, 1])], Models(main, single), 1)
    assert main.asked == [(1, 0)]
    assert (1,) in single.asked
    main, single = Oracle(yaws, 3), Oracle(yaws, 1)
    (mean,) = assemble([person("a", [0, 1])], Models(main, single), 1)
    np.testing.assert_array_equal(mean.coefficients, [0.5, 0, 0, 0])
    assert not main.asked
    (fault,) = assemble([person("a", [0, 1])], Models(main), 1)
    assert isinstance(fault, ValueError)
    assert str(fault).startswith("a: 2 photographs show a face, the model takes 3")


def test_people_are_predicted_together_and_come_back_in_order():
    yaws = {n: 10.0 * n - 45 for n in range(10)}
    main, single = Oracle(yaws, 3), Oracle(yaws, 1)
    made = assemble([person("a", [2, 1, 0]), person("b", [5]), person("c", [7, 8, 9])], Models(main, single), 1)
    assert [one.name for one in made] == ["a", "b", "c"]
    assert [one.coefficients.tolist() for one in made] == [[0, 1, 2, 0], [5, 0, 0, 0], [7, 8, 9, 0]]


def test_a_single_view_model_averages_all_photographs():
    yaws = {0: -45.0, 1: 0.0, 2: 45.0, 3: 85.0, 4: 20.0}
    (made,) = assemble([person("a", [4, 3, 2, 1, 0])], Models(Oracle(yaws, 1)), 1)
    np.testing.assert_array_equal(made.coefficients, [2, 0, 0, 0])
    assert [view.name for view in made.views] == ["a0.jpg", "a1.jpg", "a4.jpg", "a2.jpg", "a3.jpg"]


def test_models_that_do_not_go_together_are_refused():
    main = Oracle({}, 3)
    with pytest.raises(ValueError, match="takes 3 views, expected one"):
        Models(main, Oracle({}, 3))
    with pytest.raises(ValueError, match="crops of 16 px, the model 8"):
        Models(main, Oracle({}, 1, size=16))
    other = Oracle({}, 1)
    other.face_model = tiny.face_model(seed=1)
    with pytest.raises(ValueError, match="its 3DMM is another one"):
        Models(main, other)
    with pytest.raises(ValueError, match="average: expected at least 1"):
        assemble([], Models(main), 0)
    with pytest.raises(ValueError, match="crops: expected 3 to 3 of a person, got 1"):
        main.predict([[dataclasses.replace(person("a", [0]).found[0])]])


def test_estimates_of_photographs_are_joined_by_how_reliable_they_are():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 4))
    measured = fitting.Reliability.measured(truth, 0.5 * truth[:, None] + 0.3 * rng.normal(size=(50, 3, 4)))
    oracle = Oracle({0: 10.0, 1: -10.0, 2: 0.0}, 1)
    (made,) = assemble([person("a", [0, 1, 2])], Models(oracle, reliability=measured), 1)
    estimates = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]])
    known = measured.prior(estimates)
    np.testing.assert_allclose(made.coefficients, known.mean, rtol=1e-5)
    np.testing.assert_allclose(made.vertices, FACE_MODEL.decode(made.coefficients), rtol=1e-5)
    np.testing.assert_array_equal(made.prior.precision, known.precision)
    assert made.coefficients[0] > 1.2 * estimates[:, 0].mean()
    assert assemble([person("a", [0, 1, 2])], Models(oracle), 1)[0].prior is None
    # A model of several views answers for all of them at once, and is no such network.
    (several,) = assemble([person("a", [0, 1, 2])], Models(Oracle({0: 10.0, 1: -10.0, 2: 0.0}, 3), oracle, measured), 1)
    assert several.prior is None
