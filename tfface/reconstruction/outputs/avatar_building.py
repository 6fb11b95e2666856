"""From a reconstructed person to an avatar: the whole head with its texture, and what moves it."""

import numpy as np
import numpy.typing as npt

from tfface.face import Expressions, Head, arkit
from tfface.geometry import camera, raycast, rotation
from tfface.reconstruction.options import NEUTRAL, PHOTOGRAPH, POSES
from tfface.reconstruction.outputs import head_parts, seated_eyes
from tfface.reconstruction.outputs.avatar import Avatar, Material, Part
from tfface.reconstruction.outputs.sampling import bilinear
from tfface.reconstruction.outputs.texture import TexturedFace
from tfface.reconstruction.reconstructed_face import Reconstruction

Array = npt.NDArray[np.floating]

_BROWN = np.array([0.33, 0.21, 0.13])
"""sRGB of an iris that no photograph shows; the most common colour."""
_IRIS_RING = 0.15, 0.34
"""Radians from the line of sight of an eye between which its iris lies, without the pupil."""
_FEWEST_IRIS_POINTS = 8


def build(reconstruction: Reconstruction, skin: TexturedFace, pose: str = NEUTRAL) -> Avatar:
    """The avatar of a person: the head where the 3DMM has one, else the face.

    Args:
      reconstruction: The person.
      skin: Its textured skin: of `texture.bake_head` where the 3DMM has a head, of `texture.bake` otherwise.
      pose: One of `options.POSES`.

    Returns:
      The avatar. Its targets are ARKit's, and the further ones, where the 3DMM's expressions bear such names; else the
      3DMM's own.

    Raises:
      ValueError: If the pose is unknown.
    """
    if pose not in POSES:
        raise ValueError(f"pose: expected one of {', '.join(POSES)}, got {pose!r}")
    model, head = reconstruction.face_model, reconstruction.face_model.head
    material = Material(head_parts.SKIN, image=skin.image, double_sided=head is None)
    parts = [Part(head_parts.SKIN, skin.atlas.vertex, skin.atlas.triangles, skin.atlas.uv, material)]
    if head is not None:
        irises = iris_color(reconstruction, head)
        parts += [*head_parts.plain_parts(head), *head_parts.eyes(head, irises), *head_parts.lashes(head)]
    moving = model.expressions if head is None else head.expressions
    at_rest = np.asarray(skin.vertices, np.float32)
    if moving is not None and pose == PHOTOGRAPH and reconstruction.expressions is not None:
        shown = np.asarray(reconstruction.expressions[most_frontal(reconstruction)], np.float32)
        at_rest = at_rest + np.float32(reconstruction.size) * moving.displacement(shown)
    moved = {} if moving is None else targets(moving, reconstruction.size)
    if head is not None:
        at_rest, moved = seated_eyes.seat(head, at_rest, moved)
    return Avatar(reconstruction.name, at_rest, tuple(parts), moved)


def targets(expressions: Expressions, size: float = 1.0) -> dict[str, Array]:
    """Displacements ``[V, 3]``, mm, by the names that programs look for, or by the expressions' own.

    Args:
      expressions: Of the 3DMM.
      size: Of the person, `Reconstruction.size`.
    """
    names, weights = arkit.weights_of_targets(expressions.names)
    moved = np.float32(size) * (expressions.displacement(weights) if names else expressions.deltas)
    return dict(zip(names or expressions.names, moved, strict=True))


def most_frontal(reconstruction: Reconstruction) -> int:
    """Number of the photograph whose yaw and pitch are least."""
    matrices = rotation.matrix_from_quaternion(np.stack([view.quaternion for view in reconstruction.views]))
    return int(np.argmax(matrices[:, 2, 2]))


def iris_color(reconstruction: Reconstruction, head: Head) -> Array:
    """``[3]``, sRGB 0..1, of the irises in the photograph that shows most of them; brown if none does.

    Lids and lashes are in the way of some points, and a highlight lies on others: the median of what is seen, without
    its brightest quarter.
    """
    shell = head_parts.eye_shell(head)
    if not len(shell):
        return _BROWN
    everything = head.triangles[
        np.concatenate([head_parts.triangles_of(head, part) for part in (head_parts.SKIN, *head_parts.OPAQUE)])
    ]
    best = np.zeros((0, 3))
    for number, view in enumerate(reconstruction.views):
        vertices = reconstruction.whole_head(number).astype(np.float64)
        ring = np.concatenate([_ring(vertices, side) for side in seated_eyes.sides(vertices, shell)])
        centre = -np.asarray(view.translation, np.float64) @ rotation.matrix_from_quaternion(
            np.asarray(view.quaternion, np.float64)
        )
        caster = raycast.Raycaster(vertices, everything)
        seen = vertices[ring][caster.visible(vertices[ring], centre, tolerance=0.5)]
        px = camera.project_array(seen, view.quaternion, view.translation, view.intrinsics)
        height, width = view.pixels.shape[:2]
        px = px[(px > 0).all(axis=1) & (px < (width, height)).all(axis=1)]
        if len(px) > len(best):
            best = bilinear(view.pixels, px) / 255
    if len(best) < _FEWEST_IRIS_POINTS:
        return _BROWN
    brightness = best.sum(axis=1)
    return np.median(best[brightness <= np.quantile(brightness, 0.75)], axis=0)


def _ring(vertices: Array, eye: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Vertices of an eyeball that lie on the iris, about the direction in which the eye bulges."""
    centre = vertices[eye].mean(axis=0)
    away = vertices[eye] - centre
    distance = np.linalg.norm(away, axis=1)
    front = away[np.argsort(-distance * (away[:, 2] < 0))[:10]].mean(axis=0)
    angle = np.arccos(np.clip(away @ front / (distance * np.linalg.norm(front)), -1, 1))
    return eye[(angle > _IRIS_RING[0]) & (angle < _IRIS_RING[1])]
