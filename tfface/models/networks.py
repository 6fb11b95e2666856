"""The networks of the paper: single view (Figure 1), multi view (Figure 2) and shape only (section 4.3)."""

import dataclasses
from typing import Any

import keras

from tfface import schema
from tfface.face import MorphableModel
from tfface.models import layers
from tfface.models.encoder import vgg16
from tfface.models.regressor import FEATURES, REGRESSOR, CameraStatistics, regressor

ENCODER = "vgg16"


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """What the networks have in common; every builder below takes these as keyword arguments.

    Attributes:
      image_size: Side, or (height, width), of the crops in px.
      encoder_weights: ``imagenet``, ``hed``, ``none`` or a path; see `encoder.vgg16`.
      encoder_dtype: Keras dtype policy of the convolutions, e.g. ``mixed_bfloat16``; all else is float32.
      encoder_output: The layer of VGG-16 that the MLPs look at; see `encoder.vgg16`.
      hidden_units: Of each MLP (256 in the paper).
      dropout: Share of its standardised features that a training step hides from each MLP (0 in the paper).

    Raises:
      ValueError: If the dropout is no share.
    """

    image_size: int | tuple[int, int] = 64
    encoder_weights: str = "none"
    encoder_dtype: str = "float32"
    encoder_output: str = "block5_pool"
    hidden_units: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected a share from 0 to less than 1, got {self.dropout}")

    @property
    def crop_size(self) -> tuple[int, int]:
        """(height, width) of the crops in px."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return height, width

    def encoder(self) -> keras.Model:
        """The encoder of these options."""
        return vgg16(self.crop_size, self.encoder_weights, self.encoder_dtype, self.encoder_output)


def single_view(face_model: MorphableModel, *, camera: CameraStatistics | None = None, **options: Any) -> keras.Model:
    """The single view model of section 3.1.

    Before training it predicts the mean face, frontal and centred.

    Args:
      face_model: The 3DMM whose coefficients are regressed; stored inside the model.
      camera: Standardisation of the pose heads; measure it on the training views.
      **options: `NetworkOptions`: image_size, encoder_weights, encoder_dtype, encoder_output, hidden_units, dropout.

    Returns:
      A functional model from `schema.IMAGES` ``[B, 1, H, W, 3]`` and `schema.INTRINSICS` ``[B, 1, 3, 3]`` to a dict of
      `schema.MODEL_OUTPUTS`.

    Raises:
      ValueError: If the size is too small, the dropout is no share, or the weights cannot be had.
    """
    return _network("single_view", face_model, 1, None, camera or CameraStatistics(), NetworkOptions(**options))


def multi_view(
    face_model: MorphableModel,
    *,
    num_views: int = 3,
    merge: str = "concat",
    camera: CameraStatistics | None = None,
    **options: Any,
) -> keras.Model:
    """The multi view model of section 3.2; start it from a trained single view model with `initialize`.

    Args:
      face_model: The 3DMM whose coefficients are regressed; stored inside the model.
      num_views: N, at least 1. Views stand in the order of their yaw.
      merge: ``add``, ``concat``, ``mean``, ``max`` or ``attention``; the last three take fewer than N views through
        `schema.VIEW_MASK`, an input that only they have.
      camera: Standardisation of the pose heads.
      **options: `NetworkOptions`, as for `single_view`.

    Returns:
      A functional model from `schema.IMAGES` ``[B, N, H, W, 3]`` and `schema.INTRINSICS` ``[B, N, 3, 3]`` to a dict of
      `schema.MODEL_OUTPUTS`.

    Raises:
      ValueError: If the merge is unknown, N < 1, or as `single_view`.
    """
    name = f"multi_view_{merge}"
    return _network(name, face_model, num_views, merge, camera or CameraStatistics(), NetworkOptions(**options))


def shape_only(
    face_model: MorphableModel,
    *,
    num_views: int = 3,
    merge: str = "concat",
    average_pooling: bool = True,
    **options: Any,
) -> keras.Model:
    """The model of section 4.3 for shape alone: no pose heads, average pooling behind the encoder.

    Trained with the mean squared error of the vertices; start it from a trained multi view model with `initialize`.
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
    return _network(
        f"shape_only_{merge}", face_model, num_views, merge, None, NetworkOptions(**options), average_pooling
    )


def _network(
    name: str,
    face_model: MorphableModel,
    num_views: int,
    merge: str | None,
    camera: CameraStatistics | None,
    options: NetworkOptions,
    average_pooling: bool = False,
) -> keras.Model:
    """Images of N views -> one shared encoder -> regressor."""
    if num_views < 1:
        raise ValueError(f"num_views: expected at least 1, got {num_views}")
    encoder = options.encoder()
    rest = regressor(
        face_model,
        encoder.output_shape[1:],
        num_views=num_views,
        image_size=options.crop_size,
        merge=merge,
        hidden_units=options.hidden_units,
        dropout=options.dropout,
        camera=camera,
        average_pooling=average_pooling,
    )
    images = keras.Input((num_views, *options.crop_size, 3), name=schema.IMAGES.key)
    crops = layers.CaffePreprocessing(name="preprocessing")(layers.FoldViews(name="fold_views")(images))
    features = layers.UnfoldViews(num_views, name=FEATURES)(encoder(crops))
    others = {key: keras.Input(tensor.shape[1:], name=key) for key, tensor in rest.input.items() if key != FEATURES}
    return keras.Model({schema.IMAGES.key: images, **others}, rest({FEATURES: features, **others}), name=name)


def initialize(model: keras.Model, source: keras.Model) -> list[str]:
    """Copies into `model` the weights of the encoder and of every MLP that `source` has in the same shape.

    Returns:
      The names of the parts that were copied; the others keep their initial weights.

    Raises:
      ValueError: If the two do not share encoder or 3DMM.
    """
    if face_decoder(model).digest != face_decoder(source).digest:
        raise ValueError(
            f"initialize: {source.name} was trained with another 3DMM ({face_decoder(source).digest[:12]}) than "
            f"{model.name} ({face_decoder(model).digest[:12]}): its coefficients would mean other faces"
        )
    given = _parts(source)
    copied = []
    for name, part in _parts(model).items():
        if name in given and _shapes(part) == _shapes(given[name]):
            part.set_weights(given[name].get_weights())
            copied.append(name)
    if ENCODER not in copied:
        raise ValueError(f"initialize: {source.name} has no encoder that fits {model.name}")
    return copied


def face_decoder(model: keras.Model) -> layers.ShapeDecoder:
    """The layer that holds a model's 3DMM.

    Raises:
      ValueError: If the model has none: it is not one of tfface's.
    """
    for layer in model.layers:
        if layer.name == REGRESSOR:
            return layer.get_layer(schema.VERTICES.key)
    raise ValueError(f"model {model.name}: expected a model of tfface, found no layer {REGRESSOR!r}")


def camera_statistics(model: keras.Model) -> CameraStatistics:
    """The standardisation of a model's pose heads, for a model that starts from it."""
    rest = model.get_layer(REGRESSOR)
    quaternions, translations = rest.get_layer(schema.QUATERNIONS.key), rest.get_layer(schema.TRANSLATIONS.key)
    return CameraStatistics(quaternions.scale, translations.mean, translations.std)


def _parts(model: keras.Model) -> dict[str, keras.Model]:
    """Encoder, MLPs and merge block by name."""
    inner = (layer for layer in model.get_layer(REGRESSOR).layers if isinstance(layer, keras.Model))
    return {ENCODER: model.get_layer(ENCODER), **{layer.name: layer for layer in inner}}


def _shapes(part: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in part.weights]
