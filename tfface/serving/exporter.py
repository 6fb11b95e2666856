"""Exports a trained model as a version that TensorFlow Serving, or the embedded server, loads.

The version directory is written beside its place and moved there, so that a server that watches sees it whole or not
at all:

``saved_model.pb``, ``variables/``     the signatures of `tfface.serving.signatures`
``assets/topology.json``               triangles and landmark names
``assets.extra/``                      warm-up requests, and the model card (Markdown and JSON)
"""

import dataclasses
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping

import keras
import tensorflow as tf

import tfface
from tfface import files, starter
from tfface.models import FaceModel
from tfface.serving import litert, model_card, parity, precision, signatures, warmup
from tfface.serving.errors import brief
from tfface.serving.options import ExportOptions
from tfface.serving.servable import Servable, read_saved_model

TOPOLOGY = "topology.json"
_NOT_PORTABLE = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "XlaLaunch", "XlaLaunchV2", "_XlaRun")


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from the Keras model: the largest difference of each output."""

    path: str
    version: int
    differences: Mapping[str, float]
    litert: str = ""
    litert_differences: Mapping[str, float] = dataclasses.field(default_factory=dict)


class _Exported(tf.Module):
    """What a SavedModel keeps beside its functions: the weights and the asset."""

    def __init__(self, model: keras.Model, asset: str):
        super().__init__(name="tfface")
        self.weights = [variable.value for variable in model.variables]
        self.topology = tf.saved_model.Asset(asset)


def export(options: ExportOptions) -> Exported:
    """Writes a version, loads it back and compares it with the Keras model on the same inputs, at batch 1 and 3.

    Raises:
      FileNotFoundError: If there is no such model.
      OSError: naming the folder, if it cannot be written to.
      ValueError: If it is not one of tfface's, the version is there already, or what was written does not predict what
        the Keras model predicts.
    """
    options = dataclasses.replace(options, model=starter.file_of(options.model))
    trained = tfface.load(options.model)
    FaceModel(trained)
    model = precision.with_precision(trained, options.precision)
    if options.litert:
        litert.check(model)
    os.makedirs(options.out, exist_ok=True)
    version = options.version or 1 + max(versions(options.out), default=0)
    target = os.path.join(options.out, str(version))
    if os.path.exists(target):
        raise ValueError(f"out: {target} exists; a version is never written over")
    with files.folder_beside(pathlib.Path(target)) as beside:  # no server takes its name for a version
        folder = str(beside / "version")
        _save(model, folder)
        check_portable(folder)
        warmup.write(folder, model, options.warmup_batch)
        servable = Servable(folder, model.name, version)
        try:
            differences = parity.check_servable(servable, model)
            servable.warm_up()
        finally:
            servable.close()
        made = Exported(target, version, differences)
        if options.litert:
            found = litert.export(precision.with_precision(trained, "float32"), options.litert)
            made = dataclasses.replace(made, litert=options.litert, litert_differences=found)
        model_card.write(folder, model, options.model, options.precision, made.differences)
        _flush(folder)
        os.rename(folder, target)
    return made


def versions(base_path: str) -> list[int]:
    """The numbers of the versions under a base path, in order."""
    return sorted(int(name) for name in os.listdir(base_path) if re.fullmatch("[0-9]+", name))


def _save(model: keras.Model, folder: str) -> None:
    with tempfile.TemporaryDirectory() as assets:
        path = os.path.join(assets, TOPOLOGY)
        pathlib.Path(path).write_text(json.dumps(signatures.topology(model)), encoding="utf-8")
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        module = _Exported(model, path)
        try:
            tf.saved_model.save(module, folder, signatures=signatures.make(model), options=options)
        except tf.errors.OpError as error:
            raise OSError(f"{folder} cannot be written (is the disk full?): {brief(error)}") from error


def check_portable(folder: str) -> None:
    """Checks that a SavedModel runs without Python and without XLA, and that every output has the batch first.

    Raises:
      ValueError: It names the operation or the output.
    """
    for graph in read_saved_model(folder).meta_graphs:
        library = graph.graph_def.library.function
        nodes = [*graph.graph_def.node, *(node for function in library for node in function.node_def)]
        for node in nodes:
            if node.op in _NOT_PORTABLE or node.attr["_XlaMustCompile"].b:
                raise ValueError(f"{folder}: the graph holds {node.name} ({node.op}), which no server runs")
        for key, signature in graph.signature_def.items():
            for name, info in signature.outputs.items():
                if key != "__saved_model_init_op" and [dim.size for dim in info.tensor_shape.dim][:1] != [-1]:
                    raise ValueError(f"{folder}: {key}: {name} has no batch as its first dimension")


def _flush(folder: str) -> None:
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
