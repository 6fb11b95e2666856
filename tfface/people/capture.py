"""People whom users bring: a capture folder of registered meshes and photographs with known cameras.

`capture_files` describes the files. All that is learnt from is cut out of the photographs here: a square around the
face, scaled to the size of the records, and the camera with it, exactly.
"""

import dataclasses
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from absl import logging
from PIL import Image

from tfface import schema
from tfface.face import MorphableModel, carrying, find_symmetry
from tfface.geometry import alignment, camera, mesh
from tfface.people import capture_check, capture_files
from tfface.people.options import NEUTRAL
from tfface.people.people_source import Template, View
from tfface.people.photographer import PhotographySettings, framing

MARGIN = PhotographySettings.margin
"""How much larger a crop is than the square around the face, as a share of it; that of the synthetic photographs."""

MAX_SQUARE = 1 << 14
"""px, side of the square around the face in a photograph: more would take memory without limit, and cannot be seen."""

_TEMPLATE_SUBJECTS = 200  # whose mean is the template
_SYMMETRY_ROUNDS = 20
_FAULTS_SHOWN = 50


class CapturePeople:
    """The subjects of a capture folder, in the order of their names; those without a registered mesh are left out."""

    name = "capture"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        image_size: int = 64,
        face_model: str | os.PathLike[str] | None = None,
        missing_expressions: str = NEUTRAL,
    ) -> None:
        """Checks the folder and makes the template: the mean of the registered meshes, upright and symmetric.

        Args:
          root: the capture folder.
          image_size: height and width of the crops, px.
          face_model: 3DMM of the topology of the registered meshes, whose expressions, if it has any, views may have.
          missing_expressions: one of `options.MISSING_EXPRESSIONS`, what a view is that tells no expression.

        Raises:
          ValueError: listing the faults of the folder, or if its meshes have no left-right symmetry, or are of another
            topology than the 3DMM.
        """
        model = None if face_model is None else MorphableModel.load(face_model)
        known = None if model is None else model.expressions
        self._reading = capture_files.ExpressionReading(known, missing_expressions)
        faults = capture_check.check(root, self._reading)
        if faults:
            lines = [str(fault) for fault in faults[:_FAULTS_SHOWN]]
            if len(faults) > _FAULTS_SHOWN:
                lines.append(f"and {len(faults) - _FAULTS_SHOWN} more")
            count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
            raise ValueError(f"{os.fspath(root)}: {count}:\n  " + "\n  ".join(lines))
        folders = capture_files.subject_folders(Path(root))
        self._folders = [folder for folder in folders if not capture_files.is_left_out(folder)]
        self._left_out = {
            folder.name: capture_files.read_unregistered(folder / capture_files.UNREGISTERED)
            for folder in folders
            if capture_files.is_left_out(folder)
        }
        if self._left_out:
            logging.warning(
                "%s: %d of %d subjects are left out, as their scans are not registered:%s",
                os.fspath(root),
                len(self._left_out),
                len(folders),
                "".join(f"\n  {name}: {reason}" for name, reason in self._left_out.items()),
            )
        self._image_size = image_size
        self._template = _make_template(self._folders[:_TEMPLATE_SUBJECTS])
        if model is not None and known is not None:
            if not np.array_equal(self._template.triangles, model.triangles):
                raise ValueError(
                    f"{face_model}: expected the topology of {self._folders[0] / capture_files.REGISTERED} "
                    f"({len(self._template.triangles)} triangles), got another ({len(model.triangles)} triangles)"
                )
            turn = carrying.model_from_template(model, self._template.vertices).rotation.T
            self._template = dataclasses.replace(self._template, expressions=known.turned(turn))

    @property
    def template(self) -> Template:
        """The mean face of the folder, in the axes of the model frame."""
        return self._template

    @property
    def left_out(self) -> Mapping[str, str]:
        """Subjects that are none of these, as their scans are not registered, by name, and why not."""
        return self._left_out

    def __len__(self) -> int:
        return len(self._folders)

    def subject_id(self, index: int) -> str:
        """Name of the subject's folder."""
        return self._folders[index].name

    def shape(self, index: int) -> npt.NDArray[np.float32]:
        """The registered mesh, [P, 3] float32, mm, in a frame of the subject's own."""
        return mesh.read_mesh(self._folders[index] / capture_files.REGISTERED).vertices

    def views(self, index: int) -> list[View]:
        """Crops of the subject's photographs, as PNG."""
        landmarks = self._template.landmarks
        face: npt.NDArray[np.floating] = self.shape(index).astype(np.float64)
        if all(name in landmarks for name in schema.IBUG68):
            face = framing.framed_points(face[[landmarks[name] for name in schema.IBUG68]])
        views = capture_files.read_views(self._folders[index] / capture_files.VIEWS, self._reading)
        return [crop_view(view, face, self._image_size) for view in views]


