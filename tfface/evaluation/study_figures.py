"""The figures of the study: cumulative errors, errors painted on the mean face, errors against the number of views."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from tfface import files
from tfface.drawing.shapes import GAP, ShapeCameras, grid
from tfface.evaluation import statistics
from tfface.evaluation.figures import COLORMAP
from tfface.evaluation.learning_curves import History
from tfface.evaluation.study_rows import PAPER

Values = npt.NDArray[np.float64]

_PAPER_COLORS = ("#4d4d4d", "#f4a259", "#d1495b", "#8ecae6", "#3a86c8", "#70c1a0", "#1b7f5c")
_OTHER_COLORS = ("#9467bd", "#b08900", "#7f7f7f", "#c06ba8", "#5b7065", "#a0522d", "#6a8caf", "#b5bd00")
_CURVE_COLORS = ("#d1495b", "#3a86c8", "#1b7f5c", "#b08900", "#9467bd", "#4d4d4d", "#c06ba8", "#5b7065")
_DPI = 130


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Errors against the number of views.

    Attributes:
      name: in the legend.
      counts: [C], numbers of views.
      means: [C], mm.
      intervals: [C, 2], mm, bootstrap intervals of the means.
    """

    name: str
    counts: Sequence[int]
    means: Sequence[float]
    intervals: Sequence[tuple[float, float]]


