"""Draws the pictures of the page on reconstruction, with the project's own code.

    python docs/draw_reconstruction.py            # writes docs/images/reconstruction/

`file_frame.svg` shows the axes of the files beside those of the model frame; `texture.jpg` an embedded person's
photographs, the texture made of them, and the textured face from other sides.
"""

import io
import pathlib
import re

import draw_conventions as conventions
import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from tfface.face import MorphableModel
from tfface.geometry import camera, rotation
from tfface.people.anthropometric import AnthropometricPeople
from tfface.people.photographer import PhotographySettings
from tfface.reconstruction import outputs
from tfface.reconstruction.outputs.mesh_files import FILE_FROM_MODEL
from tfface.reconstruction.outputs.pictures import portrait
from tfface.reconstruction.reconstructed_face import Reconstruction, View

FOLDER = pathlib.Path(__file__).parent / "images" / "reconstruction"
Array = npt.NDArray[np.floating]


def main() -> None:
    """Draws both."""
    matplotlib.rcParams.update({"font.size": 11, "svg.hashsalt": "tfface", "svg.fonttype": "none"})
    matplotlib.rcParams.update({"font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"]})
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "file_frame.svg"
    FigureCanvasSVG(file_frame()).print_svg(str(path), metadata={"Date": None})
    path.write_text(re.sub(r"(\.\d{3})\d+", r"\1", path.read_text(encoding="utf-8")), encoding="utf-8")
    Image.fromarray(texture()).save(FOLDER / "texture.jpg", quality=88)


def file_frame() -> Figure:
    """The model frame's axes and the files' axes at the same head, seen from the same place."""
    size = 330
    turn = rotation.matrix_from_yaw_pitch_roll(38.0, 14.0, 0.0)
    quaternion = rotation.quaternion_from_matrix(turn)
    translation, K = np.array([0.0, 0, 1500]), np.array([[1400.0, 0, size / 2], [0, 1400, size / 2], [0, 0, 1]])
    head = conventions.picture(quaternion, translation, K, (size, size))
    figure = Figure(figsize=(2 * size / 100, (size + 40) / 100), dpi=100)
    # A row of FILE_FROM_MODEL is an axis of the file in model coordinates.
    panels = {"model frame, mm": np.eye(3), "file frame, m: GLB, OBJ, PLY": np.sign(FILE_FROM_MODEL)}
    for place, (title, directions) in enumerate(panels.items()):
        axes = figure.add_axes((place / 2, 0, 0.5, size / (size + 40)))
        conventions.canvas(axes, (size, size))
        axes.imshow(head, extent=(0, size, size, 0))
        ends = camera.project_array(np.concatenate((np.zeros((1, 3)), 140 * directions)), quaternion, translation, K)
        for (name, color), tip in zip(conventions.AXES, ends[1:], strict=True):
            conventions.arrow(axes, ends[0], tip, color, name, 11)
        figure.text((place + 0.5) / 2, 0.95, title, ha="center", va="center", weight="bold")
    return figure


def person() -> Reconstruction:
    """An embedded person as if it had been reconstructed without any error."""
    settings = PhotographySettings(image_size=384, num_views=3, occluder_probability=0.0, camera=0.3)
    source = AnthropometricPeople(6, seed=11, settings=settings)
    template, shape = source.template, source.shape(4)
    views = []
    for number, view in enumerate(source.views(4)):
        pixels = np.asarray(Image.open(io.BytesIO(view.image)).convert("RGB"))
        moved = view.translation + rotation.matrix_from_quaternion(view.quaternion) @ shape.mean(axis=0)
        views.append(View(f"{number}.jpg", pixels, view.intrinsics, view.quaternion, moved, np.zeros(4), 1.0))
    mode = np.full((1, *shape.shape), 1 / np.sqrt(shape.size), np.float32)
    mean = template.vertices - template.vertices.mean(axis=0)
    model = MorphableModel(mean, mode, np.ones(1), template.triangles, dict(template.landmarks), template.symmetry)
    return Reconstruction("embedded", np.zeros(1, np.float32), shape - shape.mean(axis=0), model, tuple(views))


def texture() -> npt.NDArray[np.uint8]:
    """Photographs above; texture and the textured face from sides that no photograph shows below."""
    reconstruction = person()
    face = outputs.bake(reconstruction)
    side = 320
    above = [np.asarray(Image.fromarray(view.pixels).resize((side, side))) for view in reconstruction.views]
    above.append(np.asarray(Image.fromarray(face.image).resize((side, side), Image.Resampling.LANCZOS)))
    sides = (-65.0, 0.0), (-20.0, 12.0), (22.0, -15.0), (65.0, 0.0)
    below = [portrait(face, yaw, pitch, side) for yaw, pitch in sides]
    return np.concatenate([np.concatenate(row, axis=1) for row in (above, below)])


if __name__ == "__main__":
    main()
