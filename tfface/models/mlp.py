"""The MLP of a head: one hidden layer on standardised features. How it starts, and which of its units matter."""

from collections.abc import Sequence

import keras
import numpy as np

_NORMALIZATION, _HIDDEN, _OUTPUT = "normalization", "hidden", "output"


def layers(mlp: keras.Model) -> tuple[keras.layers.Layer, keras.layers.Dense, keras.layers.Dense]:
    """Its normalisation, hidden layer and output layer."""
    return mlp.get_layer(_NORMALIZATION), mlp.get_layer(_HIDDEN), mlp.get_layer(_OUTPUT)


def build(name: str, input_shape: Sequence[int], units: int, hidden_units: int, dropout: float) -> keras.Model:
    """One hidden layer; the output starts at zero, which the decoders take for the mean face, frontal and centred."""
    features = keras.Input(tuple(input_shape), name="features")
    flat = keras.layers.Flatten(name="flatten")(features)
    standardised = keras.layers.LayerNormalization(name=_NORMALIZATION)(flat)
    if dropout:
        standardised = keras.layers.Dropout(dropout, name="dropout")(standardised)
    hidden = keras.layers.Dense(hidden_units, activation="relu", name=_HIDDEN)(standardised)
    output = keras.layers.Dense(units, kernel_initializer="zeros", name=_OUTPUT)(hidden)
    return keras.Model(features, output, name=name)


def standardiser(mlp: keras.Model) -> keras.Model:
    """From an MLP's features ``[M, ...]`` to what its hidden layer sees, ``[M, D]``."""
    return keras.Model(mlp.input, layers(mlp)[0].output)


def reset_normalisation(mlp: keras.Model) -> None:
    """Gives an MLP the standardisation that it began with, the same for all MLPs."""
    normalisation = layers(mlp)[0]
    gamma, beta = normalisation.get_weights()
    normalisation.set_weights([np.ones_like(gamma), np.zeros_like(beta)])


def set_linear(mlp: keras.Model, kernel: np.ndarray, bias: np.ndarray, deviation: np.ndarray) -> None:
    """Makes an MLP the map ``x kernel + bias`` of what its hidden layer sees; its other hidden units stay silent.

    Two hidden units hold one output, as ``relu(u) - relu(-u) = u``.

    Args:
      mlp: The MLP, or a merge block, whose change of the average is then that map.
      kernel: ``[D, units]``.
      bias: ``[units]``.
      deviation: ``[units]``, of the map's outputs; the hidden units are scaled to it.

    Raises:
      ValueError: If the hidden layer has fewer than two units an output.
    """
    hidden, output = mlp.get_layer(_HIDDEN), mlp.get_layer(_OUTPUT)
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


def take_over(own: keras.Model, given: keras.Model) -> bool:
    """Makes an MLP say what one of fewer hidden units says; the units that it has beyond these begin unheard.

    Returns:
      Whether it could; not if it sees or says something else, or has fewer hidden units.
    """
    (scale, hidden, output), (_, small, _) = layers(own), layers(given)
    width, units = own.input.shape, own.output.shape
    if (width, units) != (given.input.shape, given.output.shape) or hidden.units < small.units:
        return False
    scale_weights, hidden_weights, output_weights = (layer.get_weights() for layer in layers(given))
    kernel, bias = (np.array(weight) for weight in hidden.get_weights())
    heard = np.zeros((hidden.units, output.units), np.float32)
    kernel[:, : small.units], bias[: small.units] = hidden_weights
    heard[: small.units] = output_weights[0]
    scale.set_weights(scale_weights)
    hidden.set_weights([kernel, bias])
    output.set_weights([heard, output_weights[1]])
    return True


def units_that_matter(mlp: keras.Model, share: float) -> np.ndarray:
    """Indices of the hidden units that stay when those of the least effect go, ascending; at least one.

    Features are standardised before they meet a unit, so that its part in the outputs is about the product of the norms
    of the weights that lead to it and from it. The units of the smallest products may go, as long as their squares sum
    up to no more than a share of those of all.
    """
    scale, into, out = (layer.get_weights()[0] for layer in layers(mlp))
    part = (np.linalg.norm(into * scale[:, None], axis=0) * np.linalg.norm(out, axis=1)) ** 2
    order = np.argsort(part, kind="stable")
    dropped = np.cumsum(part[order]) <= share * part.sum()
    return np.sort(order[~dropped]) if not dropped.all() else order[-1:]


def narrowed(mlp: keras.Model, units: np.ndarray) -> dict[int, np.ndarray]:
    """The weights that change when only these hidden units stay, by the `id` of the variable."""
    _, hidden, output = layers(mlp)
    return {
        id(hidden.kernel): np.asarray(hidden.kernel)[:, units],
        id(hidden.bias): np.asarray(hidden.bias)[units],
        id(output.kernel): np.asarray(output.kernel)[units],
    }


def narrow(config: dict, num_units: int) -> None:
    """Makes an MLP's configuration one of so many hidden units."""
    for layer in config["layers"]:
        if layer["config"]["name"] == _HIDDEN:
            layer["config"]["units"] = num_units
        elif layer["config"]["name"] == _OUTPUT:
            layer["build_config"]["input_shape"] = [None, num_units]
