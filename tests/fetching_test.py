"""Where a fetched file may come from: addresses and redirects, from servers of the test's own."""

import hashlib
import pathlib
import urllib.error
import urllib.request

import file_server
import pytest

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
    def redirect(begin: str, end: str) -> urllib.request.Request | None:
        return fetching._Redirects().redirect_request(urllib.request.Request(begin), None, 302, "Found", {}, end)

    with pytest.raises(urllib.error.HTTPError, match=r"Redirection to url 'http://b/y' is not allowed"):
        redirect("https://a/x", "http://b/y")
    for begin, end in (("https://a/x", "https://b/y"), ("http://a/x", "https://b/y"), ("http://a/x", "http://b/y")):
        followed = redirect(begin, end)
        assert followed is not None
        assert followed.full_url == end


def test_too_many_redirects_end(server, tmp_path):
    server.redirects["round"] = "round"
    assert "redirected too often: Found" in refusal(f"{server.url}/round", tmp_path)
    assert len(server.requests) < 10
    server.redirects |= {f"{number}": f"{number + 1}" for number in range(50)}
    server.requests.clear()
    assert "redirected too often: Found" in refusal(f"{server.url}/0", tmp_path)
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
