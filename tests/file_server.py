"""A server of files on loopback, for tests of what fetches them."""

import contextlib
import http.server
import threading
from collections.abc import Iterator, Mapping


class Files(http.server.BaseHTTPRequestHandler):
    """Serves `served` by name below /repository/, half of each file if it is `cut`; `requests` are kept.

    A name of `redirects` is answered with the address that it has there.
    """

    url: str
    served: dict[str, bytes]
    redirects: dict[str, str]
    requests: list[str]
    cut: bool

    def do_GET(self):
        self.requests.append(self.path)
        name = self.path.removeprefix("/repository/")
        if name in self.redirects:
            self.send_response(302)
            self.send_header("Location", self.redirects[name])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.served.get(name)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.cut else content)

    def log_message(self, *arguments):
        """Says nothing."""


@contextlib.contextmanager
def running(files: Mapping[str, bytes]) -> Iterator[type[Files]]:
    """A running server of some files; its `url` is that of the folder."""
    handler = type("Handler", (Files,), {"served": dict(files), "redirects": {}, "requests": [], "cut": False})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        handler.url = f"http://127.0.0.1:{server.server_address[1]}/repository"
        yield handler
        server.shutdown()
        thread.join()
