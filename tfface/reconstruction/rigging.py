"""From a raw scan to an avatar: registered, coloured by the scan itself, with the head around the face."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.spatial

from tfface import files, schema, version
from tfface.face import Head, MorphableModel, arkit
from tfface.face.eyes import EYES
from tfface.face.register import Registration, register_scan
from tfface.geometry import alignment, mesh
from tfface.geometry.interpolation import smoothstep
from tfface.reconstruction import scan_colors
from tfface.reconstruction.outputs import avatar_building, avatar_glb, head_parts, mesh_files, texture
from tfface.reconstruction.outputs.output_mesh import OutputSurface, mesh_parts
from tfface.reconstruction.outputs.texels import Texels
from tfface.reconstruction.reconstructed_face import Reconstruction
from tfface.scans.scan_files import CleanScan

Array = npt.NDArray[np.floating]

GLB, JSON = "face.glb", "rig.json"

_REACH = 45.0
"""mm from the face over which the head passes from the registered shape to that of the coefficients."""
_NEIGHBOURS = 8
_FIRM = (EYES, head_parts.TEETH, head_parts.GUMS)
"""Regions whose connected parts move as a whole."""
_ROUNDS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Rig:
    """A person from a scan.

    Attributes:
      model_from_scan: Rigid, mm.
      coefficients: [K], of the neutral face.
      face: [P, 3] float32, mm, model frame, neutral: as registered.
      vertices: [V, 3] float32, mm, model frame, neutral: of the head, or the face where the 3DMM has no head.
      expression: [E], weights of what the scan shows.
    """

    model_from_scan: alignment.Transform
    coefficients: Array
    face: Array
    vertices: Array
    expression: Array


def rig(model: MorphableModel, registered: Registration) -> Rig:
    """Lays a registered scan into the model frame, and puts the head around its face.

    Coefficients are those of the neutral face; the face's own vertices stay as registered, and the head around them is
    that of the coefficients, moved by what the registration has beyond them, less with the distance.
    """
    neutral = np.asarray(registered.neutral, np.float64)
    target = np.asarray(model.mean, np.float64)
    for _ in range(_ROUNDS):
        # The coefficients' own face is a nearer target than the mean.
        placed = alignment.rigid(neutral, target)
        coefficients = model.encode(placed.apply(neutral))
        target = model.decode(coefficients)
    face = placed.apply(neutral)
    vertices = face
    if model.head is not None:
        vertices = _around(model.head, model.head.decode(coefficients), face)
    return Rig(placed, coefficients, face.astype(np.float32), vertices.astype(np.float32), registered.expression)


def _around(head: Head, vertices: Array, face: Array) -> Array:
    """The head's vertices [V, 3] with the face's put in, and the others moved along."""
    own = vertices[head.face_index]
    left = face - own
    distance, near = scipy.spatial.cKDTree(own).query(vertices, k=_NEIGHBOURS)
    weights = 1 / np.maximum(distance, 1e-6) ** 2
    moved = np.einsum("vn,vnk->vk", weights / weights.sum(axis=1, keepdims=True), left[near])
    moved *= 1 - smoothstep(0.0, _REACH, distance[:, 0])[:, None]
    for region in _FIRM:
        triangles = head.triangles[head_parts.triangles_of(head, region)]
        if len(triangles):
            part = mesh_parts(triangles, len(vertices))
            for number in np.unique(part[triangles]):
                moved[part == number] = moved[part == number].mean(axis=0)
    moved[head.face_index] = left
    return vertices + moved


def write(
    name: str,
    model: MorphableModel,
    scan: CleanScan,
    landmarks: Mapping[str, npt.ArrayLike] | None,
    colors: scan_colors.ScanColors | None,
    folder: Path,
    texture_size: int,
) -> dict[str, Any]:
    """Registers a scan and writes the avatar: GLB, OBJ, PLY and, last, rig.json.

    Args:
      name: Of the person.
      model: The 3DMM that the scan is registered to.
      scan: The scan, mm.
      landmarks: Of the scan, [3] by name, mm, or None.
      colors: Of the scan, or None: the skin is then plain.
      folder: Made if it does not exist.
      texture_size: Texels along each side of the texture.

    Returns:
      What rig.json says.

    Raises:
      ModuleNotFoundError: If libigl is missing (extra `scans`).
      ValueError: As `tfface.face.register_scan`.
      OSError: If a file cannot be written.
    """
    registered = register_scan(scan.mesh, model, landmarks)
    made = rig(model, registered)
    face = texture.paint(model, made.face, _look_up(made, made.face, model.expressions, colors), texture_size)
    skin = face
    if model.head is not None:
        look_up = _look_up(made, made.vertices, model.head.expressions, colors)
        skin = texture.paint(model, made.vertices, look_up, texture_size)
    person = Reconstruction(name, made.coefficients.astype(np.float32), made.face, model, ())
    avatar_glb.write(avatar_building.build(person, skin), folder / GLB)
    mesh_files.write_meshes(face, folder)
    told = _told(name, model, scan, registered, made)
    told["colored"] = round(float((skin.photographed > 127).mean()), 4)
    if not told["colored"]:
        told["notes"].append("the scan has no colours where the face is: the skin has a plain tone")
    files.write_json(folder / JSON, told)
    return told


def _look_up(
    made: Rig, vertices: Array, expressions: Any, colors: scan_colors.ScanColors | None
) -> texture.LookUp | None:
    """Looks texels up on the scan, where the vertices [V, 3] have the expression that it shows."""
    if colors is None:
        return None
    posed = vertices if expressions is None else vertices + expressions.displacement(made.expression.astype(np.float32))
    on_scan = made.model_from_scan.inverse().apply(posed)

    def look_up(surface: OutputSurface, texels: Texels) -> tuple[Array, Array]:
        normals = texels.at_texels(mesh.vertex_normals(on_scan, surface.triangles))
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        return colors.look_up(texels.at_texels(on_scan), normals)

    return look_up


def _told(name: str, model: MorphableModel, scan: CleanScan, registered: Registration, made: Rig) -> dict[str, Any]:
    names = () if model.expressions is None else model.expressions.names
    weights = arkit.from_expressions(names, made.expression) or dict(zip(names, made.expression, strict=True))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = made.model_from_scan.rotation, made.model_from_scan.translation
    measures = dataclasses.asdict(registered.quality)
    return {
        "name": name,
        "tfface": version.__version__,
        "conventions": schema.CONVENTIONS_VERSION,
        "face_model": model.digest(),
        "coefficients": [round(float(value), 6) for value in made.coefficients],
        "expression": {one: round(float(weight), 5) for one, weight in weights.items() if abs(weight) > 1e-3},
        "model_from_scan": matrix.tolist(),
        "quality": {one: round(value, 5) if math.isfinite(value) else None for one, value in measures.items()},
        "doubt": registered.quality.fault(),
        "matched": round(float(registered.matched.mean()), 4),
        "notes": list(scan.notes),
    }
