"""Cameras of other programs: against COLMAP's own reader and writer, round trips, and files that lie."""

import json
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfface.geometry import camera, rotation
from tfface.photographs import cameras
from tfface.photographs.cameras import CameraSet, Distortion, PosedCamera
from tfface.photographs.cameras.distortion import undistort

LENSES = {
    "pinhole": Distortion(),
    "radial": Distortion((-0.12, 0.03, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0)),
    "opencv": Distortion((-0.2, 0.05, 0.0), (0.0, 0.0, 0.0), (0.002, -0.001)),
    "full": Distortion((-0.2, 0.05, 0.01), (0.02, -0.01, 0.003), (0.002, -0.001)),
    "fisheye": Distortion((0.05, -0.01, 0.002, -0.0005), fisheye=True),
}
POINTS = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 5), np.linspace(-0.4, 0.4, 4)), axis=-1).reshape(-1, 2)


def posed(name="a b.jpg", lens="pinhole", seed=0):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=4)
    q /= np.linalg.norm(q) * (1 if q[3] >= 0 else -1)
    K = np.array([[900.0, 0, 511.5], [0, 880.0, 380.25], [0, 0, 1]])
    return PosedCamera(name, (768, 1024), K, q, rng.normal(size=3) * 3, LENSES[lens])


def same(a, b):
    assert (a.image, a.size_hw) == (b.image, b.size_hw)
    for name in ("intrinsics", "quaternion", "translation"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-9)
    np.testing.assert_allclose(a.distortion.distorted(POINTS), b.distortion.distorted(POINTS), atol=1e-12)


SEVERAL = CameraSet(tuple(posed(f"set/{lens}.jpg", lens, seed) for seed, lens in enumerate(LENSES)))


@pytest.mark.parametrize(("how", "named"), [("colmap", ""), ("colmap_binary", ""), ("transforms", "transforms.json")])
def test_what_is_written_is_read_again(tmp_path, how, named):
    given = (
        SEVERAL if how != "transforms" else CameraSet(tuple(one for one in SEVERAL.cameras if "full" not in one.image))
    )
    cameras.write(tmp_path, given, how)
    for path in (tmp_path, tmp_path / named):
        found, format_ = cameras.read(path)
        assert format_ == how
        assert found.unit_mm is None
        for a, b in zip(given.cameras, found.cameras, strict=True):
            same(a, b)


def test_a_views_json_is_in_millimetres_and_has_no_distortion(tmp_path):
    cameras.write(tmp_path, CameraSet((posed("images/a.jpg"),)), "views")
    (tmp_path / "images").mkdir()
    found, format_ = cameras.read(tmp_path / "views.json")
    assert (format_, found.unit_mm, found.cameras[0].image) == ("views", 1.0, "images/a.jpg")
    np.testing.assert_allclose(found.cameras[0].matrix, posed().matrix, atol=1e-12)
    with pytest.raises(ValueError, match=r"views.json has no distortion"):
        cameras.write(tmp_path, SEVERAL, "views")
    with pytest.raises(ValueError, match="no such coefficients"):
        cameras.write(tmp_path, SEVERAL, "transforms")
    with pytest.raises(ValueError, match="no name with spaces"):
        cameras.write(tmp_path, CameraSet((posed(),)), "colmap")


@pytest.mark.parametrize("how", ["colmap", "colmap_binary"])
def test_colmap_reads_what_is_written_and_projects_alike(tmp_path, how):
    pycolmap = pytest.importorskip("pycolmap")
    cameras.write(tmp_path, SEVERAL, how)
    theirs = pycolmap.Reconstruction(str(tmp_path))
    by_name = {image.name: image for image in theirs.images.values()}
    for ours in SEVERAL.cameras:
        image = by_name[ours.image]
        np.testing.assert_allclose(image.cam_from_world().matrix(), ours.matrix, atol=1e-9)
        px = theirs.cameras[image.camera_id].img_from_cam(np.concatenate((POINTS, np.ones((len(POINTS), 1))), axis=1))
        own = ours.distortion.distorted(POINTS) @ ours.intrinsics[:2, :2].T + ours.intrinsics[:2, 2]
        np.testing.assert_allclose(px, own, atol=1e-6)


