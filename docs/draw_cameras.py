"""Draws the picture of the page on cameras, with the formats' own code.

    python docs/draw_cameras.py            # writes docs/images/cameras/axes.svg

The axes of nerfstudio's camera are where `tfface.photographs.cameras` reads them from a transforms.json.
"""

import json
import pathlib
import tempfile

import draw_conventions as conventions
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfface.geometry import camera, rotation
from tfface.photographs import cameras

FOLDER = pathlib.Path(__file__).parent / "images" / "cameras"
Array = npt.NDArray[np.floating]

FRUSTUM = np.array([[0, 0, 0], [-0.6, -0.45, 1], [0.6, -0.45, 1], [0.6, 0.45, 1], [-0.6, 0.45, 1]])
"""The picture of a camera and its centre, in our camera frame."""
EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))
LOOK = rotation.matrix_from_yaw_pitch_roll(-35.0, -20.0, 0.0)
"""From where the cameras are looked at."""


def main() -> None:
    """Draws it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    conventions.save(axes(), FOLDER / "axes.svg")


def nerfstudio_axes() -> Array:
    """[3, 3]: nerfstudio's axes x, y, z, a row each, in our camera frame, as its reader turns them."""
    frame = {"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "transforms.json"
        path.write_text(json.dumps({"fl_x": 1, "w": 1, "h": 1, "frames": [frame]}))
        (one,) = cameras.read(path)[0].cameras
    # The scene's axes are the camera's own here: where they are in our camera frame is cam_from_scene.
    return one.matrix[:, :3].T


def axes() -> Figure:
    """Two cameras that see the same, each with its axes."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    for place, (title, directions) in enumerate(
        (("tfface, COLMAP, OpenCV, views.json", np.eye(3)), ("nerfstudio, OpenGL, Blender", nerfstudio_axes())), 1
    ):
        drawn = figure.add_subplot(1, 2, place)
        drawn.set_title(title)
        _camera(drawn, directions)
    return figure


def _camera(drawn: Axes, directions: Array) -> None:
    view = [0.0, 0.0, 4000.0]
    K = np.array([[1000.0, 0, 0], [0, 1000.0, 0], [0, 0, 1]])
    turn = rotation.quaternion_from_matrix(LOOK)

    def flat(points: Array) -> Array:
        return camera.project_array(1000 * np.asarray(points, np.float64), turn, view, K)

    corners = flat(FRUSTUM)
    for a, b in EDGES:
        drawn.plot(*corners[[a, b]].T, color=conventions.GREY, linewidth=1.2)
    for (name, color), direction in zip(conventions.AXES, directions, strict=True):
        start, end = flat(np.stack((np.zeros(3), 0.75 * direction)))
        drawn.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 2.2})
        label = start + 1.22 * (end - start)
        drawn.text(*label, name, color=color, ha="center", va="center", path_effects=conventions.HALO)
    drawn.set_xlim(-300, 260)
    drawn.set_ylim(240, -220)
    drawn.set_aspect("equal")
    drawn.axis("off")


if __name__ == "__main__":
    main()
