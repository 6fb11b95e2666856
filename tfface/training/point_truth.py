"""Where the points of a surface truly lie in the crops of a batch."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfface import schema
from tfface.face import MorphableModel, eyes
from tfface.face.surface_points import SurfacePoints
from tfface.geometry import scene, tensor_rotation

Batch = Mapping[str, tf.Tensor]


class PointTruth:
    """The truth of Q points, hidden or not.

    Records hold the vertices of a face, not those of its head. A point of the head, in the middle of an iris, follows
    from them: it moves with the lids around the eye and, against these, as the modes say that explain the face, and it
    turns with the eye as the weights of the view's expression say.
    """

    def __init__(self, surface: SurfacePoints, face_model: MorphableModel):
        """Makes the constants.

        Args:
          surface: The points.
          face_model: The 3DMM that they lie on.
        """
        inside = surface.inside(face_model.num_vertices)
        self._on_face = np.setdiff1d(np.arange(len(surface)), inside)
        self._order = np.argsort(np.concatenate((self._on_face, inside)))
        self._vertices = surface.vertices[self._on_face]
        self._weights = tf.constant(surface.weights[self._on_face], tf.float32)
        head = face_model.head
        if not len(inside) or head is None or head.expressions is None:
            self._neutral = None
            return
        at_head = surface.vertices[inside] - face_model.num_vertices
        mean, modes, moves = (
            np.einsum("qi,fqic->fqc", surface.weights[inside], field[:, at_head]).reshape(len(field), -1)
            for field in (head.mean[None], head.scaled_basis, head.expressions.deltas)
        )
        lids = np.stack([_lids(face_model, surface.names[place]) for place in inside])
        of_lids = np.einsum("np,kpc->knc", lids, face_model.scaled_basis).reshape(len(modes), -1)
        encoding = (face_model.basis / np.sqrt(face_model.eigenvalues)[:, None, None]).reshape(len(modes), -1)
        # As the lids move, less what the modes say of these, and more what they say of the irises.
        by_face = np.einsum("np,cd->ncpd", lids, np.eye(3)).reshape(3 * len(inside), -1)
        by_face += (modes - of_lids).T @ encoding
        self._neutral = tf.constant(mean[0] - by_face @ face_model.mean.reshape(-1), tf.float32)
        self._by_face = tf.constant(by_face.T, tf.float32)
        self._by_weights = tf.constant(moves, tf.float32)

    def compared(self, batch: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """True points, those of a model's outputs, and their deviations; of all points that the batch tells.

        Where nobody's expression is told, no gaze is, and the irises are left out.

        Returns:
          ``[B, N, Q', 2]``, ``[B, N, Q', 2]`` and ``[B, N, Q']``, px of the crops.
        """
        points, deviations = outputs[schema.POINTS.key], outputs[schema.DEVIATIONS.key]
        if not self._tells_gaze(batch) and len(self._on_face) < points.shape[-2]:
            points, deviations = (tf.gather(array, self._on_face, axis=2) for array in (points, deviations))
        return self(batch), points, deviations

    def _tells_gaze(self, batch: Batch) -> bool:
        return self._neutral is not None and schema.EXPRESSIONS.key in batch

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Where the points lie in the crops: ``[B, N, Q', 2]``, px, of what each view shows; see `compared`."""
        shapes = batch[schema.POSED.key] if schema.POSED.key in batch else batch[schema.VERTICES.key]
        corners = tf.gather(shapes, self._vertices, axis=-2)
        points = tf.einsum("qc,...qcx->...qx", self._weights, corners)
        if self._tells_gaze(batch):
            points = tf.gather(tf.concat([points, self._inside(batch)], axis=-2), self._order, axis=-2)
        poses = (batch[field.key] for field in (schema.QUATERNIONS, schema.TRANSLATIONS, schema.INTRINSICS))
        return tf.linalg.matrix_transpose(scene.Scene(points, *poses).project_rows())

    def _inside(self, batch: Batch) -> tf.Tensor:
        """The points of the head ``[B, N, n, 3]``, mm, model frame."""
        vertices, weights = batch[schema.VERTICES.key], batch[schema.EXPRESSIONS.key]
        flat = tf.reshape(vertices, (tf.shape(vertices)[0], -1))
        neutral = tf.reshape(self._neutral + flat @ self._by_face, (-1, 1, self._by_face.shape[1] // 3, 3))
        moved = tf.reshape(weights @ self._by_weights, (*tf.unstack(tf.shape(weights)[:2]), -1, 3))
        turns = tensor_rotation.matrix_from_quaternion(batch[schema.DELTA_ROTATIONS.key])[:, None]
        return neutral + tf.matmul(moved, turns, transpose_b=True)


def _lids(face_model: MorphableModel, name: str) -> np.ndarray:
    """Weights ``[P]`` of the vertices whose mean the lids of a point's eye have."""
    weights = np.zeros(face_model.num_vertices)
    for lid in eyes.lids(name.rsplit("_", 1)[-1]):
        weights[face_model.landmarks[lid]] += 1 / 6
    return weights
