"""Where a fetched file may come from: addresses and redirects, from servers of the test's own."""

import hashlib
import io
import pathlib

import file_server
import pytest
import requests

from tfface import fetching

CONTENT = b"a file of some length" * 1000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with file_server.running({"file": CONTENT}) as running:
        yield running


def fetch(url: str, folder: pathlib.Path) -> pathlib.Path:
    path = folder / "fetched"
    return fetching.fetch_file(url, path, CHECKSUM, max_bytes=1 << 20, timeout=5, advice="Take a copy.")


def refusal(url: str, folder: pathlib.Path) -> str:
    """The one line that says why nothing was fetched."""
    with pytest.raises(ValueError, match=r"Take a copy\.$") as raised:
        fetch(url, folder)
    assert str(raised.value).startswith(f"{url}: expected a file, got ")
    assert "\n" not in str(raised.value)
    assert list(folder.glob("fetched")) == []
    return str(raised.value)


def test_redirects_are_followed_to_other_names_and_servers(server, tmp_path):
    with file_server.running({}) as other:
        other.redirects["moved"] = f"{server.url}/there"
        server.redirects["there"] = "file"
        assert fetch(f"{other.url}/moved", tmp_path).read_bytes() == CONTENT
    assert (other.requests, server.requests) == (["/repository/moved"], ["/repository/there", "/repository/file"])


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "gopher"])
def test_a_redirect_to_another_scheme_is_refused(server, tmp_path, scheme):
    (tmp_path / "secret").write_bytes(CONTENT)
    locations = {"file": f"file://{tmp_path}/secret", "data": "data:text/plain,secret"}
    server.redirects["moved"] = locations.get(scheme, f"{scheme}://127.0.0.1:1/secret")
    told = refusal(f"{server.url}/moved", tmp_path)
    assert f"Redirection to url '{server.redirects['moved']}' is not allowed" in told


def test_no_redirect_leads_from_https_to_http():
    def redirect(begin: str, end: str) -> str | None:
        response = requests.Response()
        response.raw = io.BytesIO()
        response.url, response.status_code, response.headers["Location"] = begin, 302, end
        return fetching._session().get_redirect_target(response)

    for end in ("http://b/y", "ftp://b/y", "file:/y"):
        with pytest.raises(requests.RequestException, match=f"Redirection to url '{end}' is not allowed"):
            redirect("https://a/x", end)
    for begin, end in (("https://a/x", "https://b/y"), ("http://a/x", "https://b/y"), ("http://a/x", "http://b/y")):
        assert redirect(begin, end) == end
    for end in ("/y", "y", "//b/y"):
        assert redirect("https://a/x", end) == end, "it stays with https"


def test_too_many_redirects_end(server, tmp_path):
    server.redirects["round"] = "round"
    assert "TooManyRedirects" in refusal(f"{server.url}/round", tmp_path)
    assert len(server.requests) == 11
    server.redirects |= {f"{number}": f"{number + 1}" for number in range(50)}
    server.requests.clear()
    assert "TooManyRedirects" in refusal(f"{server.url}/0", tmp_path)
    assert len(server.requests) == 11
    server.redirects["9"] = "file"
    assert fetch(f"{server.url}/0", tmp_path).read_bytes() == CONTENT, "ten are followed"


@pytest.mark.parametrize("location", ["http://[::1", "http://", "http://127.0.0.1:port/", "http://127.0.0.1:1/file"])
def test_a_redirect_to_nowhere_is_told_with_the_address_that_was_given(server, tmp_path, location):
    server.redirects["moved"] = location
    refusal(f"{server.url}/moved", tmp_path)


@pytest.mark.parametrize(
    "url", ["file://localhost/etc/hostname", "ftp://127.0.0.1:1/file", "data:text/plain,file", "file"]
)
def test_only_http_and_https_are_opened(tmp_path, url):
    refusal(url, tmp_path)


def test_a_file_that_is_too_large_is_given_up(server, tmp_path):
    server.served["file"] = bytes(5 << 20)
    with pytest.raises(ValueError, match=rf"{server.url}/file: expected at most 1048576 bytes\. Take a copy\.$"):
        fetch(f"{server.url}/file", tmp_path)
    assert list(tmp_path.iterdir()) == []
