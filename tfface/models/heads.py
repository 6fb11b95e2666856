"""The heads of a model: what it says of a face from the features of one view. To add one, add it to `HEADS`.

The regressor, the ridge start, shrinking and export go through this list.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tfface import schema
from tfface.face import MorphableModel
from tfface.models import decoders, shape_decoder
from tfface.models.decoder import Decoder


@dataclasses.dataclass(frozen=True)
class CameraStatistics:
    """What the pose heads regress, standardised by the training views (see `decoders`)."""

    quaternion_scale: float = 0.25
    translation_mean: tuple[float, ...] = (0.5, 0.5, -0.7)
    translation_std: tuple[float, ...] = (0.05, 0.05, 0.15)

    @classmethod
    def measure(
        cls, quaternions: np.ndarray, translations: np.ndarray, intrinsics: np.ndarray, image_size: Sequence[int]
    ) -> "CameraStatistics":
        """From the training views: ``[M, 4]``, ``[M, 3]`` and ``[M, 3, 3]`` (frames as in `schema`)."""
        values = decoders.crop_coordinates(translations, intrinsics, image_size)
        # The decoder adds raw * scale to the identity before it normalises.
        scale = np.sqrt(np.mean(np.square(decoders.against_ray(quaternions, intrinsics, image_size))))
        std = np.maximum(values.std(axis=0), 1e-3)
        return cls(float(max(scale, 1e-2)), tuple(values.mean(axis=0).tolist()), tuple(std.tolist()))


@dataclasses.dataclass(frozen=True)
class ExpressionStatistics:
    """Mean and deviation of the expression weights, E numbers each, which the head of expressions regresses by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def measure(cls, weights: np.ndarray) -> "ExpressionStatistics":
        """From the weights ``[M, E]`` of training views whose expressions are known."""
        # A weight that hardly varies is hardly learnt.
        std = np.maximum(weights.std(axis=0), 1e-2)
        return cls(tuple(weights.mean(axis=0).tolist()), tuple(std.tolist()))


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the heads of a model are made for.

    Attributes:
      morphable_model: Its 3DMM.
      image_size: (height, width) of its crops in px.
      camera: Its cameras.
      expressions: Of the expressions that it predicts; None if it predicts none.

    Raises:
      ValueError: If the statistics are not those of the 3DMM's expressions.
    """

    morphable_model: MorphableModel
    image_size: tuple[int, int]
    camera: CameraStatistics = CameraStatistics()
    expressions: ExpressionStatistics | None = None

    def __post_init__(self) -> None:
        if self.expressions is not None and len(self.expressions.mean) != self.morphable_model.num_expressions:
            raise ValueError(
                f"expressions: expected statistics of {self.morphable_model.num_expressions} weights, as the 3DMM has "
                f"expressions, got {len(self.expressions.mean)}"
            )


@dataclasses.dataclass(frozen=True)
class Head:
    """An MLP from one view's features to `units` numbers, and the decoder that makes an output of them.

    Attributes:
      name: Of the head.
      output: What the decoder gives; the layer has its key for a name.
      units: How many numbers, in a setting.
      per_view: Whether each view has an output of its own. Of the one head that has not, the merge block makes one
        person's numbers of the views', and a shape only model has no other.
      decoder: The layer, in a setting; `Decoder.targets` is its inverse.
      numbers: The key under which the numbers themselves are an output too, where they are one.
      fits: Whether a model of a setting has it.
    """

    name: str
    output: schema.Field
    units: Callable[[Setting], int]
    per_view: bool
    decoder: Callable[[Setting], Decoder]
    numbers: schema.Field | None = None
    fits: Callable[[Setting], bool] = lambda _: True

    @property
    def mlp(self) -> str:
        """The name of the MLP in a regressor."""
        return f"{self.name}_mlp"


def _shape_decoder(setting: Setting) -> Decoder:
    kind = shape_decoder.ShapeDecoder if setting.expressions is None else shape_decoder.PosedShapeDecoder
    return kind.from_face_model(setting.morphable_model, name=schema.VERTICES.key)


def _expression_decoder(setting: Setting) -> Decoder:
    statistics, expressions = setting.expressions, setting.morphable_model.expressions
    assert statistics is not None
    assert expressions is not None
    extents = np.sqrt(np.square(expressions.deltas).sum(axis=2).mean(axis=1))
    return decoders.ExpressionDecoder(
        statistics.mean, statistics.std, extents.tolist(), expressions.kind, name=schema.EXPRESSIONS.key
    )


SHAPE = Head(
    name="shape",
    output=schema.VERTICES,
    units=lambda setting: len(setting.morphable_model.eigenvalues),
    per_view=False,
    decoder=_shape_decoder,
    numbers=schema.COEFFICIENTS,
)
ROTATION = Head(
    name="quaternion",
    output=schema.QUATERNIONS,
    units=lambda _: 4,
    per_view=True,
    decoder=lambda setting: decoders.QuaternionDecoder(
        setting.image_size, setting.camera.quaternion_scale, name=schema.QUATERNIONS.key
    ),
)
TRANSLATION = Head(
    name="translation",
    output=schema.TRANSLATIONS,
    units=lambda _: 3,
    per_view=True,
    decoder=lambda setting: decoders.TranslationDecoder(
        setting.image_size,
        setting.camera.translation_mean,
        setting.camera.translation_std,
        name=schema.TRANSLATIONS.key,
    ),
)
EXPRESSION = Head(
    name="expression",
    output=schema.EXPRESSIONS,
    units=lambda setting: setting.morphable_model.num_expressions,
    per_view=True,
    decoder=_expression_decoder,
    fits=lambda setting: setting.expressions is not None,
)
HEADS = (SHAPE, ROTATION, TRANSLATION, EXPRESSION)
