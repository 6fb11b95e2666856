"""The mirror image of a whole scene: section 4 of the paper doubles its data with it.

A scene mirrored at the plane x = 0 of the model frame is again a face in front of a camera: the photograph flips, K and
pose follow (`geometry.camera`), and the shape is mirrored and renumbered by the template's symmetry, so that every
vertex keeps its meaning. The yaw of every view changes its sign.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfface import schema
from tfface.face.mirror import mirror_vertices
from tfface.geometry import camera

_MIRRORED = (
    schema.IMAGES,
    schema.INTRINSICS,
    schema.QUATERNIONS,
    schema.TRANSLATIONS,
    schema.VERTICES,
    schema.EXPRESSIONS,
    schema.POSED,
    schema.DELTA_ROTATIONS,
)
"""What a mirror changes."""


def mirror_scene(
    example: Mapping[str, Any], symmetry: np.ndarray, mirror_weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Mirrors an example or a batch of them.

    The views keep their order. Whoever orders views by yaw does so behind the mirror.

    Args:
      example: arrays or tensors by key of `schema.EXAMPLE` and `schema.EXAMPLE_EXPRESSIONS`, with any leading
        dimensions; what a mirror does not change passes.
      symmetry: [P], as in `face.MorphableModel`.
      mirror_weights: [E, E], of `Expressions.mirror_matrix`; where there are expressions.

    Returns:
      The mirrored scene, of the same kind.
    """
    mirrored = dict(example)
    images = example[schema.IMAGES.key]
    mirrored[schema.IMAGES.key] = images[..., ::-1, :]
    mirrored[schema.INTRINSICS.key] = camera.flip_intrinsics(example[schema.INTRINSICS.key], images.shape[-2])
    mirrored[schema.QUATERNIONS.key], mirrored[schema.TRANSLATIONS.key] = camera.flip_pose(
        example[schema.QUATERNIONS.key], example[schema.TRANSLATIONS.key]
    )
    return mirrored | mirror_person(example, symmetry, mirror_weights)


def mirror_person(
    example: Mapping[str, Any], symmetry: np.ndarray, mirror_weights: np.ndarray | None = None
) -> dict[str, Any]:
    """What a mirror makes of the shapes and expressions of an example; see `mirror_scene`, which they are a part of.

    Returns:
      `schema.VERTICES` and, where there are expressions, `schema.EXPRESSIONS`, `schema.DELTA_ROTATIONS` and, if it is
      there, `schema.POSED`.
    """
    mirrored = {schema.VERTICES.key: mirror_vertices(example[schema.VERTICES.key], symmetry)}
    if schema.EXPRESSIONS.key in example:
        if mirror_weights is None:
            raise ValueError("mirror_weights: expected a matrix [E, E] for scenes with expressions, got none")
        mirrored[schema.EXPRESSIONS.key] = example[schema.EXPRESSIONS.key] @ mirror_weights
        if schema.POSED.key in example:
            mirrored[schema.POSED.key] = mirror_vertices(example[schema.POSED.key], symmetry)
        turn, _ = camera.flip_pose(example[schema.DELTA_ROTATIONS.key], example[schema.DELTA_ROTATIONS.key][..., :3])
        mirrored[schema.DELTA_ROTATIONS.key] = turn
    return mirrored


def mirror_where(
    example: Mapping[str, Any], symmetry: np.ndarray, mirrored: Any, mirror_weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Mirrors those scenes of a batch that `mirrored` marks.

    Args:
      example: tensors by key of `schema.EXAMPLE`, [B, ...].
      symmetry: [P], as in `face.MorphableModel`.
      mirrored: [B] bool.
      mirror_weights: [E, E], as in `mirror_scene`.

    Returns:
      The batch.
    """
    import tensorflow as tf

    chosen = dict(example)
    changed = {field.key for field in _MIRRORED}
    for key, value in mirror_scene(example, symmetry, mirror_weights).items():
        if key in changed:
            condition = tf.reshape(mirrored, [-1] + [1] * (value.shape.rank - 1))
            chosen[key] = tf.where(condition, value, example[key])
    return chosen
