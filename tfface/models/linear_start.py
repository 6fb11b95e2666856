"""MLPs that start as linear maps: two hidden units hold one output, as ``relu(u) - relu(-u) = u``."""

from collections.abc import Mapping

import keras
import numpy as np

from tfface import schema
from tfface.models import pose_targets
from tfface.models.regressor import FEATURES

_HEADS = frozenset({"shape_mlp", "quaternion_mlp", "translation_mlp"})


def heads(regressor: keras.Model) -> dict[str, keras.Model]:
    """The MLPs of a regressor by name: ``shape_mlp`` and, with poses, ``quaternion_mlp`` and ``translation_mlp``."""
    return {layer.name: layer for layer in regressor.layers if layer.name in _HEADS}


def standardiser(regressor: keras.Model) -> keras.Model:
    """From one view's features ``[M, h, w, c]`` to what the hidden layer of every MLP sees, ``[M, D]``.

    Raises:
      ValueError: If the regressor averages the features before its MLPs, which have too few left for a linear start.
    """
    mlp = regressor.get_layer("shape_mlp")
    if mlp.input_shape[1:] != regressor.input[FEATURES].shape[2:]:
        raise ValueError(f"regressor: MLPs on features {regressor.input[FEATURES].shape[2:]} expected, not on averages")
    return keras.Model(mlp.input, mlp.get_layer("normalization").output)


def targets(regressor: keras.Model, views: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each MLP would have to say for its decoder to give the truth.

    Args:
      regressor: A regressor with poses.
      views: `schema.VERTICES` ``[M, P, 3]``, `schema.QUATERNIONS` ``[M, 4]``, `schema.TRANSLATIONS` ``[M, 3]`` and
        `schema.INTRINSICS` ``[M, 3, 3]`` of M views.

    Returns:
      By name of the MLP, ``[M, units]``.
    """
    shape = regressor.get_layer(schema.VERTICES.key).to_face_model()
    turn, place = regressor.get_layer(schema.QUATERNIONS.key), regressor.get_layer(schema.TRANSLATIONS.key)
    intrinsics = views[schema.INTRINSICS.key]
    rotations = pose_targets.against_ray(views[schema.QUATERNIONS.key], intrinsics, turn.image_size) / turn.scale
    places = pose_targets.crop_coordinates(views[schema.TRANSLATIONS.key], intrinsics, place.image_size)
    return {
        "shape_mlp": shape.encode(views[schema.VERTICES.key]),
        "quaternion_mlp": np.concatenate([rotations, np.zeros_like(rotations[:, :1])], axis=-1),
        "translation_mlp": (places - place.mean) / place.std,
    }


def importance(regressor: keras.Model) -> dict[str, np.ndarray]:
    """What a squared error of each target weighs: for the shape, its mm^2 (the eigenvalues); for poses all the same.

    Returns:
      By name of the MLP, ``[units]``.
    """
    eigenvalues = np.asarray(regressor.get_layer(schema.VERTICES.key).eigenvalues)
    return {"shape_mlp": eigenvalues, "quaternion_mlp": np.ones(4), "translation_mlp": np.ones(3)}


def set_linear(mlp: keras.Model, kernel: np.ndarray, bias: np.ndarray, deviation: np.ndarray) -> None:
    """Makes an MLP the map ``x kernel + bias`` of its standardised features; its other hidden units stay silent.

    Args:
      mlp: One of `heads`.
      kernel: ``[D, units]``.
      bias: ``[units]``.
      deviation: ``[units]``, of the map's outputs; the hidden units are scaled to it.

    Raises:
      ValueError: If the hidden layer has fewer than two units an output.
    """
    hidden, output = mlp.get_layer("hidden"), mlp.get_layer("output")
    units = kernel.shape[1]
    if hidden.units < 2 * units:
        raise ValueError(
            f"hidden_units: {mlp.name} needs {2 * units} of them to start as a linear map of {units} outputs, "
            f"got {hidden.units}"
        )
    deviation = np.maximum(deviation, 1e-6)
    hidden_kernel, hidden_bias = (np.array(weight) for weight in hidden.get_weights())
    output_kernel, output_bias = (np.zeros_like(weight) for weight in output.get_weights())
    pair = slice(0, units), slice(units, 2 * units)
    for columns, sign in zip(pair, (1.0, -1.0), strict=True):
        hidden_kernel[:, columns] = sign * kernel / deviation
        hidden_bias[columns] = sign * bias / deviation
        output_kernel[columns] = sign * np.diag(deviation)
    hidden.set_weights([hidden_kernel, hidden_bias])
    output.set_weights([output_kernel, output_bias])
