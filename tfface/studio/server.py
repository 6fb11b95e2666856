"""The page's server: on this machine alone, for the page that it sent itself.

Any website that somebody visits may send requests to this machine. The header Host has to be this server's own, which
a name that was pointed here is not (DNS rebinding); whatever changes something carries a token that only the page has,
and no other site can read the page.
"""

import asyncio
import contextlib
import importlib.resources
import io
import json
import secrets
import socket
import string
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tfface import files
from tfface.reconstruction.reconstruction_run import PAGE_FILE
from tfface.studio.gallery import Gallery, RefusedError
from tfface.studio.options import AppOptions
from tfface.studio.worker import Worker

HOST = "127.0.0.1"
_ASSETS = importlib.resources.files("tfface.studio") / "page_assets"
_TYPES = {"app.css": "text/css", "app.js": "text/javascript"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_RESULT_POLICY = "sandbox allow-scripts; frame-ancestors 'self'"
"""The page of a person runs its scripts, and can reach nothing of this server."""
_OBJ = ("face.obj", "face.mtl", "face.png")
_ALIVE = 15.0  # seconds after which an idle stream of events says that it is there
_GRACE = 1.0  # seconds that open streams may last once the server is told to stop

Handler = Callable[[Request], Awaitable[Response]]


class App:
    """The application and what it works with."""

    def __init__(self, options: AppOptions):
        """Takes the port and the folder.

        Raises:
          FileNotFoundError: If there is no such model.
          OSError: If the port is taken or the folder cannot be written.
          ValueError: If an option of the model is wrong, or another process holds the folder.
        """
        with contextlib.ExitStack() as stack:
            # Before the gallery, which removes what it takes for left half-way.
            stack.enter_context(files.held(options.folder, "folder"))
            self.gallery = Gallery(
                Path(options.folder), options.max_people, options.max_files, options.max_megabytes * 1_000_000
            )
            self.worker = Worker(self.gallery, options, self._without_a_model)
            self._socket = stack.enter_context(socket.create_server((HOST, options.port)))
            self._held = stack.pop_all()
        self.port = int(self._socket.getsockname()[1])
        self.token = secrets.token_urlsafe(24)
        routes = [
            Route("/", self._page),
            Route("/assets/{name}", self._asset),
            Route("/events", self._events),
            Route("/people", self._add, methods=["POST"]),
            Route("/people/{id}/photographs/{name}", self._upload, methods=["PUT"]),
            Route("/people/{id}/start", self._start, methods=["POST"]),
            Route("/people/{id}", self._delete, methods=["DELETE"]),
            Route("/people/{id}/thumbnails/{number:int}", self._thumbnail),
            Route("/people/{id}/{name}", self._file),
        ]
        hosts = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        application = Starlette(
            routes=routes, middleware=[Middleware(_Guard, hosts=hosts, token=self.token)], lifespan=self._lifespan
        )
        config = uvicorn.Config(
            application, log_level="warning", access_log=False, timeout_graceful_shutdown=int(_GRACE), http="httptools"
        )
        self._server = uvicorn.Server(config)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.port}/"

    def run(self) -> None:
        """Serves until Ctrl-C or another signal comes, or `stop`, or the model cannot be opened.

        Raises:
          ValueError: naming the model, if it cannot be opened.
        """
        with self._held, contextlib.suppress(KeyboardInterrupt):  # uvicorn's, once all has ended
            self._server.run([self._socket])
        if self.worker.models.done():
            self.worker.models.result()

    def stop(self) -> None:
        """Ends `run`, from another thread."""
        self._server.should_exit = True

    def _without_a_model(self) -> None:
        """Tells all pages why there is nothing that they could wait for, and ends `run`."""
        self.gallery.tell({"ended": f"This program has ended: {self.worker.models.exception()}"})
        self.stop()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.worker.start()
        yield
        await asyncio.to_thread(self.worker.stop)

    async def _page(self, request: Request) -> Response:
        text = string.Template((_ASSETS / "app.html").read_text(encoding="utf-8")).substitute(
            token=self.token, folder=self.gallery.root.name
        )
        return Response(text, media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _TYPES:
            return PlainTextResponse("not found", 404)
        return Response((_ASSETS / name).read_text(encoding="utf-8"), media_type=_TYPES[name])

    async def _events(self, request: Request) -> Response:
        """Server-sent events: first everybody, then every change."""
        return StreamingResponse(self._changes(), media_type="text/event-stream")

    async def _changes(self) -> AsyncIterator[str]:
        loop, changes = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]]()

        def note(change: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(changes.put_nowait, change)

        end = self.gallery.listen(note)
        try:
            yield _event({"people": self.gallery.people()})
            while not self._server.should_exit:
                try:
                    yield _event(await asyncio.wait_for(changes.get(), _ALIVE))
                except asyncio.TimeoutError:
                    yield ": still here\n\n"
        finally:
            end()

    async def _add(self, request: Request) -> Response:
        try:
            return JSONResponse({"id": await asyncio.to_thread(self.gallery.add)})
        except RefusedError as error:
            return PlainTextResponse(str(error), 409)

    async def _upload(self, request: Request) -> Response:
        try:
            path, limit = self.gallery.place_for(request.path_params["id"], request.path_params["name"])
        except KeyError:
            return PlainTextResponse("not found", 404)
        except RefusedError as error:
            return PlainTextResponse(str(error), 415)
        size, whole = 0, False
        try:
            with path.open("wb") as file:
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        return PlainTextResponse(f"{path.name} is too large: {limit // 1_000_000} MB are left", 413)
                    file.write(part)
            whole = True
        except ClientDisconnect:
            return PlainTextResponse("cut off", 400)
        finally:
            if not whole:
                path.unlink(missing_ok=True)
        return JSONResponse({"name": path.name})

    async def _start(self, request: Request) -> Response:
        person_id = request.path_params["id"]
        try:
            self.gallery.start(person_id)
        except KeyError:
            return PlainTextResponse("not found", 404)
        except RefusedError as error:
            return PlainTextResponse(str(error), 409)
        self.worker.put(person_id)
        return Response(status_code=204)

    async def _delete(self, request: Request) -> Response:
        try:
            await asyncio.to_thread(self.gallery.delete, request.path_params["id"])
        except KeyError:
            return PlainTextResponse("not found", 404)
        return Response(status_code=204)

    async def _thumbnail(self, request: Request) -> Response:
        person_id, number = request.path_params["id"], request.path_params["number"]
        path = self.gallery.result(person_id) / f"thumbnail-{number}.jpg"
        if not self.gallery.has(person_id) or not path.is_file():
            return PlainTextResponse("not found", 404)
        return FileResponse(path, media_type="image/jpeg")

    async def _file(self, request: Request) -> Response:
        person_id, name = request.path_params["id"], request.path_params["name"]
        try:
            if name == "face_obj.zip":
                content = await asyncio.to_thread(_zipped, [self.gallery.file(person_id, part) for part in _OBJ])
                return Response(content, media_type="application/zip", headers=_attached(name))
            path = self.gallery.file(person_id, name)
        except KeyError:
            return PlainTextResponse("not found", 404)
        if name == PAGE_FILE:
            return FileResponse(path, headers={"Content-Security-Policy": _RESULT_POLICY})
        return FileResponse(path, headers=_attached(name))


class _Guard:
    """Refuses what does not come from the page; see the top of this file."""

    def __init__(self, app: ASGIApp, hosts: set[str], token: str):
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        reason = self._fault(request)
        if reason:
            await PlainTextResponse(reason, 403)(scope, receive, send)
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cross-origin-resource-policy", b"same-origin"),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _fault(self, request: Request) -> str:
        if request.headers.get("host") not in self._hosts:
            return "this page is for this machine alone"
        if request.method in ("GET", "HEAD"):
            return ""
        origin = request.headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self._hosts:
            return "another site may not change anything here"
        given = request.headers.get("x-token", "")
        return "" if secrets.compare_digest(given.encode(), self._token.encode()) else "reload the page"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _zipped(paths: list[Path]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
    return content.getvalue()
