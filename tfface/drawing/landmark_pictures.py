"""A sheet of faces in their photographs: marked and projected landmarks, and the mesh over them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from tfface.drawing import overlay
from tfface.drawing.sheet import Sheet
from tfface.geometry import camera

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

MARKED_COLOR, PROJECTED_COLOR = (60, 220, 90), (255, 70, 60)
_CELL, _COLUMNS = 224, 5
_GAP, _LABEL, _FOOTER = 6, 22, 26  # px
_MARGIN = 0.35
"""Around the box of the points, in parts of its longer side."""
_FINE = 3  # times larger are dots drawn before they are reduced
_RADIUS = 1.6  # px


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """A face to show.

    Attributes:
      label: A line of text above it.
      image: [H, W, 3], RGB, 0..255, the whole photograph.
      marked: [L, 2], px, landmarks as somebody marked them.
      projected: [L, 2], px, landmarks of the mesh.
      vertices: [P, 3], mm, model frame, with the expression of the photograph.
      triangles: [F, 3], vertex indices.
      quaternion: [4], cam_from_model.
      translation: [3], mm, cam_from_model.
      intrinsics: [3, 3], px_from_cam.
    """

    label: str
    image: Picture
    marked: Array
    projected: Array
    vertices: Array
    triangles: npt.NDArray[np.integer]
    quaternion: Array
    translation: Array
    intrinsics: Array


def draw(path: Path, shown: Sequence[Shown]) -> None:
    """Draws, for each face, the cut photograph with both kinds of landmarks, and below it the mesh over it.

    Args:
      path: Of the PNG file.
      shown: At least one.

    Raises:
      ValueError: If there is none, or a shape does not fit.
    """
    if not shown:
        raise ValueError("shown: expected at least one face, got none")
    columns = min(_COLUMNS, len(shown))
    step_x, step_y = _CELL + _GAP, _LABEL + 2 * _CELL + 2 * _GAP
    rows = -(-len(shown) // columns)
    sheet = Sheet(columns * step_x + _GAP, rows * step_y + _FOOTER)
    for number, one in enumerate(shown):
        left, top = _GAP + number % columns * step_x, number // columns * step_y + _LABEL
        dotted, covered = _pictures(one)
        sheet.write(left, top - 4, one.label, 8)
        sheet.place(dotted, left, top)
        sheet.place(covered, left, top + _CELL)
    sheet.write(_GAP, rows * step_y + _FOOTER - 8, "green: marked landmarks, red: projected ones", 9, grey=0.3)
    sheet.save(path)


def _pictures(one: Shown) -> tuple[Picture, Picture]:
    """The face with dots, and with the mesh, [_CELL, _CELL, 3] each."""
    low, high = one.marked.min(axis=0), one.marked.max(axis=0)
    side = max(1, round((1 + 2 * _MARGIN) * float((high - low).max())))
    left, top = np.rint((low + high - side) / 2).astype(int).tolist()
    # Beyond the photograph's border Pillow cuts out black.
    cut = Image.fromarray(one.image).crop((left, top, left + side, top + side)).resize((_CELL, _CELL))
    local = camera.crop_intrinsics(np.asarray(one.intrinsics, np.float64), left, top)
    local = camera.resize_intrinsics(local, (side, side), (_CELL, _CELL))
    covered = overlay.shaded(
        np.asarray(cut), one.vertices, one.triangles, one.quaternion, one.translation, local, opacity=0.6
    )
    factor, corner = _CELL / side, np.array([left, top])
    return _dotted(cut, (one.marked - corner) * factor, (one.projected - corner) * factor), covered


def _dotted(picture: Image.Image, marked: Array, projected: Array) -> Picture:
    """Dots at marked and projected points [L, 2], px of the picture, and a line between the two of a landmark."""
    fine = picture.resize((_FINE * picture.width, _FINE * picture.height))
    brush = ImageDraw.Draw(fine)
    for pair in zip((_FINE * marked).tolist(), (_FINE * projected).tolist(), strict=True):
        brush.line([tuple(point) for point in pair], fill=(255, 255, 255), width=_FINE // 2)
        for (x, y), color in zip(pair, (MARKED_COLOR, PROJECTED_COLOR), strict=True):
            radius = _FINE * _RADIUS
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return np.asarray(fine.resize(picture.size))
