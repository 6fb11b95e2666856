"""Fuzzes capture folders: views.json, landmarks.json, photographs of every format, and the folder as a whole."""

import io
import json
import os
import pathlib
import shutil
import struct
import zlib

import fuzzing
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_capture import write_subject

from tfface import schema
from tfface.data import part_files
from tfface.people import capture, capture_check, capture_files


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("capture")
    for index in range(3):
        write_subject(root / f"person{index}", index)
    return root


@pytest.fixture(scope="module")
def trees(whole) -> dict[str, object]:
    """The JSON of one subject."""
    return {name: json.loads((whole / "person1" / name).read_text()) for name in ("views.json", "landmarks.json")}


@fuzzing.settings(150)
@given(data=st.data())
def test_changed_views_are_read_or_refused(whole, trees, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "views.json"
    path.write_bytes(fuzzing.dumped(data.draw(fuzzing.changed_tree(trees["views.json"]))))
    for view in fuzzing.answer(capture_files.read_views, path) or ():
        assert view.image.is_relative_to(path.parent.resolve())
        assert np.isfinite(view.intrinsics).all()
        np.testing.assert_allclose(np.linalg.norm(view.quaternion), 1, atol=1e-9)
        assert (np.abs(view.translation) < capture_files.LARGEST_NUMBER).all()


@fuzzing.settings(100)
@given(data=st.data())
def test_changed_landmarks_are_read_or_refused(trees, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "landmarks.json"
    tree = data.draw(fuzzing.changed_tree(trees["landmarks.json"]))
    path.write_bytes(
        fuzzing.dumped(tree) if data.draw(st.booleans()) else data.draw(fuzzing.damaged(fuzzing.dumped(tree)))
    )
    for name, point in (fuzzing.answer(capture_files.read_landmarks, path) or {}).items():
        assert name in schema.IBUG68
        assert point.shape == (3,)


@fuzzing.settings(25)
@given(data=st.data())
def test_a_changed_folder_is_checked_and_cropped(whole, trees, tmp_path_factory, data):
    """What `check` passes can be learnt from; or else the faults are named with their files."""
    root = tmp_path_factory.getbasetemp() / "changed"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole, root)
    name = data.draw(st.sampled_from(("views.json", "landmarks.json", "registered.ply")))
    path = root / "person1" / name
    if name in trees:
        path.write_bytes(fuzzing.dumped(data.draw(fuzzing.changed_tree(trees[name]))))
    else:
        path.write_bytes(data.draw(fuzzing.damaged(path.read_bytes())))
    with fuzzing.bounded():
        faults = capture_check.check(root)
        assert all(fault.path.is_relative_to(root) and str(fault.path) in str(fault) for fault in faults)
        if faults:
            return
        people = capture.CapturePeople(root, image_size=16)
        try:
            views = people.views(1)
        except ValueError as error:
            views = []
            refused = str(error)
        else:
            refused = str(root)
    assert str(root) in refused
    assert all(part_files.image_size_of(view.image, decode=True) == (16, 16) for view in views)


def photographs() -> dict[str, bytes]:
    """The same small picture in every format."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    exif = Image.Exif()
    exif[0x010F] = "maker"
    found = {}
    for kind in capture_files.FORMATS:
        file = io.BytesIO()
        picture.save(file, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
        found[kind] = file.getvalue()
    file = io.BytesIO()
    picture.save(file, "TIFF", compression="tiff_lzw")
    return {**found, "LZW": file.getvalue()}


PHOTOGRAPHS = photographs()


def open_and_decode(path: pathlib.Path) -> tuple[int, int]:
    with capture_files.open_image(path) as image:
        size = image.size
        image.draft("RGB", (8, 8))
        image.convert("RGB")
        return size


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
@fuzzing.settings(40)
@given(data=st.data())
def test_damaged_photographs_are_decoded_or_refused(tmp_path_factory, kind, data):
    path = tmp_path_factory.getbasetemp() / "photograph"
    path.write_bytes(PHOTOGRAPHS[kind])
    assert fuzzing.answer(open_and_decode, path) == (32, 24)
    content = data.draw(fuzzing.damaged(PHOTOGRAPHS[kind]))
    path.write_bytes(content)
    # A few bytes may claim as many pixels as are allowed, and Pillow takes four bytes and more for each.
    fuzzing.answer(open_and_decode, path, 12 * capture_files.MAX_PIXELS / 2**20)


@fuzzing.settings(60)
@given(data=st.data())
def test_damaged_images_of_records_are_decoded_or_refused(data):
    content = data.draw(fuzzing.damaged(PHOTOGRAPHS[data.draw(st.sampled_from(("PNG", "JPEG", "WEBP")))]))
    with fuzzing.bounded(12 * part_files.MAX_PIXELS / 2**20):
        try:
            size = part_files.image_size_of(content, decode=True)
        except ValueError as error:
            size = None
            refused = str(error)
        else:
            refused = "expected"
    assert "expected" in refused
    assert size is None or 0 < size[0] * size[1] <= part_files.MAX_PIXELS


def png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def webp(width: int, height: int) -> bytes:
    body = b"VP8X" + struct.pack("<II", 10, 0) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\x01\x11\0\x02\x11\0\x03\x11\0"
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xd9"


BOMBS = {
    "png": png(2**31 - 1, 2**31 - 1),
    "thin png": png(2**31 - 1, 1),
    "webp": webp(2**24, 2**8),
    "bmp": bmp(2**30, 2**30),
    "jpeg": jpeg(65535, 65535),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS.keys())
def test_a_header_that_claims_very_many_pixels_is_refused_without_memory_for_them(tmp_path, content):
    path = tmp_path / "bomb"
    path.write_bytes(content)
    with fuzzing.bounded(4), pytest.raises(ValueError, match="bomb: "), capture_files.open_image(path):
        pass
    with fuzzing.bounded(4), pytest.raises(ValueError, match="expected a readable JPEG or PNG"):
        part_files.image_size_of(content, decode=True)


@pytest.mark.parametrize("name", ["registered.ply", "landmarks.json", "views.json", "images/0.png"])
def test_pipes_and_links_out_of_a_folder_are_faults(whole, tmp_path, name):
    root = shutil.copytree(whole, tmp_path / "capture")
    path = root / "person1" / name
    path.unlink()
    os.mkfifo(path)  # to open it would wait for ever
    (fault,) = capture_check.check(root)
    assert fault.path == path
    assert "expected a regular file" in fault.text
    path.unlink()
    path.symlink_to(whole / "person1" / name)
    faults = capture_check.check(root)
    if name.startswith("images"):  # views.json names it
        assert "view 0: image: 'images/0.png' leaves the folder" in str(faults[0])
    else:  # the layout names it, and whoever made the folder may keep it elsewhere
        assert faults == []


def test_a_face_that_is_too_large_for_memory_is_refused(whole):
    view = capture_files.read_views(whole / "person1" / "views.json")[0]
    shape = np.array([[-10.0, 0, 500], [10, 0, 500]])
    for factor, message in ((1e6, "expected a face of at most"), (1.0, "lies outside of the photograph")):
        K = view.intrinsics * [[factor], [factor], [1]]
        K[:2, 2] = 0 if factor > 1 else 1e5
        far = capture_files.CapturedView(view.image, K, np.array([0, 0, 0, 1.0]), np.zeros(3))
        with fuzzing.bounded(), pytest.raises(ValueError, match=rf"0\.png: .*{message}"):
            capture.crop_view(far, shape, 16)
