"""The Keras layer that poses a person's neutral shape by the weights of each view."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfface.face import Expressions


@keras.saving.register_keras_serializable("tfface")
class PosedShapes(keras.layers.Layer):
    """Vertices ``[B, P, 3]`` and weights ``[B, N, E]`` to what the views show, ``[B, N, P, 3]``, mm, model frame.

    ``posed_n = vertices + sum_e w_ne delta_e``. The expressions travel with the layer.

    Args:
      num_vertices: P.
      names: Of the E expressions.
      kind: Of `tfface.face.Expressions`.
    """

    def __init__(self, num_vertices: int, names: Sequence[str], kind: str, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.num_vertices = num_vertices
        self.names = tuple(names)
        self.kind = kind
        self.deltas = self.add_weight(
            name="deltas", shape=(len(self.names), num_vertices, 3), initializer="zeros", trainable=False
        )
        self.built = True

    @classmethod
    def from_expressions(cls, expressions: Expressions, **kwargs: Any) -> "PosedShapes":
        """A layer that holds the given expressions."""
        layer = cls(expressions.deltas.shape[1], expressions.names, expressions.kind, **kwargs)
        layer.deltas.assign(expressions.deltas)
        return layer

    def to_expressions(self) -> Expressions:
        """The expressions that the layer holds."""
        return Expressions(np.asarray(self.deltas), self.names, self.kind)

    def call(self, vertices: Any, weights: Any) -> Any:
        flat = ops.matmul(weights, ops.reshape(self.deltas, (len(self.names), -1)))
        return vertices[:, None] + ops.reshape(flat, (-1, weights.shape[1], self.num_vertices, 3))

    def compute_output_shape(
        self, vertices_shape: Sequence[int | None], weights_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        return (vertices_shape[0], weights_shape[1], self.num_vertices, 3)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_vertices": self.num_vertices,
            "names": list(self.names),
            "kind": self.kind,
        }
