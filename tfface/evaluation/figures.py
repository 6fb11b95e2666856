"""The picture of examples: photographs, the predicted mesh over them, and predicted beside true shape."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from tqdm import tqdm

from tfface import files
from tfface.drawing import overlay
from tfface.drawing.shapes import GAP, ShapeCameras, grid
from tfface.evaluation import vertex_errors

Array = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

MAX_ERROR = 6.0
"""mm, where the colours end."""
COLORMAP = ListedColormap(matplotlib.colormaps["turbo"](np.linspace(0.08, 0.96, 256)), "turbo, inner part")
"""Without the ends of `turbo`, so dark that shading would not be seen on them."""
TRUTH_COLOR = (0.88, 0.80, 0.70)

_GAP, _SPACE, _MARGIN, _LABEL, _HEADER, _FOOTER = GAP, 24, 24, 34, 34, 60  # px
_DPI = 100
_SHAPE_COLUMNS = ("predicted shape", "true shape", "error")


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """One photograph and the camera through which the predicted shape is drawn over it.

    Attributes:
      image: [H, W, 3], RGB, 0..255.
      intrinsics: [3, 3], px_from_cam.
      quaternion: [4], cam_from_model.
      translation: [3], mm, cam_from_model.
    """

    image: npt.NDArray[np.generic]
    intrinsics: Array
    quaternion: Array
    translation: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One subject to show.

    Attributes:
      label: a line of text above its pictures.
      photographs: at least one; None leaves a gap.
      predicted: [P, 3], mm, model frame.
      truth: [P, 3], mm, model frame.
    """

    label: str
    photographs: Sequence[Photograph | None]
    predicted: Array
    truth: Array


def examples(
    path: Path,
    shown: Sequence[Example],
    triangles: npt.ArrayLike,
    *,
    alignment: str = "similarity",
    area: npt.NDArray[np.integer] | None = None,
    caption: str = "",
    cell: int = 256,
    progress: bool = True,
) -> None:
    """Draws one block of pictures a subject.

    On the left its photographs, and below them the same with the predicted mesh over them; on the right the predicted
    shape, the true one, and the predicted one coloured by its error, from the front and from the side.

    Args:
      path: of the PNG file.
      shown: the subjects, each with as many photographs of the same size.
      triangles: [F, 3], vertex indices of the shapes.
      alignment: of predicted onto true shapes.
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
    pairs = [(vertex_errors.aligned(one.predicted, one.truth, alignment, area), one.truth) for one in shown]
    cameras = ShapeCameras.holding(np.stack(pairs)[:, :, np.unique(measured)].reshape(-1, 3), height)
    bar = tqdm(zip(shown, pairs, strict=True), total=len(shown), desc="draw", unit="subject", disable=not progress)
    blocks = []
    for one, (aligned, truth) in bar:
        photographs = _photographs(one, triangles, scale, (height, width))
        space = np.full((len(photographs), _SPACE, 3), 255, np.uint8)
        blocks.append(np.concatenate([photographs, space, _shapes(cameras, aligned, truth, measured)], axis=1))
    headings = [(0, photographs.shape[1], "photographs, and the predicted mesh over them")]
    first, step = photographs.shape[1] + _SPACE, cameras.size_hw[1] + _GAP
    headings += [(first + step * k, cameras.size_hw[1], title) for k, title in enumerate(_SHAPE_COLUMNS)]
    figure = _composed(blocks, [one.label for one in shown], headings, caption)
    with files.written(path) as beside:
        FigureCanvasAgg(figure).print_png(str(beside))


def error_colors(distances: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """RGB, 0..1, [..., 3] of distances [...], in mm, on the scale from 0 to `MAX_ERROR`."""
    return np.asarray(COLORMAP(np.asarray(distances) / MAX_ERROR)[..., :3], np.float32)


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
        lower.append(overlay.shaded(photograph.image, example.predicted, triangles, *pose, scale=scale))
    return grid([upper, lower])


def _shapes(cameras: ShapeCameras, aligned: Array, truth: Array, triangles: npt.ArrayLike) -> Picture:
    """Predicted shape, true shape and error, from the front and from the side."""
    colors = error_colors(np.linalg.norm(aligned - truth, axis=-1))
    columns = ((aligned, None), (truth, np.broadcast_to(TRUTH_COLOR, truth.shape)), (aligned, colors))
    return grid(
        [
            [cameras.picture(camera, vertices, triangles, painted) for vertices, painted in columns]
            for camera in range(len(cameras.yaws))
        ]
    )


def _composed(
    blocks: Sequence[Picture], labels: Sequence[str], headings: Sequence[tuple[int, int, str]], caption: str
) -> Figure:
    """The blocks below one another, pixel for pixel, with labels, headings, the scale of colours and a caption.

    A heading is (left, width, text) of a part of a block; the scale of colours stands below the last.
    """
    block_height, block_width = blocks[0].shape[:2]
    step = _LABEL + block_height + 2 * _GAP
    width, height = block_width + 2 * _MARGIN, _HEADER + len(blocks) * step + _FOOTER
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0))
    page.axis("off")
    canvas = np.full((height, width, 3), 255, np.uint8)
    for index, (block, label) in enumerate(zip(blocks, labels, strict=True)):
        top = _HEADER + index * step + _LABEL
        canvas[top : top + block_height, _MARGIN : _MARGIN + block_width] = block
        page.text(_MARGIN, top - _GAP, label, fontsize=11, va="bottom", ha="left")
    page.imshow(canvas, extent=(0, width, height, 0), interpolation="none", aspect="auto")
    for left, extent, title in headings:
        x = _MARGIN + left + extent / 2
        page.text(x, _HEADER - _GAP, title, fontsize=12, fontweight="bold", va="bottom", ha="center")
    left, extent, _ = headings[-1]
    _add_color_bar(figure, page, (_MARGIN + left, height - _FOOTER + 10, extent, 16), (width, height))
    page.text(_MARGIN, height - _FOOTER + 10, caption, fontsize=10, va="top", ha="left", color="0.3")
    return figure


def _add_color_bar(figure: Figure, page: Axes, box: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    """The scale of colours in a box (left, top, width, height) of the page, px."""
    left, top, width, height = box
    axes = figure.add_axes((left / size[0], 1 - (top + height) / size[1], width / size[0], height / size[1]))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, MAX_ERROR), COLORMAP), cax=axes, orientation="horizontal", extend="max"
    )
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=9, length=3)
    page.text(left - _GAP, top + height / 2, "mm", fontsize=10, va="center", ha="right")
