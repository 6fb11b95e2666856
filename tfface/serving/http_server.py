"""uvicorn in a thread, with what it does not promise by itself: every request ends, and every refusal is JSON.

uvicorn has no bound on how long a request's head or body may take to arrive and its answer to be taken, nor on the size
of a head, and refuses in plain text. Its parser is httptools: unlike h11 it also refuses two equal Content-Length
headers, and a length beside chunks, so that no server before this one can see another request in the same bytes.
"""

import asyncio
import http
import socket
import threading
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tfface.serving import rest

MAX_CONNECTIONS = 512
"""Connections that may be open; more are turned away with 503. A slow one costs little, and none is slow for ever."""
MAX_HEAD_BYTES = 1 << 16
"""What a request may have before its body; at most one read more than that is taken."""

_LINGER = 1.0  # seconds that what a refused client still sends is read and dropped


class _Config(uvicorn.Config):
    """How the thread serves an application.

    Args:
      app: The ASGI application.
      seconds: A request has so long to arrive, is answered in so long, and its answer has so long again to be taken.
    """

    def __init__(self, app: Any, seconds: float):
        super().__init__(
            app,
            http=_Connection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
        )
        self.seconds = seconds


class _Connection(HttpToolsProtocol):
    """One client's connection, with a clock."""

    def __init__(self, config: _Config, *given: Any, **named: Any):
        super().__init__(config, *given, **named)
        self._seconds = config.seconds
        self._clock: asyncio.TimerHandle | None = None
        self._is_reading = False  # a request has begun and is not whole
        self._head: int | None = None  # bytes of a head that is not whole
        self._requests = 0  # that have begun
        self._is_refused = False
        self._was_asked = False  # there is a cycle of uvicorn's, of a request and its answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        # With no room in the buffer, writing is paused as long as an answer has not been taken.
        self.transport.set_write_buffer_limits(0)
        self._start_clock()
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_CONNECTIONS} connections are open already")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._clock is None:
            self._start_clock()
        before = self._requests
        super().data_received(data)
        if self._head is not None and self._requests == before:  # it has not begun with these data
            self._head += len(data)
            if self._head > MAX_HEAD_BYTES:
                status = http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                self._refuse(status, f"expected at most {MAX_HEAD_BYTES} bytes before the body")

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's closes the connection, answered or not
        """Whether the connection stays open for an answer to a client that has closed its own side of it."""
        if self._is_refused or self._is_reading or not self._is_answering():
            return False
        self.cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        if self._is_idle():
            self._start_clock()
        self._is_reading, self._head = True, 0
        self._requests += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()
        self._was_asked = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_reading = False
        self._settle()

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._start_clock()
        super().on_response_complete()
        self._settle()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._settle()

    def send_400_response(self, msg: str) -> None:
        self._refuse(http.HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: http.HTTPStatus, message: str) -> None:
        """Answers, and takes no more from this client; half of an answer is not completed by another one."""
        if self.pipeline or (self._is_answering() and self.cycle.response_started):
            self.transport.abort()
            return
        self._is_refused = True
        self.connections.discard(self)
        if self._is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        content = rest.error(message)
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        # Closed at once, with data of the client's unread, the connection would be reset, and the answer lost with it.
        self.transport.write_eof()
        self.flow.resume_reading()
        self._stop_clock()
        self._clock = self.loop.call_later(_LINGER, self.transport.abort)

    def _is_answering(self) -> bool:
        return self._was_asked and not self.cycle.response_complete

    def _is_idle(self) -> bool:
        """Whether all that was asked is answered, and all answers are taken."""
        busy = self._is_refused or self._is_reading or self._is_answering() or self.pipeline or self.flow.write_paused
        return self._was_asked and not busy

    def _settle(self) -> None:
        if not self._is_idle():
            return
        self._stop_clock()
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(self._seconds, self._is_late)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _is_late(self) -> None:
        is_taken = not self.flow.write_paused
        if self._is_reading and is_taken and not self.transport.is_closing():
            # Of a request that is answered before it is whole, the rest is not waited for either.
            answered = self._head is None and not self._is_answering()
            if answered:
                self.transport.abort()
            else:
                status = http.HTTPStatus.REQUEST_TIMEOUT
                self._refuse(status, f"expected a whole request within {self._seconds:g} s")
        elif self._is_answering() or not is_taken:
            self._clock = self.loop.call_later(self._seconds, self.transport.abort)
        else:
            self.transport.abort()


class HttpServer:
    """Answers HTTP on a port from a thread of its own, until `stop`.

    Args:
      app: The ASGI application.
      host: Where to listen.
      port: 0 takes a free one.
      seconds: See `_Config`.

    Raises:
      OSError: If the port is taken.
    """

    def __init__(self, app: Any, host: str, port: int, seconds: float):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._config = _Config(app, seconds)
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="rest", daemon=True)

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Takes no more connections; returns when all requests under way are answered, or `grace` seconds are over."""
        self._config.timeout_graceful_shutdown = cast(int, grace)  # seconds, which need not be whole
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()
