"""Errors of every vertex, painted on one shape."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfface.drawing import colors
from tfface.drawing.shapes import GAP, ShapeCameras, grid
from tfface.drawing.sheet import Sheet

_LABEL, _SPACE, _MARGIN, _FOOTER = 44, 26, 20, 64  # px


def draw(
    path: Path,
    shape: npt.NDArray[np.floating],
    triangles: npt.ArrayLike,
    rows: Mapping[str, npt.NDArray[np.float64]],
    *,
    area: npt.NDArray[np.integer] | None = None,
    columns: int = 5,
    height: int = 230,
) -> None:
    """Paints errors on a shape, once for each row of a table, from the front and from the side.

    Args:
      path: of the PNG file.
      shape: [P, 3], mm, model frame: the mean face.
      triangles: [F, 3].
      rows: [P] errors in mm by name of the row, all on the same scale.
      area: [A] vertices to show; all if None.
      columns: how many stand side by side.
      height: px, of each picture.

    Raises:
      ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("rows: expected at least one, got none")
    triangles = np.asarray(triangles)
    shown = triangles if area is None else triangles[np.isin(triangles, area).all(axis=1)]
    used = np.unique(shown)
    end = float(np.ceil(2 * max(np.quantile(errors[used], 0.99) for errors in rows.values())) / 2)
    cameras = ShapeCameras.holding(np.asarray(shape, np.float64)[used], height)
    pictures = [
        grid([[cameras.picture(camera, shape, shown, painted) for camera in range(len(cameras.yaws))]])
        for painted in (colors.of_errors(errors, end) for errors in rows.values())
    ]
    columns = min(columns, len(pictures))
    block_height, block_width = pictures[0].shape[:2]
    step = _LABEL + block_height + GAP
    width = 2 * _MARGIN + columns * block_width + (columns - 1) * _SPACE
    total = _MARGIN + -(-len(pictures) // columns) * step + _FOOTER
    sheet = Sheet(width, total)
    for index, (name, picture) in enumerate(zip(rows, pictures, strict=True)):
        left = _MARGIN + (index % columns) * (block_width + _SPACE)
        top = _MARGIN + (index // columns) * step + _LABEL
        sheet.place(picture, left, top)
        sheet.write(left, top - 22, name, 10, align="left bottom bold")
        sheet.write(left, top - 6, f"{rows[name][used].mean():.2f} mm", 9, grey=0.35)
    sheet.scale((_MARGIN, total - 44, min(420, width - 2 * _MARGIN - 60), 14), colors.COLORMAP, (0, end), "mm")
    sheet.save(path)
