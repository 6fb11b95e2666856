"""The networks of the paper: single view (Figure 1), multi view (Figure 2) and shape only (section 4.3)."""

import dataclasses
from typing import Any

import keras

from tfface import schema
from tfface.face import MorphableModel
from tfface.models import encoders, layers, point_head, regressor
from tfface.models.face_model import PREPROCESSING
from tfface.models.heads import HEADS, CameraStatistics, ExpressionStatistics, Setting
from tfface.models.kinds import MULTI_VIEW, SHAPE_ONLY, SINGLE_VIEW


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """What the networks have in common; every builder below takes these as keyword arguments.

    Attributes:
      image_size: Side, or (height, width), of the crops in px.
      encoder: A name in `encoders.ENCODERS`.
      encoder_weights: ``none``, a source that the encoder names, or a path; see `Encoder.build`.
      encoder_dtype: Keras dtype policy of the convolutions, e.g. ``mixed_bfloat16``; all else is float32.
      encoder_output: The layer of the encoder that the MLPs look at, its last if empty; see `Encoder.build`.
      hidden_units: Of each MLP (256 in the paper).
      dropout: Share of its standardised features that a training step hides from each MLP (0 in the paper).
      points: Whether there is a head of points besides, `point_head`; the paper has none.

    Raises:
      ValueError: If the dropout is no share, or the encoder is unknown.
    """

    image_size: int | tuple[int, int] = 64
    encoder: str = encoders.DEFAULT
    encoder_weights: str = "none"
    encoder_dtype: str = "float32"
    encoder_output: str = ""
    hidden_units: int = 256
    dropout: float = 0.0
    points: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected a share from 0 to less than 1, got {self.dropout}")
        if self.encoder not in encoders.ENCODERS:
            raise ValueError(f"encoder: expected one of {', '.join(encoders.ENCODERS)}, got {self.encoder!r}")

    @property
    def crop_size(self) -> tuple[int, int]:
        """(height, width) of the crops in px."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return height, width


def single_view(
    face_model: MorphableModel,
    *,
    camera: CameraStatistics | None = None,
    expressions: ExpressionStatistics | None = None,
    **options: Any,
) -> keras.Model:
    """The single view model of section 3.1.

    Before training it predicts the mean face, frontal and centred.

    Args:
      face_model: The 3DMM whose coefficients are regressed; stored inside the model.
      camera: Standardisation of the pose heads; measure it on the training views.
      expressions: Standardisation of a head of expressions, measured likewise; None, the paper's, for no such head.
      **options: `NetworkOptions`: image_size, encoder and encoder_weights, _dtype, _output, hidden_units,
        dropout.

    Returns:
      A functional model from `schema.IMAGES` ``[B, 1, H, W, 3]`` and `schema.INTRINSICS` ``[B, 1, 3, 3]`` to a dict of
      `schema.MODEL_OUTPUTS`.

    Raises:
      ValueError: If the size is too small, the dropout is no share, the weights cannot be had, or the 3DMM has not the
        expressions.
    """
    camera = camera or CameraStatistics()
    network = _Network(NetworkOptions(**options), face_model, num_views=1, camera=camera, expressions=expressions)
    return network.build(SINGLE_VIEW)


def multi_view(
    face_model: MorphableModel,
    *,
    num_views: int = 3,
    merge: str = "concat",
    camera: CameraStatistics | None = None,
    expressions: ExpressionStatistics | None = None,
    **options: Any,
) -> keras.Model:
    """The multi view model of section 3.2; start it from a trained single view model with `FaceModel.initialize`.

    Args:
      face_model: The 3DMM whose coefficients are regressed; stored inside the model.
      num_views: N, at least 1. Views stand in the order of their yaw.
      merge: ``add``, ``concat``, ``mean``, ``max`` or ``attention``; the last three take fewer than N views through
        `schema.VIEW_MASK`, an input that only they have.
      camera: Standardisation of the pose heads.
      expressions: Standardisation of a head of expressions, which each view has of its own; None for no such head.
      **options: `NetworkOptions`, as for `single_view`.

    Returns:
      A functional model from `schema.IMAGES` ``[B, N, H, W, 3]`` and `schema.INTRINSICS` ``[B, N, 3, 3]`` to a dict of
      `schema.MODEL_OUTPUTS`.

    Raises:
      ValueError: If the merge is unknown, N < 1, or as `single_view`.
    """
    camera = camera or CameraStatistics()
    network = _Network(NetworkOptions(**options), face_model, num_views, merge, camera, expressions)
    return network.build(f"{MULTI_VIEW}_{merge}")


def shape_only(
    face_model: MorphableModel,
    *,
    num_views: int = 3,
    merge: str = "concat",
    average_pooling: bool = True,
    **options: Any,
) -> keras.Model:
    """The model of section 4.3 for shape alone: no pose heads, average pooling behind the encoder.

    Trained with the mean squared error of the vertices; start it from a trained multi view model with
    `FaceModel.initialize`.
    Errors are those of `multi_view`.

    Args:
      face_model: The 3DMM whose coefficients are regressed; stored inside the model.
      num_views: N, at least 1.
      merge: Kind of merge block.
      average_pooling: False keeps the cells of the feature map apart, as the other models do: the average over the few
        cells of a small crop forgets where things are, and the MLP of a multi view model fits only without it.
      **options: `NetworkOptions`, as for `single_view`.

    Returns:
      A functional model from `schema.IMAGES` ``[B, N, H, W, 3]`` to a dict of `schema.COEFFICIENTS` and
      `schema.VERTICES`.
    """
    network = _Network(NetworkOptions(**options), face_model, num_views, merge, average_pooling=average_pooling)
    return network.build(f"{SHAPE_ONLY}_{merge}")


@dataclasses.dataclass(frozen=True)
class _Network:
    """Images of N views -> one shared encoder -> regressor; without a camera, of shape alone."""

    options: NetworkOptions
    face_model: MorphableModel
    num_views: int
    merge: str | None = None
    camera: CameraStatistics | None = None
    expressions: ExpressionStatistics | None = None
    average_pooling: bool = False

    def build(self, name: str) -> keras.Model:
        """The Keras model."""
        if self.num_views < 1:
            raise ValueError(f"num_views: expected at least 1, got {self.num_views}")
        options, size = self.options, self.options.crop_size
        if options.points and self.camera is None:
            raise ValueError("points: expected none in a model of shape alone, which knows no views")
        architecture = encoders.ENCODERS[options.encoder]
        encoder = architecture.build(size, options.encoder_weights, options.encoder_dtype, options.encoder_output)
        feature_shape = encoder.output_shape[1:]
        detail = encoder.get_layer(architecture.blocks[point_head.DETAIL_BLOCK]).output
        if options.points:
            encoder = keras.Model(encoder.input, [encoder.output, detail], name=encoder.name)
        setting = Setting(self.face_model, size, self.camera or CameraStatistics(), self.expressions)
        rest = regressor.build(
            setting,
            feature_shape,
            heads=[head for head in HEADS if self.camera is not None or not head.per_view],
            num_views=self.num_views,
            merge=self.merge,
            hidden_units=options.hidden_units,
            dropout=options.dropout,
            average_pooling=self.average_pooling,
        )
        images = keras.Input((self.num_views, *size, 3), name=schema.IMAGES.key)
        crops = architecture.preprocessing(PREPROCESSING)(layers.FoldViews(name="fold_views")(images))
        encoded = encoder(crops)
        inputs = {key: keras.Input(tensor.shape[1:], name=key) for key, tensor in rest.input.items()}
        seen = {schema.FEATURES.key: encoded[0] if options.points else encoded}
        if options.points:
            seen[schema.DETAIL.key] = encoded[1]
        seen = {key: layers.UnfoldViews(self.num_views, name=key)(maps) for key, maps in seen.items()}
        outputs = rest(inputs | {schema.FEATURES.key: seen[schema.FEATURES.key]})
        if options.points:
            head = point_head.build(setting, feature_shape, detail.shape[1:], self.num_views, options.hidden_units)
            outputs |= head(seen)
        del inputs[schema.FEATURES.key]
        return keras.Model({schema.IMAGES.key: images, **inputs}, outputs, name=name)