def crop_view(view: capture_files.CapturedView, face: npt.NDArray[np.floating], image_size: int) -> View:
    """Cuts the square around a face out of its photograph and scales it.

    Args:
      view: the photograph and its camera.
      face: [Q, 3], mm, source frame, what the square surrounds.
      image_size: height and width of the crop, px.

    Returns:
      The crop and its camera.

    Raises:
      ValueError: naming the photograph, if it cannot be read, does not show the face, or the face is larger than
        `MAX_SQUARE`.
    """
    px = camera.project_array(face, view.quaternion, view.translation, view.intrinsics)
    low, high = px.min(axis=0), px.max(axis=0)
    side = float((high - low).max() * (1 + MARGIN))
    if not 0 < side <= MAX_SQUARE:
        raise ValueError(f"{view.image}: expected a face of at most {MAX_SQUARE} px, got {side:.4g}")
    x, y = (low + high - side) / 2
    cropped = camera.resize_intrinsics(
        camera.crop_intrinsics(view.intrinsics, x, y), (side, side), (image_size, image_size)
    )
    return View(
        image=_cut(view.image, x, y, side, image_size),
        intrinsics=cropped.astype(np.float32),
        quaternion=view.quaternion.astype(np.float32),
        translation=view.translation.astype(np.float32),
        expressions=view.expressions,
    )


def _cut(path: Path, x: float, y: float, side: float, size: int) -> bytes:
    """PNG of the square with its top-left outer corner at (x, y), scaled to `size`; the border is repeated outside."""
    left, top, right, bottom = math.floor(x), math.floor(y), math.ceil(x + side), math.ceil(y + side)
    with capture_files.open_image(path) as image:
        width, height = image.size
        inside = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        visible = inside[0] < inside[2] and inside[1] < inside[3]
        pixels = np.asarray(image.crop(inside).convert("RGB")) if visible else None
    if pixels is None:
        raise ValueError(f"{path}: the face lies outside of the photograph")
    beyond = ((inside[1] - top, bottom - inside[3]), (inside[0] - left, right - inside[2]), (0, 0))
    box = (x - left, y - top, x - left + side, y - top + side)
    region = Image.fromarray(np.pad(pixels, beyond, mode="edge"))
    file = io.BytesIO()
    region.resize((size, size), Image.Resampling.BICUBIC, box=box).save(file, "PNG")
    return file.getvalue()


def _make_template(folders: list[Path]) -> Template:
    """The mean of registered meshes, turned upright and made symmetric, with the landmarks that most subjects have."""
    meshes = [mesh.read_mesh(folder / capture_files.REGISTERED) for folder in folders]
    landmarks = [capture_files.read_landmarks(capture_files.landmarks_path(folder)) for folder in folders]
    shapes, triangles = np.stack([registered.vertices for registered in meshes]), meshes[0].triangles
    upright = shapes[0] @ capture_check.source_axes(landmarks[0]).T
    shapes = alignment.rigid(shapes, upright).apply(shapes)
    mean, _ = alignment.generalised_procrustes(shapes, reference=upright)
    symmetry = find_symmetry(mean, triangles)
    for _ in range(_SYMMETRY_ROUNDS):  # turns the mean until its plane of symmetry is x = 0
        mean = mean - mean.mean(axis=0)
        symmetric = (mean + mean[symmetry] * [-1, 1, 1]) / 2
        mean = alignment.rigid(mean, symmetric).apply(mean)
    return Template(
        vertices=symmetric.astype(np.float32),
        triangles=triangles,
        landmarks=_nearest_vertices(meshes, landmarks),
        symmetry=symmetry,
    )


def _nearest_vertices(meshes: list[mesh.Mesh], landmarks: list[dict[str, npt.NDArray[np.float64]]]) -> dict[str, int]:
    """For each landmark that at least half of the subjects have, the vertex that is nearest to it on average."""
    found = {}
    for name in schema.IBUG68:
        having = [
            (registered, points[name]) for registered, points in zip(meshes, landmarks, strict=True) if name in points
        ]
        if 2 * len(having) >= len(meshes):
            distances = [np.linalg.norm(registered.vertices - point, axis=1) for registered, point in having]
            found[name] = int(np.argmin(np.mean(distances, axis=0)))
    return found
