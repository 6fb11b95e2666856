"""TensorFlow Serving's REST interface on a `Service`: predict, status, metadata and metrics."""

import gzip
import http
import http.server
import json
import re
import socket
import threading
import urllib.parse
import zlib
from typing import Any

import grpc
from absl import logging
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from tfface.serving import json_tensors, metrics
from tfface.serving.errors import ServingError, invalid_argument
from tfface.serving.service import SIGNATURE_DEF, Service

MAX_BODY_BYTES = 1 << 26
"""A request's body may have so many bytes, before and after it is unpacked."""

_PREDICT = re.compile(
    r"(?i)/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)"
)
_STATUS = re.compile(r"(?i)/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:/(metadata))?")
_HTTP = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
_LEAST_PACKED = 1024  # bytes; a smaller answer is not worth packing
_JSON_OPTIONS: dict[str, Any] = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _RefusedError(Exception):
    """A request that HTTP itself refuses."""

    def __init__(self, status: http.HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tfface"
    sys_version = ""
    timeout = 30  # seconds that a client may be silent
    disable_nagle_algorithm = True
    server: "RestServer"

    def do_GET(self) -> None:
        self._respond(b"")

    def do_POST(self) -> None:
        try:
            body = self._body()
        except _RefusedError as error:
            self.close_connection = True
            self._send(error.status, "application/json", _error(str(error)))
            return
        self._respond(body)

    def log_message(self, format: str, *args: Any) -> None:
        logging.debug("REST %s", format % args)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length")
        if self.headers.get("Transfer-Encoding") or length is None:
            raise _RefusedError(http.HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if not re.fullmatch("[0-9]{1,12}", length):
            raise _RefusedError(http.HTTPStatus.BAD_REQUEST, "Content-Length: expected a number")
        if int(length) > MAX_BODY_BYTES:
            raise _RefusedError(
                http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BODY_BYTES} bytes, got {length}"
            )
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            raise _RefusedError(http.HTTPStatus.BAD_REQUEST, f"expected {length} bytes, got {len(body)}")
        encoding = self.headers.get("Content-Encoding", "identity").lower()
        if encoding == "identity":
            return body
        if encoding != "gzip":
            raise _RefusedError(
                http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding: expected gzip, got {encoding[:40]}"
            )
        return _unpack(body)

    def _respond(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        if path == metrics.PATH and self.command == "GET":
            page = self.server.service.metrics.page().encode()
            self._send(http.HTTPStatus.OK, "text/plain; version=0.0.4", page)
            return
        try:
            answer, status = self._answer(path, body), 200
        except ServingError as error:
            answer, status = _error(error.message), _HTTP.get(error.code, 500)
        except Exception:  # noqa: BLE001 - the client is told, and the log keeps the trace
            logging.exception("REST %s %s failed", self.command, path)
            answer, status = _error("the request failed; the server's log says why"), 500
        self._send(status, "application/json", answer)

    def _answer(self, path: str, body: bytes) -> bytes:
        service = self.server.service
        match = (_PREDICT if self.command == "POST" else _STATUS).fullmatch(path)
        if match is None:
            raise invalid_argument(f"Malformed request: {self.command} {path}")
        spec = _spec(*match.groups()[:3])
        if self.command == "GET":
            if not spec.name:
                raise invalid_argument("Missing model name in request.")
            with service.measured(spec.name, "GetModelMetadata" if match[4] else "GetModelStatus", "REST"):
                return _metadata(service, spec) if match[4] else _status(service, spec)
        method = match[4].lower()
        with service.measured(spec.name, method.capitalize(), "REST"):
            if method != "predict":
                service.refuse(spec, method)
            document = json_tensors.parse(body)
            spec.signature_name = document.get("signature_name", "")
            _, outputs = service.predict(
                spec,
                lambda signature: json_tensors.decode(document, signature),
                timeout=self.server.timeout_seconds,
            )
            return json_tensors.encode(outputs, "instances" in document)

    def _send(self, status: int, kind: str, content: bytes) -> None:
        packed = len(content) >= _LEAST_PACKED and "gzip" in self.headers.get("Accept-Encoding", "")
        if packed:
            content = gzip.compress(content, 1)
        self.send_response(int(status))
        self.send_header("Content-Type", kind)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class RestServer(http.server.ThreadingHTTPServer):
    """Answers HTTP on a port, each connection on a thread, no more than `connections` at a time.

    Args:
      address: Host and port.
      service: What answers.
      connections: How many may be open; more are turned away with 503.
      timeout_seconds: A prediction's deadline.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service, connections: int, timeout_seconds: float):
        self.service, self.timeout_seconds = service, timeout_seconds
        self._free = threading.BoundedSemaphore(connections)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection, if one is free."""
        if not self._free.acquire(blocking=False):
            try:
                request.sendall(_BUSY)
            except OSError as error:
                logging.debug("REST: a client was turned away and had gone: %s", error)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers a connection until it ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news."""
        logging.debug("REST: the connection of %s broke", client_address, exc_info=True)


def _spec(name: str | None, version: str | None, label: str | None) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(name or ""))
    if version:
        if int(version) >= 1 << 63:
            raise invalid_argument(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label:
        spec.version_label = urllib.parse.unquote(label)
    return spec


def _status(service: Service, spec: model_pb2.ModelSpec) -> bytes:
    response = service.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
    text = json_format.MessageToJson(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return text.encode()


def _metadata(service: Service, spec: model_pb2.ModelSpec) -> bytes:
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[SIGNATURE_DEF])
    response = service.metadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[SIGNATURE_DEF].Unpack(signatures)
    document = {
        "model_spec": json_format.MessageToDict(response.model_spec, **_JSON_OPTIONS),
        "metadata": {SIGNATURE_DEF: json_format.MessageToDict(signatures, **_JSON_OPTIONS)},
    }
    return json.dumps(document, indent=1).encode()


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise _RefusedError(http.HTTPStatus.BAD_REQUEST, f"gzip: {error}") from error
    if not unpacker.eof:
        if unpacker.unconsumed_tail:
            raise _RefusedError(
                http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BODY_BYTES} bytes after unpacking"
            )
        raise _RefusedError(http.HTTPStatus.BAD_REQUEST, "gzip: the data end too early")
    return content


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()
