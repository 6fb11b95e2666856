"""The crop of a face as a camera: exact geometry, faithful pixels, and the framing of training."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tfface import schema
from tfface.drawing import overlay
from tfface.geometry import camera, rotation
from tfface.people import photographer
from tfface.people.anthropometric import AnthropometricPeople
from tfface.people.photographer import framing
from tfface.photographs import face_crop
from tfface.photographs.detector import DetectedFace, find_faces, shared_mtcnn

K = np.array([[700.0, 0, 310], [0, 720, 250], [0, 0, 1]])
SIZE_HW = (480, 640)


def _pose(rng):
    yaw, pitch, roll = rng.uniform((-40, -15, -60), (40, 15, 60))
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, pitch, roll))
    return quaternion, np.array([rng.uniform(-150, 150), rng.uniform(-100, 100), rng.uniform(500, 900)])


def _camera(rng):
    """A crop's camera that looks somewhere near the axis, turned about it."""
    turn = rotation.matrix_from_yaw_pitch_roll(*rng.uniform((-15, -12, -90), (15, 12, 90)))
    return face_crop.CropCamera(turn, float(rng.uniform(0.1, 0.4)))


def _face(points):
    """What a detector might say of five points: a box about them."""
    low, high = points.min(axis=0), points.max(axis=0)
    height = (high - low).max()
    return DetectedFace(points, np.concatenate((low - 0.7 * height, high + 0.7 * height)), 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_pose_in_the_crop_is_the_pose_in_the_photograph(seed):
    """Points projected by the pose carried back land where the homography takes those projected in the crop."""
    rng = np.random.default_rng(seed)
    crop, (quaternion, translation), points = _camera(rng), _pose(rng), rng.normal(0, 60, (50, 3))
    size = 64
    in_crop = camera.project_array(points, quaternion, translation, crop.intrinsics(size))
    in_photograph = camera.project_array(points, *crop.pose_in_photograph(quaternion, translation), K)
    mapped = np.column_stack((in_crop, np.ones(50))) @ crop.px_from_crop(K, size).T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], in_photograph, atol=1e-8)
    assert crop.pose_in_photograph(quaternion, translation)[0][3] >= 0


@pytest.mark.parametrize("size", [16, 64, 224])
def test_the_crop_is_the_picture_that_its_camera_would_take(size):
    """A head drawn in the photograph's camera and cropped, against the head drawn in the crop's camera."""
    people = AnthropometricPeople(1)
    vertices, triangles = people.head_shape(0), people.head.triangles
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(20.0, 5.0, 25.0))
    translation = np.array([90.0, -60.0, 700.0]) - rotation.matrix_from_quaternion(quaternion) @ vertices.mean(axis=0)
    photograph = overlay.render(vertices, triangles, quaternion, translation, K, SIZE_HW)
    true_five = camera.project_array(_five(people), quaternion, translation, K)
    crop = face_crop.face_camera(_face(true_five), K)
    taken, taken_K = face_crop.take(photograph, K, crop, size)
    fine = len(taken)
    assert fine % size == 0
    turned = crop.crop_from_photograph @ rotation.matrix_from_quaternion(quaternion)
    drawn = overlay.render(
        vertices,
        triangles,
        rotation.quaternion_from_matrix(turned),
        crop.crop_from_photograph @ translation,
        taken_K,
        (fine, fine),
    )
    shift = _shift(taken.mean(axis=-1), drawn.mean(axis=-1))
    # Of the photograph's pixels, as those of a crop are smaller where the photograph is coarse.
    per_crop_px = face_crop._reduction(crop.px_from_crop(K, fine), fine)
    assert np.abs(shift * per_crop_px).max() < 0.1


def _five(people):
    index = people.head.landmarks
    shape = people.head_shape(0)
    names = face_crop.FIVE_POINTS.values()
    return np.stack([shape[[index[name] for name in of_point]].mean(axis=0) for of_point in names]).astype(np.float64)


def _shift(a, b):
    """The shift (x, y), in px, that takes picture b to a, by least squares on gradients (Lucas and Kanade, 1981)."""
    gy, gx = np.gradient((a + b) / 2)
    inner = np.s_[2:-2, 2:-2]
    gradients = np.stack((gx[inner].ravel(), gy[inner].ravel()), axis=1)
    return -np.linalg.lstsq(gradients, (a - b)[inner].ravel(), rcond=None)[0]


@pytest.mark.parametrize("reduction", [0.6, 2.0, 7.0, 19.0])
def test_marks_are_found_where_the_camera_projects_them(reduction):
    """The centroid of a round mark, at every scale at which pixels are enlarged, kept, or averaged."""
    size = 64
    turn = rotation.matrix_from_yaw_pitch_roll(4.0, -3.0, 30.0)
    focal = 900.0 * reduction
    wide = np.array([[focal, 0, 0], [0, focal, 0], [0, 0, 1]])
    crop = face_crop.CropCamera(turn, size * reduction / focal)
    centre = crop.px_from_crop(wide, size) @ [40.0, 25.0, 1.0]
    wide[:2, 2] = (540.3, 561.8) - centre[:2] / centre[2]
    x, y = 540.3, 561.8
    columns, rows = np.meshgrid(np.arange(1100) + 0.5, np.arange(1100) + 0.5)
    mark = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (2.5 * reduction) ** 2))
    photograph = np.repeat(np.rint(mark).astype(np.uint8)[..., None], 3, axis=-1)
    taken, taken_K = face_crop.take(photograph, wide, crop, size)
    weights = taken[..., 0].astype(float)
    grid = (np.indices(weights.shape) + 0.5)[::-1]
    found = (grid * weights).sum(axis=(1, 2)) / weights.sum() * size / len(taken)
    np.testing.assert_allclose(found, [40, 25], atol=0.05)
    assert taken_K[0, 2] == len(taken) / 2


