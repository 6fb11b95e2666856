"""One loaded version of a model, run the way TensorFlow Serving runs it: a session on the graph of a SavedModel."""

import gc
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import prediction_log_pb2

from tfface import memory
from tfface.serving import tensors
from tfface.serving.errors import failed_precondition, from_tensorflow

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
DEFAULT_SIGNATURE = "serving_default"
_INITIALIZER = "__saved_model_init_op"
_MOST_CALLABLES = 8
_VARIABLES = ("VarHandleOp", "VariableV2")

Arrays = Mapping[str, npt.NDArray[Any]]


class Servable:
    """A SavedModel in memory.

    Args:
      path: The version's directory.
      name: The model's name, for messages.
      version: Its number.
      threads: Of TensorFlow, inside one operation; 0 leaves it to TensorFlow.

    Raises:
      ValueError: If the directory does not hold a whole SavedModel.
      ServingError: If TensorFlow cannot load it.
    """

    def __init__(self, path: str | os.PathLike[str], name: str, version: int, threads: int = 0):
        self.path, self.name, self.version = os.fspath(path), name, version
        check_complete(self.path)
        graph = tf.Graph()
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default(), from_tensorflow():
                loaded = tf.compat.v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], self.path)
        except (RuntimeError, OSError) as error:  # no graph with this tag; a file that vanished meanwhile
            self._session.close()
            raise ValueError(f"{self.path}: {error}") from error
        except BaseException:
            self._session.close()
            raise
        self.signatures = {key: signature for key, signature in loaded.signature_def.items() if key != _INITIALIZER}
        self._callables: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._lock = threading.Lock()

    def signature(self, name: str) -> tuple[str, meta_graph_pb2.SignatureDef]:
        """A signature and its name; an empty name means ``serving_default``.

        Raises:
          ServingError: FAILED_PRECONDITION if there is none.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise failed_precondition(f'Serving signature key "{name}" not found.')
        return name, self.signatures[name]

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Runs a signature on all its inputs and gives the named outputs, [B, ...] each.

        Raises:
          ServingError: With TensorFlow's own code and text.
        """
        call, feeds, names = self._callable(signature, tuple(sorted(outputs)))
        with from_tensorflow():
            try:
                values = call(*(inputs[key] for key in feeds))
            except (TypeError, ValueError) as error:  # NumPy's view of what a feed cannot be
                raise tf.errors.InvalidArgumentError(None, None, f"{signature}: {error}") from error
        given = dict(zip(names, values, strict=True))
        return {name: given[name] for name in outputs}

    def _callable(self, signature: str, outputs: tuple[str, ...]) -> tuple[Any, list[str], tuple[str, ...]]:
        """What computes these outputs or, once `_MOST_CALLABLES` others are there, all outputs of the signature.

        TensorFlow keeps a copy of the graph for each, and clients can ask for any of 2^outputs sets.
        """
        with self._lock:
            definition = self.signatures[signature]
            if (signature, outputs) not in self._callables and len(self._callables) >= _MOST_CALLABLES:
                outputs = tuple(sorted(definition.outputs))
            if (signature, outputs) not in self._callables:
                feeds = sorted(definition.inputs)
                call = self._session.make_callable(
                    [definition.outputs[key].name for key in outputs],
                    feed_list=[definition.inputs[key].name for key in feeds],
                )
                self._callables[signature, outputs] = call, feeds, outputs
            return self._callables[signature, outputs]

    def warm_up(self) -> int:
        """Runs the requests that were exported with the model; how many there were.

        Raises:
          ServingError: If one of them fails.
          ValueError: If the file is damaged.
        """
        count = 0
        for request in warmup_requests(self.path):
            name, definition = self.signature(request.model_spec.signature_name)
            inputs = tensors.decode_inputs(definition, request.inputs)
            self.run(name, inputs, list(definition.outputs))
            count += 1
        return count

    def close(self) -> None:
        """Frees the model; nothing may be running on it."""
        self._callables.clear()
        self._session.close()
        # A graph is a circle of references: left to Python, several of them would be held, megabytes each.
        del self._session
        self.signatures.clear()
        gc.collect()
        memory.trim()


def warmup_requests(path: str) -> Iterator[Any]:
    """The PredictRequests in a version's warm-up file, if it has one.

    Raises:
      ValueError: If the file is damaged.
    """
    file = os.path.join(path, WARMUP_FILE)
    if not os.path.isfile(file):
        return
    try:
        for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") == "predict_log":
                yield log.predict_log.request
    except tf.errors.OpError as error:
        raise ValueError(f"{file}: {error.message}") from error


def read_saved_model(path: str) -> SavedModel:
    """The SavedModel protocol buffer of a version.

    Raises:
      ValueError: If it is not there or not whole.
    """
    file = os.path.join(path, "saved_model.pb")
    try:
        return SavedModel.FromString(pathlib.Path(file).read_bytes())
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except Exception as error:  # protobuf's DecodeError has no base that its implementations share
        raise ValueError(f"{file}: not a SavedModel: {error}") from error


def check_complete(path: str) -> None:
    """Checks that a version's files are all there, as they are not while somebody copies it.

    Raises:
      ValueError: It names the file that is missing.
    """
    model = read_saved_model(path)
    variables = os.path.join(path, "variables")
    if not any(_has_variables(graph) for graph in model.meta_graphs):
        return
    if not os.path.isfile(os.path.join(variables, "variables.index")):
        raise ValueError(f"{variables}/variables.index: no such file")
    shards = [name for name in os.listdir(variables) if name.startswith("variables.data-")]
    expected = int(shards[0].rpartition("-of-")[2]) if shards else 1
    if len(shards) != expected:
        raise ValueError(f"{variables}: expected {expected} files variables.data-*, found {len(shards)}")


def _has_variables(graph: Any) -> bool:
    return any(node.op in _VARIABLES for node in graph.graph_def.node)
