"""The mirror image of a whole scene: section 4 of the paper doubles its data with it.

A scene mirrored at the plane x = 0 of the model frame is again a face in front of a camera: the photograph flips, K and
pose follow (`geometry.camera`), and the shape is mirrored and renumbered by the template's symmetry, so that every
vertex keeps its meaning. The yaw of every view changes its sign.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfface import schema
from tfface.geometry import camera

_PER_VIEW = (schema.IMAGES.key, schema.INTRINSICS.key, schema.QUATERNIONS.key, schema.TRANSLATIONS.key)


def mirror_vertices(vertices: Any, symmetry: np.ndarray) -> Any:
    """Mirrored shape: vertex i is the mirror image of the vertex that the mirror turns into i.

    Args:
      vertices: [..., P, 3], mm, model frame, an array or a tensor.
      symmetry: [P], as in `face.MorphableModel`.

    Returns:
      [..., P, 3], of the same kind.
    """
    if isinstance(vertices, np.ndarray):
        return vertices[..., symmetry, :] * np.array([-1, 1, 1], vertices.dtype)
    import tensorflow as tf

    return tf.gather(vertices, symmetry, axis=-2) * tf.constant([-1, 1, 1], vertices.dtype)


def mirror_scene(example: Mapping[str, Any], symmetry: np.ndarray) -> dict[str, Any]:
    """Mirrors an example or a batch of them.

    The views keep their order. Whoever orders views by yaw does so behind the mirror.

    Args:
      example: arrays or tensors by key of `schema.EXAMPLE`, with any leading dimensions; keys other than images,
        intrinsics, quaternions, translations and vertices pass unchanged.
      symmetry: [P], as in `face.MorphableModel`.

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
    mirrored[schema.VERTICES.key] = mirror_vertices(example[schema.VERTICES.key], symmetry)
    return mirrored


def mirror_where(example: Mapping[str, Any], symmetry: np.ndarray, mirrored: Any) -> dict[str, Any]:
    """Mirrors those scenes of a batch that `mirrored` marks.

    Args:
      example: tensors by key of `schema.EXAMPLE`, [B, ...].
      symmetry: [P], as in `face.MorphableModel`.
      mirrored: [B] bool.

    Returns:
      The batch.
    """
    import tensorflow as tf

    chosen = dict(example)
    for key, value in mirror_scene(example, symmetry).items():
        if key in (*_PER_VIEW, schema.VERTICES.key):
            condition = tf.reshape(mirrored, [-1] + [1] * (value.shape.rank - 1))
            chosen[key] = tf.where(condition, value, example[key])
    return chosen
