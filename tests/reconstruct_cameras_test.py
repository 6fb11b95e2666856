"""Reconstruction with given cameras and known distances: face and scene lie in one frame, and the size is told."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image
from reconstruction_run_test import _red_squares_are_faces_and_models_are_opened_once, content, picture, reconstruct  # noqa: F401

from tfface.geometry import camera, rotation
from tfface.photographs import cameras
from tfface.photographs.cameras import CameraSet, Distortion, PosedCamera
from tfface.photographs.cameras.distortion import NO_DISTORTION

K = np.array([[150.0, 0, 61], [0, 150, 38], [0, 0, 1]])
BENT = Distortion((-0.05, 0.01, 0.0), (0.0, 0.0, 0.0), (0.002, 0.001))


def around(lens=NO_DISTORTION, unit_mm=1.0, count=3):
    """Cameras on an arc around the origin of a scene, 500 mm away."""
    found = []
    for number in range(count):
        turn = rotation.matrix_from_yaw_pitch_roll(-20.0 + 20 * number, 5.0, 3.0)
        found.append(
            PosedCamera(
                f"{number}.png",
                (80, 120),
                K,
                rotation.quaternion_from_matrix(turn),
                np.array([0, 0, 500.0]) / unit_mm,
                lens,
            )
        )
    return CameraSet(tuple(found))


def folder(path, given, how, turned=()):
    """Photographs beside the cameras; some are stored on their side, as phones do, though K is of what is stored."""
    path.mkdir()
    for number in range(len(given.cameras)):
        image, exif = Image.fromarray(picture((40, 20, 40))), Image.Exif()
        if number in turned:
            exif[0x0112] = 3
            image = image.transpose(Image.Transpose.ROTATE_180)
        image.save(path / f"{number}.png", exif=exif)
    cameras.write(path, given, how)
    return path


@pytest.mark.parametrize(
    ("how", "lens", "turned"),
    [("colmap_binary", BENT, (1,)), ("colmap", BENT, ()), ("transforms", BENT, ()), ("views", NO_DISTORTION, ())],
)
def test_face_and_scene_lie_in_one_frame(tmp_path, how, lens, turned):
    """The face of the scene, seen by the scene's cameras, falls where the person's landmarks are in each photograph."""
    root = folder(tmp_path / "in", around(lens), how, turned)
    images = [root / f"{number}.png" for number in range(3)]
    summary, told = reconstruct(tmp_path / "out", images, cameras=str(root))
    assert (summary.done, told) == (1, [])
    found = content(tmp_path / "out")
    vertices = trimesh.load(tmp_path / "out" / "scene" / "face.ply", process=False).vertices
    names = list(found["landmarks"])
    points = vertices[[found["landmarks"][name]["vertex"] for name in names]]
    written, format_ = cameras.read(tmp_path / "out" / "scene")
    assert format_ == how == found["scene"]["cameras"]
    assert len(written.cameras) == 3
    for shot in found["photographs"]:
        assert shot["intrinsics_from"] == "cameras"
        (one,) = [one for one in written.cameras if shot["image"].endswith(one.image)]
        K = np.array(shot["intrinsics"])
        upright = one.upright((80, 120), 3 if int(one.image[0]) in turned else 1)
        np.testing.assert_allclose(upright.intrinsics, K)
        px = camera.project_array(points, upright.quaternion, upright.translation, K)
        np.testing.assert_allclose(px, [shot["landmarks_px"][name] for name in names], atol=0.05)
    assert json.loads((tmp_path / "out" / "scene" / "scene.json").read_text()) == found["scene"]
    # views.json is in millimetres, which tell the size; in the others' unit, the population's mean is kept.
    expected = "cameras" if how == "views" else "population"
    assert found["scale"]["from"] == expected
    if how == "views":
        assert found["scene"]["scale"] == pytest.approx(1, rel=1e-6)


def test_a_known_unit_tells_the_size(tmp_path):
    """The same cameras in metres and in millimetres give the same person; one photograph needs the unit."""
    sizes = {}
    for unit in (1.0, 1000.0):
        root = folder(tmp_path / f"in{unit}", around(unit_mm=unit), "colmap")
        out = tmp_path / f"out{unit}"
        reconstruct(out, [root / f"{number}.png" for number in range(3)], cameras=str(root), scene_unit=unit)
        sizes[unit] = content(out)
        assert sizes[unit]["scale"]["from"] == "cameras"
        assert 0 < sizes[unit]["scale"]["deviation"] < 1
    for a, b in zip(sizes[1.0]["photographs"], sizes[1000.0]["photographs"], strict=True):
        np.testing.assert_allclose(a["translation"], b["translation"], rtol=1e-3)
    _, told = reconstruct(tmp_path / "one", root / "0.png", cameras=str(root))
    assert "do not tell the unit of their scene" in told[0]
    assert reconstruct(tmp_path / "one", root / "0.png", cameras=str(root), scene_unit=1000.0)[0].done == 1
    assert content(tmp_path / "one")["scale"]["from"] == "population"


def test_poses_are_refined_in_the_adjustment_alone(tmp_path):
    root = folder(tmp_path / "in", around(), "colmap")
    with pytest.raises(ValueError, match="camera_poses: they are refined in the adjustment, expected fit=on, got off"):
        reconstruct(tmp_path / "out", root / "0.png", cameras=str(root), camera_poses="refined", fit="off")


def test_a_measured_distance_tells_the_size(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture((40, 20, 40))).save(path)
    reconstruct(tmp_path / "plain", path)
    plain = content(tmp_path / "plain")
    first, second = list(plain["landmarks"])[:2]
    ends = [np.array(plain["landmarks"][name]["mm"]) for name in (first, second)]
    mm = 1.25 * np.linalg.norm(ends[0] - ends[1])
    reconstruct(tmp_path / "known", path, scale=f"{first},{second}:{mm}")
    known = content(tmp_path / "known")
    assert known["scale"]["from"] == "given"
    assert known["scale"]["factor"] == pytest.approx(1.25, rel=1e-4)
    for name in (first, second):
        np.testing.assert_allclose(
            known["landmarks"][name]["mm"], 1.25 * np.array(plain["landmarks"][name]["mm"]), rtol=1e-4
        )
        np.testing.assert_allclose(
            known["photographs"][0]["landmarks_px"][name], plain["photographs"][0]["landmarks_px"][name], atol=0.02
        )
    wrongs = (
        "pupils",
        "pupils:0",
        "nose:60",
        "eye_right_0,ear:60",
        "jaw_0,jaw_0:60",
        "a.jpg:1,2,3:85",
        "a.jpg:1,2,1,2:85",
    )
    for wrong in (*wrongs, ":1,2,3,4:85", "a.jpg:1,2,3,nan:85", "a.jpg:1,2,3,4:0"):
        with pytest.raises(ValueError, match="scale: expected eye_corners:MM, pupils:MM or LANDMARK"):
            reconstruct(tmp_path / "wrong", path, scale=wrong)


def test_an_object_beside_the_face_tells_the_size(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture((40, 20, 40))).save(path)
    reconstruct(tmp_path / "plain", path)
    (plain,) = content(tmp_path / "plain")["photographs"]
    # 10 px across at the face's distance, of square pixels.
    mm = 10 * plain["translation"][2] / plain["intrinsics"][0][0]
    reconstruct(tmp_path / "known", path, scale=f"a.png:12,30,22,30:{0.8 * mm}")
    known = content(tmp_path / "known")
    assert known["scale"]["from"] == "given"
    assert known["scale"]["factor"] == pytest.approx(0.8, rel=1e-4)
    assert 0.05 < known["scale"]["deviation"] < 0.2
    np.testing.assert_allclose(known["photographs"][0]["translation"], 0.8 * np.array(plain["translation"]), rtol=1e-4)
    for given, fault in (
        ("b.png:12,30,22,30:50", "0 photographs are called b.png"),
        ("a.png:-1,3,9,3:50", "ends in it"),
    ):
        _, told = reconstruct(tmp_path / "wrong", path, scale=given)
        assert fault in told[0]


def test_faults_of_cameras_are_told(tmp_path):
    root = folder(tmp_path / "in", around(), "colmap")
    Image.fromarray(picture((40, 20, 40))).save(tmp_path / "other.png")
    summary, told = reconstruct(
        tmp_path / "out", [root / "0.png", root / "1.png", tmp_path / "other.png"], cameras=str(root)
    )
    assert summary.done == 1
    assert told == [f"{tmp_path / 'other.png'}: expected one camera for it, got 0 of 3"]
    for options, message in (
        ({"cameras": str(root), "fov": 50.0}, "cameras: expected them, or intrinsics or fov"),
        ({"scene_unit": 10.0}, "scene_unit: expected it with cameras"),
        ({"cameras": str(tmp_path / "none")}, "no such file or folder"),
    ):
        with pytest.raises(ValueError, match=message):
            reconstruct(tmp_path / "wrong", root / "0.png", **options)
