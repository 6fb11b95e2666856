"""From encoded photographs to the crops that a network sees: one code for training and serving, all in the graph."""

import tensorflow as tf

from tfface.geometry import camera

MAX_PIXELS = 1 << 26
"""An image whose header claims more pixels is refused before it is decoded, which would take memory without limit."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SIZE_OFFSET = 16  # behind the signature, length and type of the first chunk, IHDR: width and height, big endian


def image_size(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width that an image's header states.

    Args:
      encoded: string scalar, a JPEG or PNG file.

    Returns:
      [2] int32.

    Raises:
      tf.errors.InvalidArgumentError: if it is neither JPEG nor PNG, or the header is damaged.
    """
    is_png = tf.equal(tf.strings.substr(encoded, 0, len(_PNG_SIGNATURE)), _PNG_SIGNATURE)
    return tf.cond(is_png, lambda: _png_size(encoded), lambda: _jpeg_size(encoded))


def _png_size(encoded: tf.Tensor) -> tf.Tensor:
    has_header = tf.strings.length(encoded) >= _PNG_SIZE_OFFSET + 8
    with tf.control_dependencies([tf.debugging.Assert(has_header, ["image: the PNG file ends within its header"])]):
        header = tf.strings.substr(encoded, _PNG_SIZE_OFFSET, 8)
    size = tf.io.decode_raw(header, tf.int32, little_endian=False)
    return tf.ensure_shape(size, [2])[::-1]


def _jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 2), b"\xff\xd8")
    with tf.control_dependencies([tf.debugging.Assert(is_jpeg, ["image: expected a JPEG or PNG file"])]):
        return tf.io.extract_jpeg_shape(encoded)[:2]


def decode(encoded: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes one photograph.

    Args:
      encoded: string scalar, a JPEG or PNG file; grey becomes RGB, transparency is dropped.
      max_pixels: how many pixels it may have.

    Returns:
      [height, width, 3] uint8, RGB.

    Raises:
      tf.errors.InvalidArgumentError: if it is neither JPEG nor PNG, is damaged, or has too many pixels.
    """
    height, width = tf.unstack(tf.cast(image_size(encoded), tf.int64))
    fits = (height > 0) & (width > 0) & (height * width <= max_pixels)
    message = [f"image: expected at most {max_pixels} pixels, got height and width", height, width]
    with tf.control_dependencies([tf.debugging.Assert(fits, message)]):
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)


decode_in_graph = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
"""`decode` for graphs that call it for one view after another: its own graph is made once in a process."""


def resize(images: tf.Tensor, intrinsics: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes photographs, smoothing when they shrink, and their cameras with them.

    Args:
      images: [..., H, W, 3], 0..255; H and W may be unknown.
      intrinsics: [..., 3, 3], px_from_cam of `images`.
      size: height and width of the result, px.

    Returns:
      Images [..., *size, 3] float32, 0..255, and their intrinsics [..., 3, 3].
    """
    images = tf.cast(images, tf.float32)
    if images.shape[-3:-1] == tuple(size):
        return images, intrinsics
    shape = tf.shape(images)
    flat = tf.reshape(images, tf.concat([[-1], shape[-3:]], axis=0))
    flat = tf.ensure_shape(flat, [None, *images.shape[-3:]])
    resized = tf.image.resize(flat, size, antialias=True)
    resized = tf.reshape(resized, tf.concat([shape[:-3], [*size, 3]], axis=0))
    from_hw = tf.unstack(tf.cast(shape[-3:-1], tf.float32))
    return (
        tf.ensure_shape(resized, [*images.shape[:-3], *size, 3]),
        camera.resize_intrinsics(intrinsics, from_hw, size),
    )


def crops(
    encoded: tf.Tensor, intrinsics: tf.Tensor, size: tuple[int, int], max_pixels: int = MAX_PIXELS
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and resizes photographs of any sizes.

    Args:
      encoded: [...] string, JPEG or PNG files; leading dimensions may be unknown.
      intrinsics: [..., 3, 3] float32, px_from_cam of the encoded images.
      size: height and width of the crops, px.
      max_pixels: how many pixels each photograph may have.

    Returns:
      Crops [..., *size, 3] float32, RGB, 0..255, and their intrinsics [..., 3, 3].

    Raises:
      tf.errors.InvalidArgumentError: as `decode`.
    """

    def crop(one: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = decode(one[0], max_pixels)
        image.set_shape([None, None, 3])
        return resize(image, one[1], size)

    leading = tf.shape(encoded)
    images, resized_intrinsics = tf.map_fn(
        crop,
        (tf.reshape(encoded, [-1]), tf.reshape(intrinsics, [-1, 3, 3])),
        fn_output_signature=(
            tf.TensorSpec([*size, 3], tf.float32),
            tf.TensorSpec([3, 3], tf.float32),
        ),
    )
    images = tf.reshape(images, tf.concat([leading, [*size, 3]], axis=0))
    resized_intrinsics = tf.reshape(resized_intrinsics, tf.concat([leading, [3, 3]], axis=0))
    return (
        tf.ensure_shape(images, [*encoded.shape, *size, 3]),
        tf.ensure_shape(resized_intrinsics, [*encoded.shape, 3, 3]),
    )