def cumulative_errors(path: Path, rows: Mapping[str, Values], label: str) -> None:
    """Draws, for every row, the share of subjects with at most each error.

    Args:
      path: of the PNG file.
      rows: [S] errors by row; the paper's rows are drawn solid, the others dashed.
      label: of the errors.

    Raises:
      ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("rows: expected at least one, got none")
    figure = Figure(figsize=(8.6, 5.4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    end = float(np.quantile(np.concatenate(list(rows.values())), 0.995))
    at = np.linspace(0, end, 600)
    for name, values in rows.items():
        color, dashes = _style(name, list(rows))
        axes.plot(at, 100 * statistics.cumulative(values, at), color=color, linestyle=dashes, linewidth=1.8, label=name)
    axes.set(xlim=(0, end), ylim=(0, 100), xlabel=label, ylabel="subjects, %")
    _finish(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    _save(figure, path)


def error_maps(
    path: Path,
    shape: npt.NDArray[np.floating],
    triangles: npt.ArrayLike,
    rows: Mapping[str, Values],
    *,
    area: npt.NDArray[np.integer] | None = None,
    columns: int = 5,
    height: int = 230,
) -> None:
    """Paints each row's mean error of every vertex on one shape, from the front and from the side.

    Args:
      path: of the PNG file.
      shape: [P, 3], mm, model frame: the mean face.
      triangles: [F, 3].
      rows: [P] errors in mm by row, all on the same scale.
      area: [A] vertices to show; all if None.
      columns: rows of the table that stand side by side.
      height: px, of each picture.

    Raises:
      ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("rows: expected at least one, got none")
    triangles = np.asarray(triangles)
    shown = triangles if area is None else triangles[np.isin(triangles, area).all(axis=1)]
    used = np.unique(shown)
    top = float(np.ceil(2 * max(np.quantile(errors[used], 0.99) for errors in rows.values())) / 2)
    cameras = ShapeCameras.holding(np.asarray(shape, np.float64)[used], height)
    pictures = []
    for errors in rows.values():
        colors = np.asarray(COLORMAP(np.clip(errors / top, 0, 1))[:, :3], np.float32)
        pictures.append(grid([[cameras.picture(camera, shape, shown, colors) for camera in range(len(cameras.yaws))]]))
    columns = min(columns, len(pictures))
    lines = -(-len(pictures) // columns)
    block_h, block_w = pictures[0].shape[:2]
    label, space, margin, footer = 44, 26, 20, 64
    width = 2 * margin + columns * block_w + (columns - 1) * space
    total = margin + lines * (label + block_h + GAP) + footer
    canvas = np.full((total, width, 3), 255, np.uint8)
    figure = Figure(figsize=(width / 100, total / 100), dpi=100, facecolor="white")
    sheet = figure.add_axes((0, 0, 1, 1))
    sheet.set(xlim=(0, width), ylim=(total, 0))
    sheet.axis("off")
    for index, (name, picture) in enumerate(zip(rows, pictures, strict=True)):
        left = margin + (index % columns) * (block_w + space)
        top_px = margin + (index // columns) * (label + block_h + GAP) + label
        canvas[top_px : top_px + block_h, left : left + block_w] = picture
        sheet.text(left, top_px - 22, name, fontsize=10, fontweight="bold", va="bottom")
        mean = f"{rows[name][used].mean():.2f} mm"
        sheet.text(left, top_px - 6, mean, fontsize=9, va="bottom", color="0.35")
    sheet.imshow(canvas, extent=(0, width, total, 0), interpolation="none", aspect="auto")
    bar_width = min(420, width - 2 * margin - 60)
    bar = figure.add_axes((margin / width, 30 / total, bar_width / width, 14 / total))
    scale = figure.colorbar(
        ScalarMappable(Normalize(0, top), COLORMAP), cax=bar, orientation="horizontal", extend="max"
    )
    scale.outline.set_visible(False)
    bar.tick_params(labelsize=9, length=3)
    figure.text((margin + bar_width + 12) / width, 37 / total, "mm", fontsize=10, va="center")
    _save(figure, path)


def error_by_views(path: Path, curves: Sequence[Curve], baseline: float, baseline_name: str, label: str) -> None:
    """Draws errors against the number of views, with their intervals.

    Args:
      path: of the PNG file.
      curves: of the models.
      baseline: mm, a line to compare with.
      baseline_name: its name.
      label: of the errors.

    Raises:
      ValueError: If there is no curve.
    """
    if not curves:
        raise ValueError("curves: expected at least one, got none")
    figure = Figure(figsize=(7.6, 4.8), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for index, curve in enumerate(curves):
        color = _CURVE_COLORS[index % len(_CURVE_COLORS)]
        low, high = np.asarray(curve.intervals, np.float64).T
        axes.fill_between(curve.counts, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(curve.counts, curve.means, color=color, marker="o", markersize=4.5, linewidth=1.8, label=curve.name)
    axes.axhline(baseline, color="#4d4d4d", linewidth=1.2, linestyle=(0, (4, 3)), label=baseline_name)
    counts = sorted({count for curve in curves for count in curve.counts})
    axes.set(xlabel="views", ylabel=label, xticks=counts, ylim=(0, None))
    _finish(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    _save(figure, path)


def learning_curves(path: Path, histories: Mapping[str, History], label: str) -> None:
    """Draws the error on the validation split against the step of training.

    Args:
      path: of the PNG file.
      histories: by model.
      label: of the errors.

    Raises:
      ValueError: If there is no history.
    """
    if not histories:
        raise ValueError("histories: expected at least one, got none")
    figure = Figure(figsize=(7.6, 4.8), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for index, (name, history) in enumerate(histories.items()):
        color = _CURVE_COLORS[index % len(_CURVE_COLORS)]
        axes.plot(history.steps, history.errors, color=color, marker="o", markersize=3, linewidth=1.6, label=name)
    axes.set(xlabel="steps", ylabel=label)
    _finish(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    _save(figure, path)


def _style(name: str, names: Sequence[str]) -> tuple[str, object]:
    """Colour and line of a row: each of the paper's its own, the others in turn."""
    if name in PAPER:
        return _PAPER_COLORS[list(PAPER).index(name)], "-"
    others = [other for other in names if other not in PAPER]
    return _OTHER_COLORS[others.index(name) % len(_OTHER_COLORS)], (0, (3.5, 1.6))


def _finish(axes: Axes) -> None:
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    with files.written(path) as beside:
        FigureCanvasAgg(figure).print_png(str(beside))
