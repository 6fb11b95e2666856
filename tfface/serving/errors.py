"""One exception for everything that a server answers with a status other than OK."""

import contextlib
import re
from collections.abc import Iterator

import grpc
import tensorflow as tf

CODES = {code.value[0]: code for code in grpc.StatusCode}
"""The canonical codes, which gRPC and TensorFlow share, by their number."""

_INTERNALS = re.compile(r"Graph execution error:|\{\{(?:function_)?node [^}]*\}\} ?|\n\s*\[\[.*", re.DOTALL)
"""Where in a graph an operation failed, which TensorFlow says before and after what went wrong."""
_LONGEST = 2000  # bytes; a status travels in a header, and gRPC's headers end at 8 kB


class ServingError(Exception):
    """A request that failed: a canonical code and what the client is told."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message if len(message) <= _LONGEST else message[:_LONGEST] + " ..."


def invalid_argument(message: str) -> ServingError:
    """The client sent what cannot be served, whatever the state of the server."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """A model or a version that is not there."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> ServingError:
    """A request that the model as it is loaded cannot answer."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def resource_exhausted(message: str) -> ServingError:
    """The server has as much to do as it takes on."""
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


@contextlib.contextmanager
def from_tensorflow() -> Iterator[None]:
    """Turns TensorFlow's errors into `ServingError` of the same code and text, without what is inside the graph."""
    try:
        yield
    except tf.errors.OpError as error:
        raise ServingError(CODES.get(error.error_code, grpc.StatusCode.UNKNOWN), brief(error)) from error


def brief(error: tf.errors.OpError) -> str:
    """What went wrong, in one line, without the names of a graph's nodes."""
    message = _INTERNALS.sub("", error.message).strip()
    return message.partition("\n")[0] or type(error).__name__