def test_what_is_finer_than_the_crop_is_averaged_not_sampled():
    """Stripes of one pixel become the grey between them."""
    photograph = np.zeros((900, 900, 3), np.uint8)
    photograph[:, ::2] = 200
    wide = np.array([[3000.0, 0, 450], [0, 3000, 450], [0, 0, 1]])
    crop = face_crop.CropCamera(rotation.matrix_from_yaw_pitch_roll(0.0, 0.0, 8.0), 700 / 3000)
    taken, _ = face_crop.take(photograph, wide, crop, 16)
    assert len(taken) == 64
    assert np.abs(taken.astype(int) - 100).max() <= 3


def test_outside_the_photograph_it_is_reflected():
    photograph = np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (100, 1, 3))
    narrow = np.array([[200.0, 0, 0], [0, 200, 50], [0, 0, 1]])
    crop = face_crop.CropCamera(np.eye(3), 40 / 200)
    taken, _ = face_crop.take(photograph, narrow, crop, 40)
    np.testing.assert_array_equal(taken[:, :20], taken[:, :19:-1])
    assert taken[0, 20:, 0].tolist() == list(range(0, 40, 2))


def test_the_detector_s_faces_are_upright_on_the_axis_and_framed_as_in_training():
    """Photographs in which a face is off the axis and takes half of the picture, against the square of training."""
    pytest.importorskip("mtcnn")
    settings = photographer.PhotographySettings(
        image_size=144, num_views=5, margin=0.9, box_jitter=0.2, roll_deviation=15, supersampling=1
    )
    people = AnthropometricPeople(1, seed=5, settings=settings)
    landmarks = people.head_shape(0)[[people.head.landmarks[name] for name in schema.IBUG68]]
    errors = []
    for view in people.views(0):
        photograph = np.asarray(Image.open(io.BytesIO(view.image)))
        faces = find_faces(photograph, shared_mtcnn())
        if not faces:
            continue
        assert faces[0].confidence > 0.9
        crop = face_crop.face_camera(faces[0], view.intrinsics)
        turn = crop.crop_from_photograph @ rotation.matrix_from_quaternion(view.quaternion.astype(np.float64))
        points = framing.framed_points(landmarks) @ turn.T + crop.crop_from_photograph @ view.translation
        plane = points[:, :2] / points[:, 2:]
        low, high = plane.min(axis=0), plane.max(axis=0)
        side = (high - low).max() * (1 + photographer.PhotographySettings.margin)
        roll = rotation.yaw_pitch_roll_from_matrix(turn)[2]
        errors.append([*((low + high) / 2 / side), np.log(crop.side / side), float(roll) / 100])
    assert len(errors) >= 4
    across, down, size, roll = np.abs(errors).mean(axis=0)
    assert max(across, down) < 0.05
    assert size < 0.1
    assert roll < 0.06


def test_the_detector_sees_no_face_in_a_drawing():
    pytest.importorskip("mtcnn")
    drawing = Image.new("RGB", (160, 160), "white")
    pen = ImageDraw.Draw(drawing)
    pen.rectangle((40, 70, 120, 140), outline="black", width=2)
    pen.polygon((30, 70, 80, 25, 130, 70), outline="black", width=2)
    pen.rectangle((70, 100, 90, 140), outline="black", width=2)
    pen.line((48, 95, 62, 95), fill="black", width=2)
    assert find_faces(np.asarray(drawing), shared_mtcnn()) == []


def test_bad_arguments_are_refused():
    photograph = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(ValueError, match="5 points and a box of 4"):
        face_crop.face_camera(DetectedFace(np.zeros((4, 2)), np.zeros(4), 1.0), K)
    with pytest.raises(ValueError, match="its points and its box are one"):
        face_crop.face_camera(DetectedFace(np.ones((5, 2)), np.ones(4), 1.0), K)
    with pytest.raises(ValueError, match="uint8"):
        face_crop.take(photograph.astype(np.float32), K, face_crop.CropCamera(np.eye(3), 0.1), 8)
    behind = face_crop.CropCamera(rotation.matrix_from_yaw_pitch_roll(80.0, 0.0, 0.0), 2.0)
    with pytest.raises(ValueError, match="behind the camera"):
        face_crop.take(photograph, K, behind, 8)


def test_a_detector_sees_large_photographs_reduced_and_looks_again():
    """Faces come back in the photograph's pixels, from left to right; sizes are tried until there is one."""
    seen = []

    def detector(picture):
        seen.append(picture.shape[:2])
        if len(seen) < 2:
            return []
        height, width = picture.shape[:2]
        points = np.array([[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.4, 0.6], [0.6, 0.6]]) * (width, height)
        box = np.array([0.3, 0.3, 0.7, 0.7]) * (width, height, width, height)
        return [DetectedFace(points + (width * 0.1, 0), box, 1.0), DetectedFace(points, box, 0.9)]

    photograph = np.zeros((1500, 2000, 3), np.uint8)
    left, right = find_faces(photograph, detector)
    assert [h * w <= n for (h, w), n in zip(seen, (1 << 18, 1 << 20), strict=True)] == [True, True]
    np.testing.assert_allclose(left.points[2], (1000, 750))
    np.testing.assert_allclose(right.points[2], (1200, 750))
    np.testing.assert_allclose(left.box, (600, 450, 1400, 1050))
    seen.clear()
    assert find_faces(photograph[:40, :60], lambda _: []) == []
    with pytest.raises(ValueError, match="uint8"):
        find_faces(photograph[..., 0], detector)
