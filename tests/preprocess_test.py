"""Tests of decoding and resizing: eagerly and inside tf.data, with unknown batch, at batch 1 and 3."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tiny_people
from PIL import Image

from tfface.data import preprocess

K = np.array([[80.0, 0, 33], [0, 84, 30], [0, 0, 1]], np.float32)


def encoded(mode: str = "RGB", size: tuple[int, int] = (48, 64), file_format: str = "PNG") -> bytes:
    """A smooth photograph of the given (height, width)."""
    height, width = size
    pixels = np.stack(
        np.broadcast_arrays(
            np.linspace(0, 255, width)[None, :], np.linspace(255, 0, height)[:, None], np.full((height, width), 90.0)
        ),
        axis=-1,
    ).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, file_format, **({"quality": 95} if file_format == "JPEG" else {}))
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds nothing."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_decodes_what_pillow_decodes(file_format):
    photograph = encoded(file_format=file_format)
    found = preprocess.decode(tf.constant(photograph)).numpy()
    assert found.dtype == np.uint8
    assert np.abs(found - tiny_people.decoded(photograph)).max() <= (0 if file_format == "PNG" else 5)
    assert preprocess.image_size(tf.constant(photograph)).numpy().tolist() == [48, 64]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_other_pixels_become_rgb(mode):
    found = preprocess.decode(tf.constant(encoded(mode)))
    assert found.shape == (48, 64, 3)
    if mode.startswith("L"):
        np.testing.assert_array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("where", ["eager", "function", "tf.data"])
def test_crops_alike_everywhere(batch, where):
    photographs = tf.constant([encoded(size=(48, 64)), encoded(size=(64, 32)), encoded(size=(32, 32))][:batch])
    intrinsics = tf.constant(np.tile(K, (batch, 1, 1)))
    signature = [tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 3, 3], tf.float32)]
    function = tf.function(lambda x, k: preprocess.crops(x, k, (32, 32)), input_signature=signature)
    if where == "eager":
        images, cameras = preprocess.crops(photographs, intrinsics, (32, 32))
    elif where == "function":
        images, cameras = function(photographs, intrinsics)
    else:
        data = tf.data.Dataset.from_tensors((photographs, intrinsics))
        images, cameras = next(iter(data.map(lambda x, k: preprocess.crops(x, k, (32, 32)))))
    assert images.shape == (batch, 32, 32, 3)
    assert images.dtype == tf.float32
    for i, (height, width) in enumerate([(48, 64), (64, 32), (32, 32)][:batch]):
        expected = np.diag([32 / width, 32 / height, 1]) @ K
        np.testing.assert_allclose(cameras[i], expected, rtol=1e-6)
        # A linear ramp stays one, to the rounding of the file's eight bits.
        np.testing.assert_allclose(images[i, 16, 2:-2, 0], ((np.arange(32) + 0.5) * 255 / 32)[2:-2], atol=6)


def test_views_keep_their_place():
    photographs = tf.constant([[encoded(), encoded("L")]])
    images, cameras = preprocess.crops(photographs, tf.constant(np.tile(K, (1, 2, 1, 1))), (32, 48))
    assert images.shape == (1, 2, 32, 48, 3)
    assert cameras.shape == (1, 2, 3, 3)
    np.testing.assert_array_equal(images[0, 1, ..., 0], images[0, 1, ..., 2])


@pytest.mark.parametrize("size", [(48, 48), (96, 128), (30, 41)])
def test_the_camera_follows_a_resize(size):
    point = np.array([3.0, -2, 20])
    x, y, depth = K @ point
    photograph = np.repeat(tiny_people.blob(64, x / depth, y / depth, sigma=4)[..., None], 3, axis=-1)
    images, camera = preprocess.resize(tf.constant(photograph, tf.float32), tf.constant(K), size)
    x, y, depth = camera.numpy() @ point
    assert np.linalg.norm(tiny_people.blob_centre(images[..., 0].numpy()) - [x / depth, y / depth]) < 0.05


def test_the_same_size_is_left_alone():
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3)), tf.uint8)
    resized, camera = preprocess.resize(image, tf.constant(np.tile(K, (2, 1, 1))), (8, 9))
    np.testing.assert_array_equal(resized, tf.cast(image, tf.float32))
    np.testing.assert_array_equal(camera, np.tile(K, (2, 1, 1)))


@pytest.mark.parametrize(
    ("photograph", "message"),
    [
        (encoded(file_format="GIF"), "expected a JPEG or PNG file"),
        (b"", "expected a JPEG or PNG file"),
        (b"\x89PNG\r\n\x1a\n", "ends within its header"),
        (png_header(30000, 30000), "expected at most"),
        (png_header(0, 10), "expected at most"),
        (png_header(1 << 31, 1 << 31), "expected at most"),
        (encoded()[:120], "PNG"),
        (b"\xff\xd8\xff", "JPEG"),
    ],
)
def test_refuses_what_is_no_photograph(photograph, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        preprocess.decode(tf.constant(photograph))
