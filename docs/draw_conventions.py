"""Draws the pictures of the page on conventions, with the project's own camera, rotations and renderer.

    python docs/draw_conventions.py            # writes docs/images/conventions/*.svg

What is drawn is therefore what the code does; the pictures are drawn again when a convention changes.
"""

import pathlib
import re

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from tfface import schema
from tfface.drawing import overlay
from tfface.geometry import camera, rotation
from tfface.people.anthropometric import AnthropometricPeople
from tfface.people.photographer import framing

FOLDER = pathlib.Path(__file__).parent / "images" / "conventions"
X, Y, Z, GREY = "#c62828", "#2e7d32", "#1565c0", "#555555"
AXES = (("x", X), ("y", Y), ("z", Z))
PEOPLE = AnthropometricPeople(1)
CENTROID = PEOPLE.template.vertices.mean(axis=0)
HEAD = PEOPLE.head.template_vertices - CENTROID
"""[V, 3], mm, model frame: the mean head, with the centroid of its face region as origin."""
LANDMARKS = HEAD[[PEOPLE.head.landmarks[name] for name in schema.IBUG68]]
HALO = [withStroke(linewidth=3, foreground="white")]
Array = npt.NDArray[np.floating]

matplotlib.rcParams.update(
    {
        "font.size": 11,
        "svg.hashsalt": "tfface",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
    }
)


