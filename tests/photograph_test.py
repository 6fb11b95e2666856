"""Photographs from files of every kind, what is refused, and the intrinsics that a camera noted or a user gave."""

import io
import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tfface.geometry import camera
from tfface.photographs import lens, photograph, video
from tfface.photographs.photograph import focal_from_exif, read, upright_intrinsics
from tfface.reconstruction.options import ReconstructionOptions

MAX_PIXELS = ReconstructionOptions.max_pixels
LIMIT = 1 << 20
HEIGHT, WIDTH = 6, 10


def _picture():
    rows, columns = np.indices((HEIGHT, WIDTH))
    return np.stack((20 * columns, 30 * rows, 255 - 20 * columns), axis=-1).astype(np.uint8)


def _save(path, image, **options):
    image.save(path, **options)
    return path


def _png(path, width, height, bits, colour, rows):
    """A PNG of given samples, rows of bytes: Pillow writes no 16 bit colour."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


def test_every_kind_of_picture_becomes_rgb(tmp_path):
    picture = _picture()
    image = Image.fromarray(picture)
    grey = image.convert("L")
    as_grey = np.repeat(np.asarray(grey)[..., None], 3, axis=-1)
    deep = (np.asarray(grey).astype(np.uint16) << 8) | 0x40  # rounds to the same eight bits
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(np.indices((HEIGHT, WIDTH))[1] < 5, 255, 0).astype(np.uint8)))
    on_white = picture.copy()
    on_white[:, 5:] = 255
    palette = image.quantize(60)
    colours = np.repeat(picture.astype(">u2") * 257, 1, axis=-1)
    deep_rows = [row.astype(">u2").tobytes() for row in colours.reshape(HEIGHT, -1)]
    cases = {
        "rgb.png": (image, picture),
        "grey.png": (grey, as_grey),
        "deep.png": (Image.fromarray(deep), as_grey),
        "deep.tif": (Image.fromarray(deep), as_grey),
        "bilevel.png": (grey.convert("1"), np.repeat(np.asarray(grey.convert("1"))[..., None] * 255, 3, axis=-1)),
        "alpha.png": (clear, on_white),
        "grey_alpha.png": (clear.convert("LA"), np.asarray(clear.convert("LA").convert("RGBA"))[..., :3]),
        "palette.png": (palette, np.asarray(palette.convert("RGB"))),
        "picture.bmp": (image, picture),
        "picture.ppm": (image, picture),
        "lossless.webp": (image, picture),
    }
    for name, (given, expected) in cases.items():
        options = {"lossless": True} if name.endswith("webp") else {}
        found = read(_save(tmp_path / name, given, **options), LIMIT).pixels
        assert found.dtype == np.uint8
        assert found.shape == (HEIGHT, WIDTH, 3)
        if name == "grey_alpha.png":
            np.testing.assert_array_equal(found[:, :5], expected[:, :5])
            assert (found[:, 5:] == 255).all()
        else:
            np.testing.assert_array_equal(found, expected, err_msg=name)
    found = read(_png(tmp_path / "deep_rgb.png", WIDTH, HEIGHT, 16, 2, deep_rows), LIMIT).pixels
    np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_every_mode(tmp_path, mode, progressive):
    flat = np.full((16, 16, 3), (200, 120, 60), np.uint8)
    image = Image.fromarray(flat).convert(mode)
    found = read(_save(tmp_path / "a.jpg", image, progressive=progressive, quality=95), LIMIT).pixels
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(found - expected).max() <= 4


def test_cmyk_follows_its_profile_and_does_without_a_damaged_one(tmp_path):
    """No CMYK profile is at hand; LAB has one of its own, and a damaged profile must change nothing."""
    flat = Image.fromarray(np.full((16, 16, 3), (200, 120, 60), np.uint8))
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(flat, to_lab)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    found = read(_save(tmp_path / "lab.tif", lab, icc_profile=profile), LIMIT).pixels
    assert np.abs(found.astype(int) - (200, 120, 60)).max() <= 3
    cmyk = flat.convert("CMYK")
    found = read(_save(tmp_path / "cmyk.jpg", cmyk, icc_profile=b"not a profile", quality=95), LIMIT).pixels
    assert np.abs(found.astype(int) - np.asarray(cmyk.convert("RGB"))).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_pixels_and_given_intrinsics_alike(tmp_path, orientation):
    """A marked pixel of the stored picture, and the ray that the stored K gives it, stay together."""
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[1, 7] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / "a.png", Image.fromarray(stored), exif=exif)
    found = read(path, LIMIT)
    assert found.orientation == orientation
    with Image.open(path) as image:
        np.testing.assert_array_equal(found.pixels, np.asarray(ImageOps.exif_transpose(image)))
    K = np.array([[50.0, 0, 4], [0, 60, 2.5], [0, 0, 1]])
    upright = upright_intrinsics(K, found.pixels.shape[:2], orientation)
    row, column = np.argwhere(found.pixels[..., 0] == 255)[0]
    before = np.abs(camera.rays_from_px(np.array([[7.5, 1.5]]), K)[0])
    after = np.abs(camera.rays_from_px(np.array([[column + 0.5, row + 0.5]]), upright)[0])
    np.testing.assert_allclose(after, before[[1, 0, 2]] if orientation >= 5 else before)
    corner = camera.rays_from_px(np.array([[0.0, 0.0], [found.pixels.shape[1], found.pixels.shape[0]]]), upright)
    assert (corner[0, :2] < 0).all()
    assert (corner[1, :2] > 0).all()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({0xA405: 26}, 26 * 500 / math.hypot(36, 24)),
        ({0xA405: 26, 0xA002: 4000, 0xA003: 3000}, 26 * 500 / math.hypot(36, 24)),
        ({0xA405: 26, 0xA002: 3000, 0xA003: 4000}, 26 * 500 / math.hypot(36, 24)),
        ({0xA405: 26, 0xA002: 4000, 0xA003: 4000}, None),  # it was cut
        ({0x920A: 50.0, 0xA20E: 1000.0, 0xA210: 3, 0xA002: 4000, 0xA003: 3000}, 50 * 1000 / 10 / 10),
        ({0x920A: 50.0, 0xA20E: 2540.0}, 50 * 2540 / 25.4),  # inches unless it says otherwise
        ({0x920A: 50.0}, None),
        ({0xA405: 0, 0x920A: 0}, None),
        ({0xA405: "unknown"}, None),
        ({}, None),
    ],
)
def test_focal_length_from_exif(tags, expected):
    found = focal_from_exif(tags, (400, 300))
    assert found == (pytest.approx(expected) if expected else None)


def test_focal_length_is_read_from_a_file(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50
    found = read(_save(tmp_path / "a.jpg", Image.fromarray(_picture()), exif=exif), LIMIT)
    assert found.focal_px == pytest.approx(50 * math.hypot(HEIGHT, WIDTH) / math.hypot(36, 24))
    intrinsics, source = lens.Lens().intrinsics(found)
    assert source == lens.FROM_EXIF
    assert intrinsics[0, 0] == found.focal_px
    assert intrinsics[:2, 2].tolist() == [WIDTH / 2, HEIGHT / 2]


def _truncated(path):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(content, "JPEG")
    path.write_bytes(content.getvalue()[:1500])


def _bomb(path):
    _png(path, 30000, 30000, 8, 2, [b"\0" * 10])


REFUSED = {
    "missing.jpg": (Path.as_posix, "no such file"),
    "folder.jpg": (Path.mkdir, "expected a regular file"),
    "text.jpg": (lambda path: path.write_text("not a picture"), "not a photograph that can be read"),
    "empty.png": (lambda path: path.write_bytes(b""), "not a photograph that can be read"),
    "truncated.jpg": (_truncated, "damaged: .*truncated"),
    "bomb.png": (_bomb, "at most 1048576 pixels, its header says 30000 x 30000"),
    "float.tif": (lambda path: Image.fromarray(np.ones((4, 4), np.float32)).save(path), "floating point"),
    "long.tif": (lambda path: Image.fromarray(np.ones((4, 4), np.int32)).save(path), "32 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_photograph_is_refused_in_one_line_that_names_it(tmp_path, name):
    make, message = REFUSED[name]
    make(tmp_path / name)
    with (
        photograph.without_pillows_limit(),
        pytest.raises(ValueError, match=f"^{tmp_path / name}: .*{message}") as caught,
    ):
        read(tmp_path / name, LIMIT)
    assert "\n" not in str(caught.value)


def test_a_hundred_megapixels_are_read(tmp_path):
    row = b"\xff" * 625 + b"\0" * 625
    path = _png(tmp_path / "large.png", 10_000, 10_000, 1, 0, [row] * 10_000)
    with photograph.without_pillows_limit():
        pixels = read(path, MAX_PIXELS).pixels
        with pytest.raises(ValueError, match="at most 99999999 pixels, its header says 10000 x 10000"):
            read(path, 10**8 - 1)
    assert pixels.shape == (10_000, 10_000, 3)
    assert (pixels[5000, [0, 4999, 5000, 9999]] == [[255], [255], [0], [0]]).all()


def test_pillow_s_own_limit_is_restored():
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None
    with photograph.without_pillows_limit():
        assert Image.MAX_IMAGE_PIXELS is None
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_field_of_view_is_that_of_the_diagonal():
    landscape, portrait = (photograph.Photograph("a", np.zeros((*size, 3), np.uint8)) for size in ((30, 40), (40, 30)))
    for picture in (landscape, portrait):
        K, source = lens.open_lens("", 90.0).intrinsics(picture)
        assert source == lens.FROM_FOV
        assert K[0, 0] == pytest.approx(25)
    assumed, source = lens.open_lens("", 0.0).intrinsics(landscape)
    assert source == lens.ASSUMED
    assert assumed[0, 0] == pytest.approx(50 * 85 / math.hypot(36, 24))


def test_intrinsics_from_a_file_are_of_the_stored_pixels(tmp_path):
    K = [[50.0, 0, 18], [0, 60, 14], [0, 0, 1]]
    turned = photograph.Photograph(str(tmp_path / "b.jpg"), np.zeros((40, 30, 3), np.uint8), 99.0, 6)
    (tmp_path / "k.json").write_text(json.dumps(K))
    found, source = lens.open_lens(str(tmp_path / "k.json"), 0.0).intrinsics(turned)
    assert source == lens.GIVEN
    np.testing.assert_array_equal(found, [[60, 0, 16], [0, 50, 18], [0, 0, 1]])
    (tmp_path / "views.json").write_text(json.dumps([{"image": "b.jpg", "intrinsics": K}]))
    by_path = lens.open_lens(str(tmp_path / "views.json"), 0.0)
    np.testing.assert_array_equal(by_path.intrinsics(turned)[0], found)
    other = photograph.Photograph(str(tmp_path / "c.jpg"), turned.pixels, 99.0)
    assert by_path.intrinsics(other)[1] == lens.FROM_EXIF


@pytest.mark.parametrize(
    ("content", "fov", "message"),
    [
        ("[[1, 0, 0], [0, 1, 0]]", 0.0, "expected .*fx, 0, cx"),
        ("[[-1, 0, 0], [0, 1, 0], [0, 0, 1]]", 0.0, "fx, fy of 1 to 1e"),
        ("[[1e300, 0, 0], [0, 1, 0], [0, 0, 1]]", 0.0, "k.json: expected .*fx, fy of 1 to 1e"),
        ("[[5, 0, -1e9], [0, 5, 0], [0, 0, 1]]", 0.0, "k.json: expected .*cx, cy below"),
        (f"[[1{'0' * 400}, 0, 0], [0, 1, 0], [0, 0, 1]]", 0.0, "k.json: expected .*fx, 0, cx"),
        ('[{"image": "a\\u0000.jpg", "intrinsics": 3}]', 0.0, r"k.json: view 0: 'a\\x00.jpg' is not a path"),
        ('[{"image": "\\ud800.jpg", "intrinsics": 3}]', 0.0, "k.json: view 0: .* is not a path"),
        ('[{"intrinsics": 3}]', 0.0, "view 0: expected an object with the path of an image"),
        ('[{"image": "a.jpg"}]', 0.0, "view 0: intrinsics"),
        ("[[1, 0, NaN]]", 0.0, "not a JSON file"),
        ("{", 0.0, "not a JSON file"),
        ("[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", 60.0, "got both"),
    ],
)
def test_bad_intrinsics_are_refused(tmp_path, content, fov, message):
    (tmp_path / "k.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        lens.open_lens(str(tmp_path / "k.json"), fov)
    for degrees in (180.0, 1e-6):
        with pytest.raises(ValueError, match=f"fov: expected 0.1 to 179 degrees, got {degrees}"):
            lens.open_lens("", degrees)


def _film(path, count, size=(64, 48)):
    """A video whose n-th frame is of one grey, 8 n."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(count):
            grey = np.full((size[1], size[0], 3), 8 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize(("count", "wanted"), [(3, 5), (12, 5), (31, 4)])
def test_frames_of_a_video_are_spread_over_it(tmp_path, count, wanted):
    frames = video.read(_film(tmp_path / "a.mp4", count), LIMIT, wanted)
    numbers = [int(frame.name.rpartition("#")[2]) for frame in frames]
    assert len(numbers) == min(count, wanted)
    assert numbers == sorted(set(numbers))
    assert np.diff([-1, *numbers, count]).max() <= 2 * math.ceil(count / len(numbers))
    for number, frame in zip(numbers, frames, strict=True):
        assert frame.pixels.shape == (48, 64, 3)
        assert np.abs(frame.pixels.astype(int) - 8 * number).max() <= 6


def test_bad_videos_are_refused(tmp_path):
    film = _film(tmp_path / "a.mp4", 5)
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:700])
    (tmp_path / "text.mp4").write_text("not a video")
    for name in ("cut.mp4", "text.mp4"):
        with pytest.raises(ValueError, match=f"^{tmp_path / name}: not a video"):
            video.read(tmp_path / name, LIMIT, 5)
    with pytest.raises(ValueError, match="no such file"):
        video.read(tmp_path / "missing.mp4", LIMIT, 5)
    with pytest.raises(ValueError, match="at most 100 pixels"):
        video.read(film, 100, 5)
