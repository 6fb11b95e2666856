"""The siamese network of Figure 2: N views through one single view network, their shapes merged into one."""

from typing import Any

import keras

from tfface import schema
from tfface.face import MorphableModel
from tfface.models import layers
from tfface.models import merge as merging
from tfface.models import single_view as single


def multi_view(
    face_model: MorphableModel,
    *,
    num_views: int = 3,
    merge: str = "concat",
    image_size: int | tuple[int, int] = 64,
    encoder_weights: str = "none",
    encoder_dtype: str = "float32",
    hidden_units: int = 256,
    camera: single.CameraStatistics | None = None,
) -> keras.Model:
    """The multi view model of section 3.2; start it from a trained single view model with `initialize`.

    Args:
      face_model: The 3DMM whose coefficients are regressed; stored inside the model.
      num_views: N, at least 1. Views stand in the order of their yaw.
      merge: ``add``, ``concat``, ``mean``, ``max`` or ``attention``; the last three take fewer than N views through
        `schema.VIEW_MASK`, an input that only they have.
      image_size: Side, or (height, width), of the crops in px.
      encoder_weights: ``imagenet``, ``hed``, ``none`` or a path.
      encoder_dtype: Keras dtype policy of the convolutions; all else is float32.
      hidden_units: Of each MLP (256 in the paper).
      camera: Standardisation of the pose heads.

    Returns:
      A functional model from `schema.IMAGES` ``[B, N, H, W, 3]`` and `schema.INTRINSICS` ``[B, N, 3, 3]`` to a dict of
      `schema.MODEL_OUTPUTS`.

    Raises:
      ValueError: If the merge is unknown, N < 1, the size is too small, or the weights cannot be had.
    """
    size = _size(image_size, num_views)
    inputs = single.view_inputs(num_views, size)
    features = single.encode(inputs[schema.IMAGES.key], size, encoder_weights, encoder_dtype)
    per_view, quaternions, translations = single.regress_views(
        features,
        inputs[schema.INTRINSICS.key],
        len(face_model.eigenvalues),
        size,
        hidden_units,
        camera or single.CameraStatistics(),
    )
    merged, inputs = _merged(per_view, inputs, merge, hidden_units)
    return keras.Model(
        inputs, single.outputs(face_model, merged, quaternions, translations), name=f"multi_view_{merge}"
    )


def shape_only(
    face_model: MorphableModel,
    *,
    num_views: int = 3,
    merge: str = "concat",
    image_size: int | tuple[int, int] = 64,
    encoder_weights: str = "none",
    encoder_dtype: str = "float32",
    hidden_units: int = 256,
) -> keras.Model:
    """The model of section 4.3 for shape alone: no pose heads, average pooling behind the encoder.

    Trained with the mean squared error of the vertices; start it from a trained multi view model with `initialize`.
    Arguments and errors are those of `multi_view`.

    Returns:
      A functional model from `schema.IMAGES` ``[B, N, H, W, 3]`` to a dict of `schema.COEFFICIENTS` and
      `schema.VERTICES`.
    """
    size = _size(image_size, num_views)
    inputs = {schema.IMAGES.key: single.view_inputs(num_views, size)[schema.IMAGES.key]}
    features = single.encode(inputs[schema.IMAGES.key], size, encoder_weights, encoder_dtype)
    pooled = keras.layers.GlobalAveragePooling2D(name="average_pooling", dtype="float32")(features)
    raw = single.mlp(single.SHAPE_MLP, pooled.shape[1:], len(face_model.eigenvalues), hidden_units)(pooled)
    per_view = layers.UnfoldViews(num_views, name=f"{single.SHAPE_MLP}_views")(raw)
    merged, inputs = _merged(per_view, inputs, merge, hidden_units)
    decoder = layers.ShapeDecoder.from_face_model(face_model, name=schema.VERTICES.key)
    return keras.Model(
        inputs, {schema.COEFFICIENTS.key: merged, schema.VERTICES.key: decoder(merged)}, name=f"shape_only_{merge}"
    )


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
    copied = []
    for layer in model.layers:
        if not isinstance(layer, keras.Model):
            continue
        try:
            given = source.get_layer(layer.name)
        except ValueError:
            continue
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if shapes == [tuple(weight.shape) for weight in given.weights]:
            layer.set_weights(given.get_weights())
            copied.append(layer.name)
    if "vgg16" not in copied:
        raise ValueError(f"initialize: {source.name} has no encoder that fits {model.name}")
    return copied


def face_decoder(model: keras.Model) -> layers.ShapeDecoder:
    """The layer that holds a model's 3DMM.

    Raises:
      ValueError: If the model has none: it is not one of tfface's.
    """
    for layer in model.layers:
        if isinstance(layer, layers.ShapeDecoder):
            return layer
    raise ValueError(f"model {model.name}: expected a tfface model with a ShapeDecoder layer, found none")


def camera_statistics(model: keras.Model) -> single.CameraStatistics:
    """The standardisation of a model's pose heads, for a model that starts from it."""
    quaternions = model.get_layer(schema.QUATERNIONS.key)
    translations = model.get_layer(schema.TRANSLATIONS.key)
    return single.CameraStatistics(quaternions.scale, translations.mean, translations.std)


def _size(image_size: int | tuple[int, int], num_views: int) -> tuple[int, int]:
    if num_views < 1:
        raise ValueError(f"num_views: expected at least 1, got {num_views}")
    return (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])


def _merged(per_view: Any, inputs: dict[str, Any], kind: str, hidden_units: int) -> tuple[Any, dict[str, Any]]:
    """The merged coefficients, and the inputs with a view mask where the kind takes one."""
    _, num_views, num_modes = per_view.shape
    block = merging.merge_block(kind, num_views, num_modes, hidden_units)
    if kind in merging.MASKABLE:
        view_mask = keras.Input((num_views,), name=schema.VIEW_MASK.key)
        inputs = {**inputs, schema.VIEW_MASK.key: view_mask}
    else:
        view_mask = layers.AllViews(name="all_views")(per_view)
    merged = block([per_view, view_mask])
    return keras.layers.Identity(name=schema.COEFFICIENTS.key)(merged), inputs
