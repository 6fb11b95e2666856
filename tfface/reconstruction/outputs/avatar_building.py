"""From a reconstructed person to an avatar: the whole head with its texture, and what moves it."""

import numpy as np
import numpy.typing as npt

from tfface.face import Expressions, arkit
from tfface.geometry import rotation
from tfface.reconstruction.options import NEUTRAL, PHOTOGRAPH, POSES
from tfface.reconstruction.outputs import head_parts, seated_eyes
from tfface.reconstruction.outputs.avatar import Avatar, Material, Part
from tfface.reconstruction.outputs.texture import TexturedFace
from tfface.reconstruction.reconstructed_face import Reconstruction

Array = npt.NDArray[np.floating]


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
        plain, inside = head_parts.plain_parts(head), skin.inside
        if inside is None:
            parts += [*plain, *head_parts.eyes(head)]
        else:
            parts += [part for part in plain if part.name not in head_parts.TILES]
            parts += head_parts.tiled_parts(inside.tiled, inside.image)
        parts += head_parts.lashes(head)
    moving = model.expressions if head is None else head.expressions
    at_rest = np.asarray(skin.vertices, np.float32)
    if moving is not None and pose == PHOTOGRAPH and reconstruction.expressions is not None:
        shown = np.asarray(reconstruction.expressions[most_frontal(reconstruction)], np.float32)
        at_rest = at_rest + np.float32(reconstruction.size) * moving.displacement(shown)
    moved = {} if moving is None else targets(moving, reconstruction.size)
    if head is not None:
        moved = seated_eyes.closing(model, reconstruction.vertices / np.float32(reconstruction.size), moved)
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
