"""A page of pictures laid out in pixels, with text and scales of colours between them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from tfface import files

Picture = npt.NDArray[np.uint8]

_DPI = 100


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG file."""
    with files.written(path) as beside:
        FigureCanvasAgg(figure).print_png(str(beside))


class Sheet:
    """A white page of a given size in pixels; (0, 0) is its upper left corner."""

    def __init__(self, width: int, height: int):
        self._size = width, height
        self._canvas = np.full((height, width, 3), 255, np.uint8)
        self._figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        self._page = self._figure.add_axes((0, 0, 1, 1))
        self._page.set(xlim=(0, width), ylim=(height, 0))
        self._page.axis("off")

    def place(self, picture: Picture, left: int, top: int) -> None:
        """Puts a picture [H, W, 3], RGB, on the page, pixel for pixel."""
        height, width = picture.shape[:2]
        self._canvas[top : top + height, left : left + width] = picture

    def write(self, x: float, y: float, text: str, size: float, *, align: str = "left bottom", grey: float = 0) -> None:
        """Writes text.

        Args:
          x: px.
          y: px.
          text: to write.
          size: of the letters, points.
          align: what of the text lies at (x, y), horizontally and vertically, in matplotlib's words; `bold` behind them
            makes it bold.
          grey: 0 is black, 1 is white.
        """
        horizontal, vertical, *weight = align.split()
        self._page.text(
            x, y, text, fontsize=size, ha=horizontal, va=vertical, color=str(grey), fontweight=(*weight, "normal")[0]
        )

    def scale(
        self, box: tuple[int, int, int, int], colormap: Colormap, limits: tuple[float, float], label: str
    ) -> None:
        """Draws a scale of colours that go on beyond its upper limit, and below its lower one unless that is 0.

        Args:
          box: left, top, width and height, px.
          colormap: the colours.
          limits: the numbers at its ends.
          label: stands behind it.
        """
        (left, top, width, height), (page_width, page_height) = box, self._size
        axes = self._figure.add_axes(
            (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
        )
        bar = self._figure.colorbar(
            ScalarMappable(Normalize(*limits), colormap),
            cax=axes,
            orientation="horizontal",
            extend="both" if limits[0] else "max",
        )
        bar.outline.set_visible(False)
        axes.tick_params(labelsize=9, length=3)
        self.write(left + width + 12, top + height / 2, label, 10, align="left center")

    def save(self, path: Path) -> None:
        """Writes the page as a PNG file."""
        width, height = self._size
        self._page.imshow(self._canvas, extent=(0, width, height, 0), interpolation="none", aspect="auto")
        save(self._figure, path)