@pytest.mark.parametrize("how", ["text", "binary"])
@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("SIMPLE_PINHOLE", [900, 500, 400]),
        ("SIMPLE_RADIAL", [900, 500, 400, -0.1]),
        ("RADIAL", [900, 500, 400, -0.1, 0.02]),
        ("RADIAL_FISHEYE", [900, 500, 400, 0.1, 0.02]),
        ("FULL_OPENCV", [900, 880, 500, 400, -0.1, 0.02, 1e-3, -2e-3, 3e-3, 0.01, -0.02, 1e-3]),
    ],
)
def test_what_colmap_writes_is_read_and_projects_alike(tmp_path, how, model, parameters):
    pycolmap = pytest.importorskip("pycolmap")
    scene = pycolmap.Reconstruction()
    lens = pycolmap.Camera(model=model, width=1000, height=800, params=parameters, camera_id=7)
    scene.add_camera_with_trivial_rig(lens)
    one = posed()
    pose = pycolmap.Rigid3d(one.matrix)
    scene.add_image_with_trivial_frame(pycolmap.Image(name="x/1.jpg", camera_id=7, image_id=3), pose)
    getattr(scene, f"write_{how}")(str(tmp_path))
    found, _ = cameras.read(tmp_path)
    (camera_,) = found.cameras
    assert (camera_.image, camera_.size_hw) == ("x/1.jpg", (800, 1000))
    np.testing.assert_allclose(camera_.matrix, one.matrix, atol=1e-6)
    own = camera_.distortion.distorted(POINTS) @ camera_.intrinsics[:2, :2].T + camera_.intrinsics[:2, 2]
    theirs = lens.img_from_cam(np.concatenate((POINTS, np.ones((len(POINTS), 1))), axis=1))
    np.testing.assert_allclose(own, theirs, atol=1e-6)


