"""TensorFlow Serving's REST interface on a `Service`, as an ASGI application: predict, status, metadata and metrics."""

import asyncio
import concurrent.futures
import gzip
import http
import json
import re
import time
import urllib.parse
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from absl import logging
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from tfface.serving import json_tensors, metrics
from tfface.serving.errors import ServingError, invalid_argument
from tfface.serving.service import SIGNATURE_DEF, Service

MAX_BODY_BYTES = 1 << 26
"""A request's body may have so many bytes, before and after it is unpacked."""
MAX_HELD_BYTES = 1 << 30
"""All bodies that have arrived and are not answered yet, together."""

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
_PREDICTIONS = 64  # threads: predictions under way by REST
_OTHERS = 4  # threads for status, metadata and metrics, which must not wait for predictions
_LEAST_PACKED = 1024  # bytes; a smaller answer is not worth packing
_JSON = "application/json"
_JSON_OPTIONS: dict[str, Any] = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}


class Rest:
    """Answers requests; `application` makes the ASGI application of it.

    Args:
      service: What answers.
      timeout: Seconds from a request's head to its answer.
    """

    def __init__(self, service: Service, timeout: float):
        self._service, self._timeout = service, timeout
        self._predictions = concurrent.futures.ThreadPoolExecutor(_PREDICTIONS, "rest")
        self._others = concurrent.futures.ThreadPoolExecutor(_OTHERS, "rest-status")
        self._held = 0  # bytes; only the event loop's thread counts

    def application(self) -> Starlette:
        """The ASGI application; all its errors are TensorFlow Serving's ``{"error": "..."}``."""
        return Starlette(
            routes=[Route(metrics.PATH, self._page, methods=["GET"]), Route("/{path:path}", self)],
            exception_handlers=dict.fromkeys((HTTPException, ServingError, ClientDisconnect), _refusal),
        )

    def close(self) -> None:
        """Ends the threads once they are done with what they are at."""
        for pool in (self._predictions, self._others):
            pool.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except (HTTPException, ServingError, ClientDisconnect):
            raise
        except Exception:  # noqa: BLE001 - the client is told, and the log keeps the trace
            logging.exception("REST %s %s failed", request.method, request.url.path)
            response = Response(error("the request failed; the server's log says why"), 500, media_type=_JSON)
        await response(scope, receive, send)

    async def _page(self, request: Request) -> Response:
        return await self._in_thread(
            self._others, lambda: _packed(request, self._service.metrics.page(), "text/plain; version=0.0.4")
        )

    async def _respond(self, request: Request) -> Response:
        deadline = time.monotonic() + self._timeout
        # Names are compared as they were sent: an escaped slash or colon belongs to a name.
        path = request.scope["raw_path"].decode("ascii")
        match = None
        if request.method in ("GET", "POST"):
            match = (_PREDICT if request.method == "POST" else _STATUS).fullmatch(path)
        if match is None:
            raise invalid_argument(f"Malformed request: {request.method} {path}")
        spec, kind = _spec(*match.groups()[:3]), (match[4] or "").lower()
        if request.method == "GET":
            return await self._in_thread(self._others, lambda: _packed(request, self._look(spec, kind)))
        async with self._body(request) as body:
            giving_up: list[Callable[[], None]] = []
            try:
                return await self._in_thread(
                    self._predictions,
                    lambda: _packed(request, self._predict(spec, kind, body, deadline, giving_up.append)),
                )
            except asyncio.CancelledError as fault:  # the server ends, and has waited long enough
                for give_up in giving_up:
                    give_up()
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "The server is being stopped.") from fault

    @staticmethod
    async def _in_thread(pool: concurrent.futures.Executor, answer: Callable[[], Response]) -> Response:
        return await asyncio.get_running_loop().run_in_executor(pool, answer)

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[Callable[[], bytes]]:
        """What unpacks the body of a request; it counts among what is held as long as the context lasts."""
        if int(request.headers.get("content-length", 0)) > MAX_BODY_BYTES:
            raise _too_large(f"expected at most {MAX_BODY_BYTES} bytes, got {request.headers['content-length']}")
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            status = http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            raise HTTPException(status, f"Content-Encoding: expected gzip, got {encoding[:40]}")
        body = bytearray()
        try:
            async for chunk in request.stream():
                self._held += len(chunk)
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large(f"expected at most {MAX_BODY_BYTES} bytes")
                if self._held > MAX_HELD_BYTES:
                    raise HTTPException(
                        http.HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_HELD_BYTES} bytes of requests are held already"
                    )
            yield lambda: _unpack(bytes(body)) if encoding == "gzip" else bytes(body)
        finally:
            self._held -= len(body)

    def _look(self, spec: model_pb2.ModelSpec, kind: str) -> bytes:
        if not spec.name:
            raise invalid_argument("Missing model name in request.")
        with self._service.measured(spec.name, "GetModelMetadata" if kind else "GetModelStatus", "REST"):
            return _metadata(self._service, spec) if kind else _status(self._service, spec)

    def _predict(
        self,
        spec: model_pb2.ModelSpec,
        kind: str,
        body: Callable[[], bytes],
        deadline: float,
        on_submit: Callable[[Callable[[], None]], None],
    ) -> bytes:
        with self._service.measured(spec.name, kind.capitalize(), "REST"):
            if kind != "predict":
                self._service.refuse(spec, kind)
            document = json_tensors.parse(body())
            spec.signature_name = document.get("signature_name", "")
            _, outputs = self._service.predict(
                spec,
                lambda signature: json_tensors.decode(document, signature),
                timeout=max(0.0, deadline - time.monotonic()),
                on_submit=on_submit,
            )
            return json_tensors.encode(outputs, "instances" in document)


def error(message: str) -> bytes:
    """The body of an answer that is none."""
    return json.dumps({"error": message}).encode()


async def _refusal(request: Request, exception: Exception) -> Response:
    if isinstance(exception, ServingError):
        status, message = _HTTP.get(exception.code, 500), exception.message
    elif isinstance(exception, HTTPException):
        status, message = exception.status_code, exception.detail
    else:
        status, message = _HTTP[grpc.StatusCode.CANCELLED], "the client left before its request was whole"
    logging.debug("REST %s %s: %d, %s", request.method, request.url.path, status, message)
    return Response(error(message), status, media_type=_JSON)


def _packed(request: Request, content: bytes, kind: str = _JSON) -> Response:
    """An answer, packed if it is asked for: here, in a thread; starlette's middleware would stop all others for it."""
    headers = {}
    if len(content) >= _LEAST_PACKED and "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, 1)
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(content, headers=headers, media_type=kind)


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
    return json_format.MessageToJson(response, **_JSON_OPTIONS).encode()


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


def _too_large(message: str) -> HTTPException:
    return HTTPException(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as fault:
        raise HTTPException(http.HTTPStatus.BAD_REQUEST, f"gzip: {fault}") from fault
    if not unpacker.eof:
        if unpacker.unconsumed_tail:
            raise _too_large(f"expected at most {MAX_BODY_BYTES} bytes after unpacking")
        raise HTTPException(http.HTTPStatus.BAD_REQUEST, "gzip: the data end too early")
    return content
