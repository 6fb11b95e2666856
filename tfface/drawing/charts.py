"""Charts of lines, all in one style."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfface.drawing.sheet import save

DPI = 130
PALETTE = ("#d1495b", "#3a86c8", "#1b7f5c", "#b08900", "#9467bd", "#4d4d4d", "#c06ba8", "#5b7065")
DASHED = (0, (3.5, 1.6))


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """A line of a chart.

    Attributes:
      name: in the legend.
      x: [A].
      y: [A].
      band: [A, 2], lower and upper bound of y, shown around the line; None for none.
      color: the next of `PALETTE` if None.
      dashed: whether to draw it dashed.
      marked: whether its points are marked.
    """

    name: str
    x: npt.ArrayLike
    y: npt.ArrayLike
    band: npt.ArrayLike | None = None
    color: str | None = None
    dashed: bool = False
    marked: bool = False


def draw(
    path: Path,
    lines: Sequence[Line],
    *,
    labels: tuple[str, str],
    limits: tuple[tuple[float, float] | None, tuple[float, float | None] | None] = (None, None),
    level: tuple[str, float] | None = None,
    ticks: Sequence[float] | None = None,
) -> None:
    """Draws lines with a legend beside them.

    Args:
      path: of the PNG file.
      lines: at least one.
      labels: of the axes x and y.
      limits: of the axes x and y.
      level: name and y of a horizontal line to compare with.
      ticks: of the axis x.

    Raises:
      ValueError: If there is no line.
    """
    if not lines:
        raise ValueError("lines: expected at least one, got none")
    figure = Figure(figsize=(8.2, 5.0), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for index, line in enumerate(lines):
        color = line.color or PALETTE[index % len(PALETTE)]
        if line.band is not None:
            low, high = np.asarray(line.band, np.float64).T
            axes.fill_between(np.asarray(line.x), low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(
            np.asarray(line.x),
            np.asarray(line.y),
            color=color,
            linestyle=DASHED if line.dashed else "-",
            linewidth=1.8,
            marker="o" if line.marked else None,
            markersize=4,
            label=line.name,
        )
    if level is not None:
        axes.axhline(level[1], color="#4d4d4d", linewidth=1.2, linestyle=DASHED, label=level[0])
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=limits[0], ylim=limits[1])
    if ticks is not None:
        axes.set_xticks(ticks)
    finish(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    save(figure, path)


def finish(axes: Axes) -> None:
    """Grid and frame, as all charts have them."""
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