def test_a_camera_of_opengl_looks_along_minus_z(tmp_path):
    """A camera of nerfstudio at z = 4 that is not turned sees the origin in the middle and y up."""
    frame = {"file_path": "images/a.png", "transform_matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]}
    head = {"camera_angle_x": np.pi / 2, "w": 200, "h": 100}
    (tmp_path / "transforms.json").write_text(json.dumps({**head, "frames": [frame]}))
    (one,) = cameras.read(tmp_path)[0].cameras
    px = camera.project_array(
        np.array([[0.0, 0, 0], [0, 1, 0], [1, 0, 0]]), one.quaternion, one.translation * 1000, one.intrinsics
    )
    np.testing.assert_allclose(px[0], [100, 50], atol=1e-9)
    scaled = camera.project_array(
        1000 * np.array([[0.0, 1, 0], [1, 0, 0]]), one.quaternion, one.translation * 1000, one.intrinsics
    )
    np.testing.assert_allclose(scaled, [[100, 25], [125, 50]], atol=1e-9)


@pytest.mark.parametrize("lens", LENSES)
def test_an_undistorted_photograph_is_that_of_the_pinhole(lens):
    """A distorted picture of a smooth pattern, undistorted, is the pattern."""
    height, width = 90, 120
    K = np.array([[100.0, 0, 58], [0, 104.0, 47], [0, 0, 1]])

    def pattern(xy):
        waves = np.sin(xy @ np.array([[5.0, 2.0, 3.0], [1.0, 6.0, -3.0]]))
        return 127 + 100 * waves

    rows, columns = np.mgrid[:height, :width] + 0.5
    straight = (np.stack((columns, rows), axis=-1) - K[:2, 2]) / np.diag(K)[:2]
    # The distorted picture needs the inverse of the distortion, by fixed-point iteration.
    inverse = straight.copy()
    for _ in range(60):
        inverse += straight - LENSES[lens].distorted(inverse)
    taken = np.rint(pattern(inverse)).astype(np.uint8)
    undone = undistort(taken, K, LENSES[lens])
    bent = LENSES[lens].distorted(straight) @ K[:2, :2].T + K[:2, 2]
    inside = ((bent > 1) & (bent < (width - 1, height - 1))).all(axis=-1)
    assert inside.mean() > 0.8
    assert np.abs(undone - pattern(straight))[inside].max() < 2.5


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_camera_of_a_photograph_that_was_turned(orientation):
    """The upright camera sees a point where the stored one does, turned with the pixels; the pose found goes back."""
    stored = posed(lens="opencv")
    upright_hw = (768, 1024) if orientation in (1, 3) else (1024, 768)
    upright = stored.upright(upright_hw, orientation)
    points = np.random.default_rng(1).normal(size=(20, 3)) * 0.3 - rotation.matrix_from_quaternion(
        stored.quaternion
    ).T @ (stored.translation - (0, 0, 4))

    def seen(one):
        points_cam = points @ one.matrix[:, :3].T + one.matrix[:, 3]
        straight = points_cam[:, :2] / points_cam[:, 2:]
        return one.distortion.distorted(straight) @ one.intrinsics[:2, :2].T + one.intrinsics[:2, 2]

    x, y = seen(stored).T
    width, height = 1024, 768
    turned = {1: (x, y), 3: (width - x, height - y), 6: (height - y, x), 8: (y, width - x)}[orientation]
    np.testing.assert_allclose(seen(upright), np.stack(turned, axis=-1), atol=1e-8)
    same(stored.stored_pose(upright.quaternion, upright.translation, orientation), stored)


def test_a_reduced_photograph_has_a_reduced_camera_and_another_shape_is_refused():
    assert posed().upright((384, 512), 1).intrinsics[0, 0] == 450
    with pytest.raises(ValueError, match=r"is of 1024 x 768 px, the photograph has 512 x 512"):
        posed().upright((512, 512), 1)
    with pytest.raises(ValueError, match="mirrors"):
        posed().upright((768, 1024), 2)


def test_photographs_find_their_cameras(tmp_path):
    both = CameraSet((posed("left/1.jpg"), posed("right/1.jpg"), posed("./images/2.jpg")))
    assert both.of(tmp_path / "right" / "1.jpg").image == "right/1.jpg"
    assert both.of(tmp_path / "somewhere" / "2.jpg").image == "./images/2.jpg"
    for name, count in (("1.jpg", 2), ("3.jpg", 0)):
        with pytest.raises(ValueError, match=f"expected one camera for it, got {count} of 3"):
            both.of(tmp_path / name)


FAULTS = {
    "transforms.json": [
        ("{}", "1 to 1000000 frames"),
        ('{"frames": [3]}', "frame 0: expected an object"),
        ('{"frames": [{"file_path": "a", "fl_x": 1e400}]}', "transform_matrix"),
        ('{"frames": [{"file_path": 7}]}', "file_path"),
        ('{"frames": [{"file_path": "a", "transform_matrix": [[NaN]]}]}', "not a JSON file"),
    ],
    "images.txt": [
        ("1 1 0 0 0 0 0 0 9 a.jpg\n\n", "camera 9: not in cameras.txt"),
        ("1 1 0 0\n\n", "line 1"),
        ("1 0 0 0 0 0 0 0 1 a.jpg\n\n", "unit length"),
        ("1 1 0 0 0 nan 0 0 1 a.jpg\n\n", "numbers below"),
        ("# nothing\n", "1 to 1000000 images, got 0"),
    ],
    "cameras.txt": [
        ("1 FOV 4 4 1 1 2 2 1", "camera model FOV"),
        ("1 PINHOLE 4 4 1 1 2", "expected 4 numbers, got 3"),
        ("1 OPENCV 4 4 1 1 2 2 nan 0 0 0", "finite coefficients"),
        ("1 PINHOLE 4 99999999999 1 1 2 2", "expected sides of"),
    ],
}


@pytest.mark.parametrize(("name", "text", "expected"), [(n, *fault) for n, many in FAULTS.items() for fault in many])
def test_a_faulty_file_is_named(tmp_path, name, text, expected):
    if name != "transforms.json":
        cameras.write(tmp_path, CameraSet((posed("a.jpg"),)), "colmap")
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=expected) as caught:
        cameras.read(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binary")
    cameras.write(folder, SEVERAL, "colmap_binary")
    return folder


@given(data=st.data())
def test_a_damaged_binary_file_gives_cameras_or_names_the_file(binary, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(binary, folder, dirs_exist_ok=True)
    path = folder / data.draw(st.sampled_from(("cameras.bin", "images.bin")))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    told = ""
    try:
        told = str(len(cameras.read(folder)[0].cameras))
    except ValueError as error:
        told = str(error)
    assert told.isdecimal() or str(folder) in told


def test_a_count_beyond_the_file_allocates_nothing(tmp_path):
    cameras.write(tmp_path, CameraSet((posed(),)), "colmap_binary")
    for name in ("images.bin", "cameras.bin"):
        (tmp_path / name).write_bytes(struct.pack("<Q", 1 << 60))
        with pytest.raises(ValueError, match="expected 1152921504606846976 entries"):
            cameras.read(tmp_path)
    with pytest.raises(ValueError, match="no such file or folder"):
        cameras.read(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected cameras.bin and images.bin"):
        cameras.read(tmp_path / "empty")
