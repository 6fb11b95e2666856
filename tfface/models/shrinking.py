"""A trained model as a small file: hidden units that do nothing removed, weights stored in half precision.

Neither changes what opens the file: it is a ``.keras`` file like any other, and computes as the model did.
"""

import os
import pathlib
import tempfile
import zipfile
from typing import Any

import h5py
import keras
import numpy as np

from tfface import files
from tfface.models.networks import face_decoder
from tfface.models.regressor import REGRESSOR

_WEIGHTS = "model.weights.h5"
_DECODER = "shape_decoder"
"""The 3DMM's part of the weights, which stays as it is: its digest is compared with that of records."""
_MLPS = ("shape_mlp", "quaternion_mlp", "translation_mlp")


def prune(model: keras.Model, share: float) -> keras.Model:
    """A copy of a model without the hidden units of its MLPs that hardly matter.

    An MLP that started as a linear map (`linear_start`) does nearly all with two units an output, and 8,192 and more
    weights lead to every unit. Features are standardised before they meet them, so that a unit's part in the outputs is
    about the product of the norms of the weights that lead to it and from it; the units of the smallest products are
    left out, as long as their squares sum up to no more than a share of those of all.

    Args:
      model: Any of tfface's.
      share: From 0 (only units that are not connected) to less than 1.

    Returns:
      The copy.

    Raises:
      ValueError: If the model is not one of tfface's, or the share is none.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share: expected a number from 0 to less than 1, got {share}")
    face_decoder(model)
    rest = model.get_layer(REGRESSOR)
    kept = {layer.name: _kept_units(layer, share) for layer in rest.layers if layer.name in _MLPS}
    config = model.get_config()
    regressor = _named(config["layers"], REGRESSOR)["config"]
    for name, units in kept.items():
        mlp = _named(regressor["layers"], name)["config"]["layers"]
        _named(mlp, "hidden")["config"]["units"] = len(units)
        _named(mlp, "output")["build_config"]["input_shape"] = [None, len(units)]
    small = model.__class__.from_config(config)
    for source, target in zip(model.layers, small.layers, strict=True):
        if source.name != REGRESSOR:
            target.set_weights(source.get_weights())
    for source in rest.layers:
        target = small.get_layer(REGRESSOR).get_layer(source.name)
        if source.name not in kept:
            target.set_weights(source.get_weights())
            continue
        for layer in source.layers:
            weights = layer.get_weights()
            if layer.name == "hidden":
                weights = [array[..., kept[source.name]] for array in weights]
            elif layer.name == "output":
                weights = [weights[0][kept[source.name]], *weights[1:]]
            target.get_layer(layer.name).set_weights(weights)
    return small


def save_half(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Saves a model with float16 weights, all but its 3DMM's; whoever opens it gets float32 variables of these values.

    The file is written beside its place and moved there.

    Raises:
      ValueError: If a weight is too large for half precision.
      OSError: If the file cannot be written.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".shrinking-") as name:
        folder = pathlib.Path(name)
        model.save(folder / "whole.keras")
        with (
            zipfile.ZipFile(folder / "whole.keras") as whole,
            zipfile.ZipFile(folder / "half.keras", "w", zipfile.ZIP_DEFLATED) as half,
        ):
            for entry in whole.infolist():
                if entry.filename != _WEIGHTS:
                    half.writestr(entry, whole.read(entry))
            whole.extract(_WEIGHTS, folder)
            _halve(folder / _WEIGHTS, folder / "half.h5")
            half.write(folder / "half.h5", _WEIGHTS)
        files.move_into_place(folder / "half.keras", path)


def _kept_units(mlp: keras.Model, share: float) -> np.ndarray:
    """Indices of the hidden units that stay, ascending."""
    scale = mlp.get_layer("normalization").get_weights()[0]
    into, out = mlp.get_layer("hidden").get_weights()[0], mlp.get_layer("output").get_weights()[0]
    part = (np.linalg.norm(into * scale[:, None], axis=0) * np.linalg.norm(out, axis=1)) ** 2
    order = np.argsort(part, kind="stable")
    dropped = np.cumsum(part[order]) <= share * part.sum()
    return np.sort(order[~dropped]) if not dropped.all() else order[-1:]


def _named(layers: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The layer of a functional model's configuration that has a name."""
    return next(layer for layer in layers if layer["config"].get("name", layer.get("name")) == name)


def _halve(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a file of weights; float32 becomes float16 but for the 3DMM."""
    with h5py.File(source, "r") as whole, h5py.File(target, "w") as half:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                copied = half.require_group(name)
            else:
                values = item[()]
                if values.dtype == np.float32 and _DECODER not in name:
                    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                        raise ValueError(f"model: weights {name} are too large for half precision")
                    values = values.astype(np.float16)
                copied = half.create_dataset(name, data=values)
            copied.attrs.update(item.attrs)

        half.attrs.update(whole.attrs)
        whole.visititems(copy)
