"""A scene: the shape of each person, and the cameras of the views that show it."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfface import schema
from tfface.geometry import camera

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """N views of each of B people, as tensors or arrays. Shapes and poses are true or predicted.

    Attributes:
      vertices: [B, P, 3], one shape a person, or [B, N, P, 3], one a view; mm, model frame.
      quaternions: [B, N, 4], cam_from_model.
      translations: [B, N, 3], mm, cam_from_model.
      intrinsics: [B, N, 3, 3], px_from_cam.

    Raises:
      ValueError: If the number of dimensions, or the views of shapes and poses, do not fit.
    """

    vertices: Any
    quaternions: Any
    translations: Any
    intrinsics: Any

    def __post_init__(self) -> None:
        shape = list(self.vertices.shape)
        if len(shape) not in (3, 4) or shape[-1] != 3:
            raise ValueError(f"vertices: expected the shape [B, P, 3] or [B, N, P, 3], got {shape}")
        views = self.quaternions.shape[1]
        if len(shape) == 4 and None not in (shape[1], views) and shape[1] not in (1, views):
            raise ValueError(f"vertices: expected one shape for each of {views} views, got {shape}")

    @property
    def num_points(self) -> int | None:
        """P."""
        return self.vertices.shape[-2]

    @property
    def shapes(self) -> Any:
        """[B, 1 or N, P, 3], mm, model frame: what broadcasts over the views."""
        return self.vertices if len(self.vertices.shape) == 4 else self.vertices[:, None]

    def project_rows(self) -> "tf.Tensor":
        """[B, N, 2, P], pixel frame, all x before all y, with TensorFlow; see `camera.project_rows`."""
        return camera.project_rows(self.shapes, self.quaternions, self.translations, self.intrinsics)

    def project_array(self) -> camera.Array:
        """[B, N, P, 2], pixel frame, with NumPy; see `camera.project_array`."""
        return camera.project_array(self.shapes, self.quaternions, self.translations, self.intrinsics)


def check_same_points(true: Scene, predicted: Scene) -> None:
    """Refuses scenes whose points do not correspond.

    Raises:
      ValueError: If the two shapes differ in their number of points.
    """
    if true.num_points != predicted.num_points:
        raise ValueError(f"vertices: expected {predicted.num_points} points as predicted, got {true.num_points}")


def compared(batch: Mapping[str, Any], outputs: Mapping[str, Any]) -> tuple[Scene, Scene]:
    """The true and the predicted scene that Eq. 2 compares.

    A model that predicts expressions is held to what each view shows, the posed shape; one without is held to the
    neutral shape, as the paper's. In a view of unknown expression, what is known is identity and pose: there the
    neutral shapes are compared, and the expression that is predicted for it stays free.

    Args:
      batch: Tensors by key of `schema.EXAMPLE` and, of people with expressions, of `schema.EXAMPLE_EXPRESSIONS`.
      outputs: Of a model with poses, by key of `schema.MODEL_OUTPUTS`, with `schema.POSED` if it has expressions.

    Returns:
      The true scene and the predicted one, both with the intrinsics of the batch.
    """
    true, predicted = batch[schema.VERTICES.key], outputs[schema.VERTICES.key]
    if schema.POSED.key in outputs and schema.POSED.key in batch:
        import tensorflow as tf

        known = batch[schema.EXPRESSIONS_KNOWN.key][..., None, None] > 0
        true = batch[schema.POSED.key]
        predicted = tf.where(known, outputs[schema.POSED.key], predicted[:, None])
    return _scene(true, batch, batch), _scene(predicted, outputs, batch)


def _scene(vertices: Any, poses: Mapping[str, Any], cameras: Mapping[str, Any]) -> Scene:
    return Scene(
        vertices,
        poses[schema.QUATERNIONS.key],
        poses[schema.TRANSLATIONS.key],
        cameras[schema.INTRINSICS.key],
    )
