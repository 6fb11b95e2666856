"""Marked landmarks and identities from files, and what is said of files that are none."""

import json

import numpy as np
import pytest
from PIL import Image

from tfface.evaluation import annotations
from tfface.photographs import photograph

POINTS = np.stack((np.arange(68) * 1.5, np.arange(68) % 7 * 4.0), axis=-1)


def picture(path, orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((80, 120, 3), np.uint8)).save(path, exif=exif)
    return path


def pts(points, count=68):
    rows = "\n".join(f"{x} {y}" for x, y in points)
    return f"version: 1\nn_points:  {count}\n{{\n{rows}\n}}\n"


def test_points_of_both_kinds_of_files_are_in_the_pixel_frame(tmp_path):
    """The centre of the first pixel is 0, 0 in JSON and 1, 1 in .pts, and 0.5, 0.5 here."""
    picture(tmp_path / "a" / "one.png")
    picture(tmp_path / "two.jpg")
    (tmp_path / "a" / "one.pts").write_text(pts(POINTS + 1))
    (tmp_path / "two.pts").write_text(pts(POINTS + 1))
    found = annotations.read(tmp_path, tmp_path)
    assert list(found) == ["a/one.png", "two.jpg"]
    np.testing.assert_allclose(found["a/one.png"].points, POINTS + 0.5)

    file = tmp_path / "landmarks.json"
    file.write_text(json.dumps({"./a//one.png": {"landmarks68": POINTS.tolist(), "yaw": -40, "pitch": 3}}))
    (name, one), *others = annotations.read(file, tmp_path).items()
    assert (name, one.yaw, others) == ("a/one.png", -40.0, [])
    np.testing.assert_allclose(one.points, POINTS + 0.5)


def test_points_turn_with_the_photograph(tmp_path):
    marked = annotations.Annotation(POINTS)
    turned = photograph.read(picture(tmp_path / "a.jpg", 6), 1 << 20)
    assert turned.pixels.shape[:2] == (120, 80)
    np.testing.assert_allclose(marked.upright(turned), np.stack((80 - POINTS[:, 1], POINTS[:, 0]), -1))
    mirrored = photograph.read(picture(tmp_path / "b.jpg", 2), 1 << 20)
    with pytest.raises(ValueError, match=r"b.jpg: is stored mirrored \(EXIF orientation 2\)"):
        marked.upright(mirrored)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"expected a JSON object by path or person, got \[\]"),
        ("{", "not a JSON file"),
        ("{}", "expected landmarks of photographs, got none"),
        ({"a.png": [1]}, r"a.png: expected an object with landmarks68, got \[1\]"),
        ({"a.png": {"landmarks68": 3}}, r"a.png: landmarks68: expected \[68, 2\] points, got \[0, 2\]"),
        ({"a.png": {"landmarks68": POINTS[:5].tolist()}}, r"landmarks68: expected \[68, 2\] points, got \[5, 2\]"),
        ({"a.png": {"landmarks68": [[1, "2"]]}}, "landmarks68: expected pairs of numbers"),
        ({"a.png": {"landmarks68": [[1, 2]] * 68}}, "expected finite points that do not lie on one line"),
        ({"a.png": {"landmarks68": POINTS.tolist(), "yaw": "left"}}, "yaw: expected degrees, got 'left'"),
        ({"a.png": {"landmarks68": POINTS.tolist(), "source": 1}}, "source: expected a text, got 1"),
        ({"../a.png": {"landmarks68": POINTS.tolist()}}, r"'\.\./a.png' leaves the folder"),
    ],
)
def test_bad_landmarks_are_named(tmp_path, content, message):
    file = tmp_path / "landmarks.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=f"landmarks.json: .*{message}"):
        annotations.read(file, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not a .pts file"),
        (b"n_points: 68\n1 2\n", "not a .pts file: expected points between braces"),
        (pts(POINTS, 5).encode(), "expected n_points: 68, got 5"),
        (b"{\n1 2\n}", "expected n_points: 68, got none"),
        (pts(POINTS).replace("1.5 4.0", "1.5 x").encode(), "expected two numbers a line"),
        (pts(POINTS).replace("1.5 4.0", "1.5").encode(), "expected two numbers a line"),
        (pts(POINTS[:67]).encode(), r"expected \[68, 2\] points, got \[67, 2\]"),
    ],
)
def test_bad_files_of_points_are_named(tmp_path, content, message):
    picture(tmp_path / "one.png")
    (tmp_path / "one.pts").write_bytes(content)
    with pytest.raises(ValueError, match=f"one.pts: .*{message}"):
        annotations.read(tmp_path, tmp_path)


def test_points_without_a_picture_are_named(tmp_path):
    (tmp_path / "one.pts").write_text(pts(POINTS))
    with pytest.raises(ValueError, match=r"one.pts: expected one picture .*one\.\*, got 0"):
        annotations.read(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="photographs: expected a folder"):
        annotations.read(tmp_path, tmp_path / "nowhere")


def test_identities(tmp_path):
    file = tmp_path / "identities.json"
    file.write_text(json.dumps({"anna": ["a.png", "./b.png"], "ben": []}))
    assert annotations.read_identities(file, tmp_path) == {"anna": ("a.png", "b.png"), "ben": ()}
    for content, message in (
        ({"anna": "a.png"}, "anna: expected a list of paths, got 'a.png'"),
        ({"anna": ["a.png"], "ben": ["./a.png"]}, "ben: a.png is named twice, first of anna"),
        ({"anna": ["/a.png"]}, "'/a.png' leaves the folder"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"identities.json: .*{message}"):
            annotations.read_identities(file, tmp_path)
