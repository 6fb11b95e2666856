"""Fuzzes what the page of `tfface.app` is sent: names of files, paths, methods, heads and bodies of requests."""

import http.client
import json
import threading
import urllib.parse

import fuzzing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfface.studio import server, worker
from tfface.studio.gallery import PHOTOGRAPHS, SUFFIXES, Gallery, RefusedError
from tfface.studio.options import AppOptions

PARTS = ("..", ".", "", "%2e%2e", "%2f", "%00", "%ff", "..%2f..%2fx.png", "photographs", "start", "a.png", "x" * 300)
NAMES = st.one_of(
    st.text(max_size=200),
    st.builds("{}{}".format, st.text(max_size=200), st.sampled_from(SUFFIXES)),
    st.sampled_from(fuzzing.TEXTS).map("{}.png".format),
    st.sampled_from(("\U00020000" * 90 + ".png", "é" * 200 + ".jpeg", "a\\..\\..\\b.png", ".png", "\ud800.png")),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder around that of an application; nothing but that one may appear in it."""
    return tmp_path_factory.mktemp("around")


@fuzzing.settings(150)
@given(name=NAMES)
def test_any_name_stays_in_its_folder_or_is_refused(tmp_path_factory, name):
    gallery = Gallery(tmp_path_factory.mktemp("gallery"), 1, 2, 100)
    person = gallery.add()
    folder = gallery.root / person / PHOTOGRAPHS
    try:
        path, _ = gallery.place_for(person, name)
    except RefusedError:
        assert not list(folder.iterdir())
        return
    assert [path] == list(folder.iterdir())
    assert path.suffix in SUFFIXES


@pytest.fixture(scope="module")
def app(root):
    """The application, with a worker that does nothing."""
    (root / "a.keras").touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("start", "stop"):
            patch.setattr(worker.Worker, name, lambda _: None)
        running = server.App(
            AppOptions(str(root / "kept"), port=0, model=str(root / "a.keras"), max_megabytes=1, max_people=10**6)
        )
        thread = threading.Thread(target=running.run)
        thread.start()
        yield running
        running.stop()
        thread.join()


def _ask(app, method, path, body=b"", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": f"localhost:{app.port}", "X-Token": app.token, **(headers or {})}.items():
            connection.putheader(name, value)
        if "Content-Length" not in (headers or {}):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, b"" if "event-stream" in answer.getheader("Content-Type", "") else answer.read()
    finally:
        connection.close()


@fuzzing.settings(60)
@given(
    method=st.sampled_from(("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW")),
    parts=st.lists(
        st.one_of(st.sampled_from(PARTS), NAMES.map(lambda name: urllib.parse.quote(name, errors="replace")))
    ),
    person=st.booleans(),
    headers=st.dictionaries(
        st.sampled_from(("X-Token", "Host", "Origin", "Content-Length", "Content-Encoding", "Range")),
        st.sampled_from(("", "0", "-1", "9" * 30, "gzip", "bytes=9-1", "bytes=0-0,2-1", "http://x", "\xff")),
        max_size=2,
    ),
    body=st.binary(max_size=300),
)
def test_any_request_is_answered_and_writes_nowhere_else(app, root, method, parts, person, headers, body):
    middle = ["people", json.loads(_ask(app, "POST", "/people")[1])["id"], *parts] if person else parts
    try:
        status, _ = _ask(app, method, "/" + "/".join(middle), body, headers)
    except http.client.HTTPException:
        status = 0  # a head that is none: the connection is closed, which is an answer, too
    assert status < 500
    assert {path.name for path in root.iterdir()} == {"a.keras", "kept"}
    assert _ask(app, "GET", "/")[0] == 200
