"""A trained model as a small file: hidden units that do nothing removed, weights stored in half precision.

Neither changes what opens the file: it is a ``.keras`` file like any other, and computes as the model did.
"""

import os
import pathlib
import re
import zipfile
from typing import Any

import h5py
import keras
import numpy as np

from tfface import files
from tfface.models import mlp
from tfface.models.face_model import Configuration, FaceModel

_WEIGHTS = "model.weights.h5"
_DECODER = re.compile(r"shape_decoder/vars/(\d+)$")
"""Where the 3DMM lies among the weights, and which of its arrays a name means."""

_DROPPED_BITS = 2
"""Of the ten behind the point of a float16; what is left compresses by an eighth."""

_LARGE = 4096
"""Numbers from which on an array is compressed."""


def prune(model: keras.Model, share: float) -> keras.Model:
    """A copy of a model without the hidden units of its MLPs that hardly matter.

    An MLP that started as a linear map (`mlp.set_linear`) does nearly all with two units an output, and 8,192 and more
    weights lead to every unit.

    Args:
      model: Any of tfface's.
      share: Of the effect of all units that those left out may have (`mlp.units_that_matter`): from 0 (only units that
        are not connected) to less than 1.

    Returns:
      The copy.

    Raises:
      ValueError: If the model is not one of tfface's, or the share is none.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share: expected a number from 0 to less than 1, got {share}")
    whole = FaceModel(model)
    mlps = [whole.regressor.mlp(head) for head in whole.regressor.heads]
    kept = {part.name: mlp.units_that_matter(part, share) for part in mlps}

    def edit(configuration: Configuration) -> None:
        for layer in configuration.regressor["layers"]:
            if layer["name"] in kept:
                mlp.narrow(layer["config"], len(kept[layer["name"]]))

    small = whole.rebuilt(edit)
    changed = {key: values for part in mlps for key, values in mlp.narrowed(part, kept[part.name]).items()}
    small.set_weights([changed.get(id(weight), np.asarray(weight)) for weight in model.weights])
    return small


def save_half(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Saves a model with float16 weights, compressed; whoever opens it gets float32 variables of these values.

    Of the network's weights, eight bits behind the point stay: off by a five hundredth at most. Of the 3DMM, basis and
    expressions are halved: micrometres, and it keeps the digest that records know it by
    (`MorphableModel.in_half_precision`). Its mean, in whose numbers half precision is a tenth of a millimetre, stays.

    The file is written beside its place and moved there.

    Raises:
      ValueError: If a weight is too large for half precision.
      OSError: If the file cannot be written.
    """
    path = pathlib.Path(path)
    decoder = FaceModel(model).shape_decoder
    before, metadata = decoder.parts, decoder.to_face_model().in_half_precision().metadata
    decoder.parts = {**before, "metadata": metadata}
    try:
        with files.folder_beside(path) as folder:
            model.save(folder / "whole.keras")
            with (
                zipfile.ZipFile(folder / "whole.keras") as whole,
                zipfile.ZipFile(folder / "half.keras", "w", zipfile.ZIP_DEFLATED) as half,
            ):
                for entry in whole.infolist():
                    if entry.filename != _WEIGHTS:
                        half.writestr(entry, whole.read(entry))
                whole.extract(_WEIGHTS, folder)
                _halve(folder / _WEIGHTS, folder / "half.h5", decoder.large_weights())
                half.write(folder / "half.h5", _WEIGHTS)
            files.move_into_place(folder / "half.keras", path)
    finally:
        decoder.parts = before


def _halve(source: pathlib.Path, target: pathlib.Path, of_decoder: set[int]) -> None:
    """Copies a file of weights; float32 becomes float16, of the 3DMM only the arrays at the places given."""
    with h5py.File(source, "r") as whole, h5py.File(target, "w") as half:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                copied = half.require_group(name)
            else:
                values = item[()]
                place = _DECODER.search(name)
                if values.dtype == np.float32 and (place is None or int(place[1]) in of_decoder):
                    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                        raise ValueError(f"model: weights {name} are too large for half precision")
                    values = values.astype(np.float16) if place is not None else _short(values)
                # The bytes of exponents, side by side, are alike: a fifth less than without the shuffle.
                packed = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if values.size > _LARGE else {}
                copied = half.create_dataset(name, data=values, **packed)
            copied.attrs.update(item.attrs)

        half.attrs.update(whole.attrs)
        whole.visititems(copy)


def _short(values: np.ndarray) -> np.ndarray:
    """Float16 of the same shape whose last bits are zeros, rounded to the nearest."""
    bits = np.asarray(values, np.float32).astype(np.float16).view(np.uint16).astype(np.uint32)
    rounded = (bits + (1 << (_DROPPED_BITS - 1))) >> _DROPPED_BITS << _DROPPED_BITS
    return rounded.astype(np.uint16).view(np.float16)
