"""What the header of an encoded photograph says, read without TensorFlow and without decoding it.

A server looks here before a photograph joins a batch: one that cannot be decoded would fail the batch, and one that
claims to be large would take memory without limit.
"""

import struct

MAX_PIXELS = 1 << 22
"""An exported model and the server refuse photographs with more pixels (2048 x 2048) before they are decoded; they
take crops, which are small, and each pixel of a crop that is resized takes 15 bytes."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0 .. RST7, SOI: markers without a length
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 .. SOF15 without DHT, JPG, DAC


def image_size(encoded: bytes) -> tuple[int, int]:
    """Height and width that the header of a JPEG or PNG file states.

    Raises:
      ValueError: If it is neither, or ends within its header.
    """
    if encoded.startswith(_PNG_SIGNATURE):
        if len(encoded) < 24 or encoded[12:16] != b"IHDR":
            raise ValueError("the PNG file ends within its header")
        width, height = struct.unpack(">II", encoded[16:24])
        return height, width
    if encoded.startswith(b"\xff\xd8"):
        return _jpeg_size(encoded)
    raise ValueError("expected a JPEG or PNG file")


def _jpeg_size(encoded: bytes) -> tuple[int, int]:
    position = 2
    while True:
        position = encoded.find(b"\xff", position)
        while 0 <= position < len(encoded) and encoded[position] == 0xFF:
            position += 1  # any number of fill bytes may stand before a marker
        if not 0 < position < len(encoded):
            raise ValueError("the JPEG file ends within its header")
        marker = encoded[position]
        position += 1
        if marker == 0 or marker in _JPEG_STANDALONE:
            continue
        if marker in (0xD9, 0xDA):
            raise ValueError("the JPEG file has no frame header")
        if position + 7 > len(encoded):
            raise ValueError("the JPEG file ends within its header")
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", encoded[position + 3 : position + 7])
            return height, width
        position += max(2, struct.unpack(">H", encoded[position : position + 2])[0])


def check(encoded: bytes) -> None:
    """Refuses what `image_size` cannot read, and pictures without pixels or with more than `MAX_PIXELS`.

    Raises:
      ValueError: It says what was expected and what came.
    """
    height, width = image_size(encoded)
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"expected between 1 and {MAX_PIXELS} pixels, got height {height} and width {width}")
