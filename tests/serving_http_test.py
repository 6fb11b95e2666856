"""The REST port under clients that speak HTTP by hand: slowly, wrongly, or so that others would see two requests."""

import contextlib
import http.client
import json
import selectors
import socket
import time

import pytest
import serving_tiny

from tfface.serving import http_server

STATUS = f"/v1/models/{serving_tiny.MODEL}"
PREDICT = f"{STATUS}:predict"
SECONDS = 1.5
MOST_KEPT = 1 << 23
"""Bytes of answers, more than the kernel keeps for a sender (tcp_wmem: 4 MiB as a rule) and a bounded receiver."""


@pytest.fixture(scope="module")
def running():
    with serving_tiny.serving(serving_tiny.exported(), rest_api_timeout_in_ms=int(1000 * SECONDS)) as started:
        yield started


def _connect(running, kept: int | None = None) -> socket.socket:
    """A connection; the kernel keeps `kept` bytes of what the client does not read (None: as many as it likes)."""
    connection = socket.socket()
    connection.settimeout(30)
    if kept is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kept)
    connection.connect(("127.0.0.1", running.rest_port))
    return connection


def _responses(connection: socket.socket) -> list[tuple[int, dict[str, str], bytes]]:
    """All that a server sends until it closes the connection: status, headers and body."""
    received = b""
    while data := connection.recv(1 << 16):
        received += data
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"])
        found.append((int(first.split()[1]), headers, received[:length]))
        received = received[length:]
    return found


def _told(running, request: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    with _connect(running) as connection:
        connection.sendall(request)
        return _responses(connection)


def _get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: here", *headers, "", ""]).encode()


LAST = _get(STATUS, "Connection: close")
SMUGGLED = _get("/v1/models/smuggled")


def test_the_body_of_a_get_is_no_request(running):
    found = _told(running, _get(STATUS, f"Content-Length: {len(SMUGGLED)}") + SMUGGLED + LAST)
    assert [status for status, _, _ in found] == [200, 200]


def test_chunks_end_where_they_say(running):
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    found = _told(running, head + body + LAST)
    assert [status for status, _, _ in found] == [400, 200]
    assert "JSON Parse error" in json.loads(found[0][2])["error"]


@pytest.mark.parametrize(
    "lengths",
    [
        ["Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"],
        [f"Content-Length: {len(SMUGGLED)}", "Content-Length: 0"],
        [f"Content-Length: {len(SMUGGLED)}", f"Content-Length: {len(SMUGGLED)}"],
        [f"Content-Length: 0, {len(SMUGGLED)}"],
        ["Content-Length: 0", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 4"],
        [f"Content-Length: +{len(SMUGGLED)}"],
        ["Content-Length: -1"],
        ["Content-Length : 0"],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_of_two_lengths_is_refused_and_nothing_behind_it_is_answered(running, method, lengths):
    head = "\r\n".join([f"{method} {PREDICT} HTTP/1.1", "Host: here", *lengths, "", ""])
    found = _told(running, head.encode() + SMUGGLED + LAST)
    assert [status for status, _, _ in found] == [400]
    assert found[0][1]["connection"] == "close"
    assert set(json.loads(found[0][2])) == {"error"}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (f"PUT {STATUS} HTTP/1.1\r\n\r\n", 400),
        (f"DELETE {STATUS} HTTP/1.1\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /v1/models/%ff%00 HTTP/1.1\r\n\r\n", 404),
        ("CONNECT there:80 HTTP/1.1\r\n\r\n", 400),
        ("BREW /pot HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 400),
        ("\x16\x03\x01\x02\r\n\r\n", 400),
        (f"GET {STATUS} HTTP/1.1\r\nX: {'x' * 600_000}\r\n\r\n", 431),
        (f"POST {PREDICT} HTTP/1.1\r\nContent-Length: {1 << 40}\r\n\r\n", 413),
        (f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 1\r\nContent-Encoding: br\r\n\r\n1", 415),
        (f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
        (f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 9\r\n\r\n1", 408),
        (f"GET {STATUS} HT", 408),
    ],
    ids=lambda given: given[:12] if isinstance(given, str) else str(given),
)
def test_every_refusal_is_json(running, request_, status):
    with _connect(running) as connection:
        connection.sendall(request_.encode("latin-1"))
        if status != 408:
            connection.shutdown(socket.SHUT_WR)  # nothing more comes, and an answer is still waited for
        found = _responses(connection)
    assert [one[0] for one in found] == [status]
    assert found[0][1]["content-type"] == "application/json"
    assert set(json.loads(found[0][2])) == {"error"}


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(running):
    with _connect(running) as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(b"{}" + LAST)
        assert [status for status, _, _ in _responses(connection)] == [400, 200]


def test_slow_clients_do_not_hold_it_for_ever(running, monkeypatch):
    """64 clients, as many as may be connected, send a byte now and then, and would for hours."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 64)
    heads = (f"GET {STATUS} HTTP/1.1\r\nX: ", f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 99999\r\n\r\n", "")
    slow = [_connect(running) for _ in range(64)]
    try:
        for index, connection in enumerate(slow):
            connection.sendall(heads[index % 3].encode())
        found = _told(running, LAST)
        assert [status for status, _, _ in found] == [503]
        assert set(json.loads(found[0][2])) == {"error"}
        begun = time.monotonic()
        waiting, statuses = selectors.DefaultSelector(), []
        for connection in slow:
            waiting.register(connection, selectors.EVENT_READ)
        while waiting.get_map():
            assert time.monotonic() < begun + 10 * SECONDS
            for key, _ in waiting.select(timeout=0.2):
                statuses.append(key.fileobj.recv(1 << 16)[:12])
                waiting.unregister(key.fileobj)
            for key in list(waiting.get_map().values()):
                if slow.index(key.fileobj) % 3 < 2:
                    key.fileobj.sendall(b"x")
        assert statuses.count(b"HTTP/1.1 408") == 43
        assert statuses.count(b"") == 21, "who has sent nothing is told nothing"
        assert [status for status, _, _ in _told(running, LAST)] == [200]
    finally:
        for connection in slow:
            connection.close()


def _sends_on(connection: socket.socket, question: bytes, until: float) -> None:
    """That a server has left is told to who sends more."""
    while time.monotonic() < until:
        connection.sendall(question)
        time.sleep(0.1)


def test_who_does_not_take_its_answers_is_left(running):
    question = _get(f"{STATUS}/metadata")
    answer = len(_told(running, _get(f"{STATUS}/metadata", "Connection: close"))[0][2])
    with _connect(running, kept=1 << 14) as connection:
        begun = time.monotonic()
        connection.sendall((MOST_KEPT // answer) * question)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            _sends_on(connection, question, until=begun + 40 * SECONDS)
        assert time.monotonic() - begun > SECONDS / 2
    assert [status for status, _, _ in _told(running, LAST)] == [200]


def test_a_client_that_pauses_between_requests_is_kept(running):
    connection = http.client.HTTPConnection("127.0.0.1", running.rest_port, timeout=30)
    with contextlib.closing(connection):
        sockets = set()
        for _ in range(3):
            connection.request("GET", STATUS)
            sockets.add(connection.sock.getsockname())
            with connection.getresponse() as response:
                assert response.status == 200
                assert json.loads(response.read())
            time.sleep(SECONDS)
        assert len(sockets) == 1