def main() -> None:
    """Draws all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for draw in (frames, frontal, yaw, pixel, crop, landmarks):
        save(draw(), FOLDER / f"{draw.__name__}.svg")


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as SVG, the same bytes each time."""
    FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})
    # Three digits behind the point are enough for a coordinate.
    text = re.sub(r"(\.\d{3})\d+", r"\1", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def frontal_camera(size: int, side_mm: float, distance: float) -> tuple[Array, Array, Array]:
    """Identity, (0, 0, distance), and K of a square picture that shows `side_mm` at the model frame's origin."""
    focal = size * distance / side_mm
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return np.array([0.0, 0, 0, 1]), np.array([0.0, 0, distance]), K


def picture(quaternion: Array, translation: Array, K: Array, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The mean head as a camera sees it."""
    return overlay.render(HEAD, PEOPLE.head.triangles, quaternion, translation, K, size_hw)


def canvas(axes: Axes, size_hw: tuple[int, int]) -> None:
    """Makes axes whose data coordinates are those of the pixel frame."""
    axes.set_xlim(0, size_hw[1])
    axes.set_ylim(size_hw[0], 0)
    axes.set_aspect("equal")
    axes.axis("off")


def arrow(axes: Axes, tail: Array, tip: Array, color: str, text: str = "", gap: float = 8.0) -> None:
    """An arrow in the pixel frame, with its name beyond the tip."""
    axes.annotate(
        "", xy=tip, xytext=tail, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2, "shrinkA": 0, "shrinkB": 0}
    )
    if text:
        along = (tip - tail) / max(float(np.linalg.norm(tip - tail)), 1e-9)
        axes.text(*(tip + gap * along), text, color=color, ha="center", va="center", weight="bold", path_effects=HALO)


def frames() -> Figure:
    """Model frame, camera frame and pixel frame, seen from the side and above."""
    size_hw = (330, 700)
    turn = rotation.matrix_from_yaw_pitch_roll(58.0, 14.0, 0.0)
    observer = rotation.quaternion_from_matrix(turn)
    centre = np.array([0.0, 25.0, -330.0])  # between head and camera
    translation = np.array([0.0, 0.0, 2600.0]) - turn @ centre
    K = np.array([[1900.0, 0, size_hw[1] / 2], [0, 1900.0, size_hw[0] / 2], [0, 0, 1]])

    def seen(points: Array) -> Array:
        return camera.project_array(np.asarray(points, float), observer, translation, K)

    figure = Figure(figsize=(size_hw[1] / 100, size_hw[0] / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    canvas(axes, size_hw)
    axes.imshow(picture(observer, translation, K, size_hw), extent=(0, size_hw[1], size_hw[0], 0))
    eye = np.array([0.0, 0, -700.0])  # cam_from_model: R = I, t = (0, 0, 700)
    plane = eye + np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2]]) * [75, 75, 110]
    outline = seen(np.concatenate((plane, plane[:1])))
    axes.fill(*outline.T, color="#90a4ae", alpha=0.25, lw=0)
    axes.plot(*outline.T, color=GREY, lw=1)
    for corner in plane:
        axes.plot(*seen(np.stack((eye, corner))).T, color=GREY, lw=0.8)
    for origin, length in ((np.zeros(3), 130.0), (eye, 130.0)):
        for axis, (name, color) in enumerate(AXES):
            tail, tip = seen(np.stack((origin, origin + length * np.eye(3)[axis])))
            arrow(axes, tail, tip, color, name, 11)
    start, end = seen(np.stack((eye, np.zeros(3))))
    axes.plot(*np.stack((start, end)).T, color=GREY, lw=0.8, ls=(0, (4, 3)))
    axes.text(*(seen(np.array([[0.0, 0, -300]]))[0] + [0, -16]), "t = (0, 0, distance)", color=GREY, ha="center")
    axes.text(*(start + [24, 128]), "camera frame (OpenCV)", ha="center", weight="bold")
    axes.text(*(end + [10, 128]), "model frame", ha="center", weight="bold")
    axes.text(*(outline[2] + [8, 16]), "picture", ha="center", color=GREY)
    return figure


def frontal() -> Figure:
    """The model frame's axes in a frontal photograph."""
    size = 300
    quaternion, translation, K = frontal_camera(size, 330, 700)
    figure = Figure(figsize=(3.6, 3.2), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture(quaternion, translation, K, (size, size)), extent=(0, size, size, 0))
    origin, *tips = camera.project_array(
        np.concatenate((np.zeros((1, 3)), 110 * np.eye(3)[:2])), quaternion, translation, K
    )
    for (name, color), tip in zip(AXES, tips, strict=False):
        arrow(axes, origin, tip, color, name, 12)
    axes.plot(*origin, "o", ms=11, mfc="white", mec=Z, mew=2)
    axes.plot(*origin, "x", ms=7, mec=Z, mew=2)
    axes.text(*(origin + [0, -15]), "z, away from the viewer", color=Z, ha="center", weight="bold", path_effects=HALO)
    axes.text(18, 60, "person's\nright side", ha="center", va="center", color=GREY)
    axes.text(282, 60, "person's\nleft side", ha="center", va="center", color=GREY)
    canvas(axes, (size, size))
    axes.set_xlim(-15, size + 15)
    return figure


def yaw() -> Figure:
    """The three views of section 4.2, and what pitch and roll do."""
    size = 200
    shown = [
        ((-45.0, 0, 0), "yaw = $-45$\nnose to the viewer's right,\nshows the RIGHT side"),
        ((0.0, 0, 0), "yaw = 0\nR = I"),
        ((45.0, 0, 0), "yaw = $+45$\nnose to the viewer's left,\nshows the LEFT side"),
        ((0.0, 25.0, 0), "pitch = $+25$\nnose down"),
        ((0.0, 0, 25.0), "roll = $+25$\nclockwise"),
    ]
    figure = Figure(figsize=(len(shown) * 1.75, 2.5), dpi=100)
    for place, (angles, title) in enumerate(shown):
        _, translation, K = frontal_camera(size, 320, 700)
        quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(*angles))
        axes = figure.add_axes((place / len(shown), 0.29, 1 / len(shown), 0.71))
        axes.imshow(picture(quaternion, translation, K, (size, size)))
        axes.axis("off")
        text = f"{title}\n({', '.join(f'{value:.3g}' for value in np.round(quaternion, 3) + 0.0)})"
        figure.text((place + 0.5) / len(shown), 0.27, text, ha="center", va="top", fontsize=8.5)
    return figure


def pixel() -> Figure:
    """A picture of 3 x 4 pixels."""
    height, width = 3, 4
    figure = Figure(figsize=(6.2, 3.3), dpi=100)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    for row in range(height):
        for column in range(width):
            axes.add_patch(Rectangle((column, row), 1, 1, fc="#eceff1", ec=GREY, lw=1))
            axes.plot(column + 0.5, row + 0.5, ".", color=GREY, ms=4)
    for point, text, offset in (
        ((0, 0), "(0, 0)  outer corner of the top-left pixel", (0.02, -0.42)),
        ((0.5, 0.5), "(0.5, 0.5)  its centre", (1.75, 0.12)),
        ((width, height), "(width, height) = (4, 3)", (0.45, 0.25)),
    ):
        axes.plot(*point, "o", color=Z, ms=6)
        axes.annotate(
            text,
            xy=point,
            xytext=np.add(point, offset),
            color=Z,
            va="center",
            ha="left",
            bbox={"fc": "white", "ec": "none", "pad": 1, "alpha": 0.85},
            arrowprops={"arrowstyle": "-", "color": Z, "lw": 0.8},
        )
    arrow(axes, np.array([-0.35, 0.0]), np.array([-0.35, 1.2]), Y, "y", 0.2)
    arrow(axes, np.array([0.0, -0.15]), np.array([1.2, -0.15]), X, "x", 0.2)
    axes.text(0, 3.35, "size (height, width) = (3, 4)", ha="left", va="center")
    axes.set_xlim(-0.7, 7.3)
    axes.set_ylim(3.6, -0.7)
    axes.set_aspect("equal")
    axes.axis("off")
    return figure


def crop() -> Figure:
    """The crop as a camera: cutting and resizing change K and nothing else."""
    height, width, size = 480, 640, 64
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(-20.0, 3, 4))
    translation = np.array([90.0, -20, 800])
    K = np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]])
    px = camera.project_array(framing.framed_points(LANDMARKS), quaternion, translation, K)
    low, high = px.min(axis=0), px.max(axis=0)
    side = float((high - low).max() * 1.08)
    x, y = (low + high - side) / 2
    cut = camera.crop_intrinsics(K, x, y)
    resized = camera.resize_intrinsics(cut, (side, side), (size, size))

    figure = Figure(figsize=(8.4, 3.7), dpi=100)
    left = figure.add_axes((0.01, 0.14, 0.56, 0.84))
    left.imshow(picture(quaternion, translation, K, (height, width)), extent=(0, width, height, 0))
    left.add_patch(Rectangle((0, 0), width, height, fill=False, ec=GREY, lw=1))
    left.add_patch(Rectangle((x, y), side, side, fill=False, ec=X, lw=2))
    left.plot(*px[:68].T, ".", color=Z, ms=3)
    left.plot(K[0, 2], K[1, 2], "+", color="black", ms=10)
    left.text(K[0, 2] - 12, K[1, 2], "principal point", ha="right", va="center", fontsize=9)
    told = f"square of {side:.1f} px at ({x:.1f}, {y:.1f})"
    left.text(x + side / 2, y - 12, told, color=X, ha="center", fontsize=9, path_effects=HALO)
    right = figure.add_axes((0.61, 0.14, 0.37, 0.84))
    right.imshow(picture(quaternion, translation, resized, (size, size)), extent=(0, size, size, 0))
    right.plot(*camera.project_array(LANDMARKS, quaternion, translation, resized).T, ".", color=Z, ms=3)
    right.add_patch(Rectangle((0, 0), size, size, fill=False, ec=X, lw=2))
    for axes, matrix, name in ((left, K, "photograph"), (right, resized, f"crop, {size} x {size} px")):
        fx, cx, fy, cy = matrix[0, 0], matrix[0, 2], matrix[1, 1], matrix[1, 2]
        text = f"{name}\nfx = {fx:.1f}, fy = {fy:.1f}, cx = {cx:.1f}, cy = {cy:.1f}"
        axes.text(0.5, -0.06, text, transform=axes.transAxes, ha="center", va="top", fontsize=9.5)
        axes.axis("off")
    return figure


def landmarks() -> Figure:
    """The 68 landmarks by number, on the mean face."""
    size = 280
    quaternion, translation, K = frontal_camera(size, 205, 900)
    translation = translation - [0, LANDMARKS[:, 1].mean() - 12, 0]
    px = camera.project_array(LANDMARKS, quaternion, translation, K)
    figure = Figure(figsize=(5.6, 5.6), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture(quaternion, translation, K, (size, size)), extent=(0, size, size, 0), alpha=0.5)
    for number, (u, v) in enumerate(px):
        axes.plot(u, v, ".", color=X, ms=5)
        if number < schema.IBUG68.index("lip_inner_0"):
            below = schema.IBUG68[number] in {f"lip_outer_{i}" for i in range(7, 12)}
            axes.text(u, v + (7 if below else -4), str(number), fontsize=7.5, ha="center")
    canvas(axes, (size, size))
    return figure


if __name__ == "__main__":
    main()
