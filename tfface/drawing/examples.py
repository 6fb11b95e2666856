"""The picture of examples: photographs, the predicted mesh over them, and predicted beside true shape."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfface.drawing import colors, overlay
from tfface.drawing.shapes import GAP, ShapeCameras, grid
from tfface.drawing.sheet import Sheet
from tfface.geometry import alignment

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

TRUTH_COLOR = (0.88, 0.80, 0.70)

_SPACE, _MARGIN, _LABEL, _HEADER, _FOOTER = 24, 24, 34, 34, 60  # px
_SHAPE_COLUMNS = ("predicted shape", "true shape", "error")


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """One photograph and the camera through which the predicted shape is drawn over it.

    Attributes:
      image: [H, W, 3], RGB, 0..255.
      intrinsics: [3, 3], px_from_cam.
      quaternion: [4], cam_from_model.
      translation: [3], mm, cam_from_model.
      posed: [P, 3], mm, model frame, the predicted mesh with the expression of this photograph; None if it is neutral.
    """

    image: npt.NDArray[np.generic]
    intrinsics: Array
    quaternion: Array
    translation: Array
    posed: Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One subject to show.

    Attributes:
      label: a line of text above its pictures.
      photographs: at least one; None leaves a gap.
      predicted: [P, 3], mm, model frame, neutral.
      truth: [P, 3], mm, model frame.
    """

    label: str
    photographs: Sequence[Photograph | None]
    predicted: Array
    truth: Array


def draw(
    path: Path,
    shown: Sequence[Example],
    triangles: npt.ArrayLike,
    *,
    area: npt.NDArray[np.integer] | None = None,
    caption: str = "",
    cell: int = 256,
    progress: bool = True,
) -> None:
    """Draws one block of pictures a subject.

    On the left its photographs, and below them the same with the predicted mesh over them; on the right the predicted
    shape, moved onto the true one by the least-squares similarity over the area, the true one, and the predicted one
    coloured by its error, from the front and from the side.

    Args:
      path: of the PNG file.
      shown: the subjects, each with as many photographs of the same size.
      triangles: [F, 3], vertex indices of the shapes.
      area: [A] vertices to align on, and to show on the right; all if None.
      caption: a line of text below.
      cell: px, what the height of an enlarged photograph comes closest to.
      progress: whether to show a progress bar.

    Raises:
      ValueError: If there is nobody to show or a shape does not fit.
    """
    counts = {len(one.photographs) for one in shown}
    sizes = {photograph.image.shape for one in shown for photograph in one.photographs if photograph is not None}
    if len(counts) != 1 or len(sizes) != 1:
        raise ValueError(f"shown: expected photographs of one size and number, got {sorted(sizes)}, {sorted(counts)}")
    image_height, image_width, _ = sizes.pop()
    scale = max(1, round(cell / image_height))
    height, width = image_height * scale, image_width * scale
    triangles = np.asarray(triangles)
    measured = triangles if area is None else triangles[np.isin(triangles, area).all(axis=1)]
    chosen = slice(None) if area is None else area
    pairs = [
        (alignment.similarity(one.predicted[chosen], one.truth[chosen]).apply(one.predicted), one.truth)
        for one in shown
    ]
    cameras = ShapeCameras.holding(np.stack(pairs)[:, :, np.unique(measured)].reshape(-1, 3), height)
    bar = tqdm(zip(shown, pairs, strict=True), total=len(shown), desc="draw", unit="subject", disable=not progress)
    blocks = []
    for one, (aligned, truth) in bar:
        photographs = _photographs(one, triangles, scale, (height, width))
        space = np.full((len(photographs), _SPACE, 3), 255, np.uint8)
        blocks.append(np.concatenate([photographs, space, _shapes(cameras, aligned, truth, measured)], axis=1))
    headings = [(0, photographs.shape[1], "photographs, and the predicted mesh over them")]
    first, step = photographs.shape[1] + _SPACE, cameras.size_hw[1] + GAP
    headings += [(first + step * k, cameras.size_hw[1], title) for k, title in enumerate(_SHAPE_COLUMNS)]
    _composed(blocks, [one.label for one in shown], headings, caption).save(path)


def _photographs(example: Example, triangles: npt.ArrayLike, scale: int, size_hw: tuple[int, int]) -> Picture:
    """Photographs in the upper row, the predicted mesh over them in the lower one."""
    upper, lower = [], []
    for photograph in example.photographs:
        if photograph is None:
            upper.append(np.full((*size_hw, 3), 255, np.uint8))
            lower.append(upper[-1])
            continue
        upper.append(overlay.enlarge(photograph.image, scale))
        pose = (photograph.quaternion, photograph.translation, photograph.intrinsics)
        shown = example.predicted if photograph.posed is None else photograph.posed
        lower.append(overlay.shaded(photograph.image, shown, triangles, *pose, scale=scale))
    return grid([upper, lower])


def _shapes(cameras: ShapeCameras, aligned: Array, truth: Array, triangles: npt.ArrayLike) -> Picture:
    """Predicted shape, true shape and error, from the front and from the side."""
    painted = colors.of_errors(np.linalg.norm(aligned - truth, axis=-1))
    columns = ((aligned, None), (truth, np.broadcast_to(TRUTH_COLOR, truth.shape)), (aligned, painted))
    return grid(
        [
            [cameras.picture(camera, vertices, triangles, paint) for vertices, paint in columns]
            for camera in range(len(cameras.yaws))
        ]
    )


def _composed(
    blocks: Sequence[Picture], labels: Sequence[str], headings: Sequence[tuple[int, int, str]], caption: str
) -> Sheet:
    """The blocks below one another with labels, headings, the scale of colours and a caption.

    A heading is (left, width, text) of a part of a block; the scale of colours stands below the last.
    """
    block_height, block_width = blocks[0].shape[:2]
    step = _LABEL + block_height + 2 * GAP
    height = _HEADER + len(blocks) * step + _FOOTER
    sheet = Sheet(block_width + 2 * _MARGIN, height)
    for index, (block, label) in enumerate(zip(blocks, labels, strict=True)):
        top = _HEADER + index * step + _LABEL
        sheet.place(block, _MARGIN, top)
        sheet.write(_MARGIN, top - GAP, label, 11)
    for left, width, title in headings:
        sheet.write(_MARGIN + left + width / 2, _HEADER - GAP, title, 12, align="center bottom bold")
    left, width, _ = headings[-1]
    bar = (_MARGIN + left, height - _FOOTER + 10, width - 24, 16)
    sheet.scale(bar, colors.COLORMAP, (0, colors.MAX_ERROR), "mm")
    sheet.write(_MARGIN, height - _FOOTER + 10, caption, 10, align="left top", grey=0.3)
    return sheet
