"""Models named by a path or by an address with a checksum, from a server of the test's own."""

import concurrent.futures
import hashlib

import file_server
import pytest

from tfface import fetching
from tfface.reconstruction import model_file

CONTENT = b"not really a model" * 1000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with file_server.running({"face.keras": CONTENT}) as running:
        yield running


def test_a_path_is_left_as_it_is():
    assert model_file.local("runs/model/single_view.keras") == "runs/model/single_view.keras"


def test_an_address_is_fetched_once_and_again_if_the_copy_is_damaged(server, tmp_path):
    given = f"{server.url}/face.keras#sha256={CHECKSUM.upper()}"
    path = tmp_path / "cache" / "tfface" / "models" / f"{CHECKSUM}.keras"
    assert model_file.local(given) == str(path)
    assert path.read_bytes() == CONTENT
    assert model_file.local(given) == str(path)
    assert server.requests == ["/repository/face.keras"]
    path.write_bytes(CONTENT[:-1])
    model_file.local(given)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_several_at_once_fetch_it_whole(server, tmp_path):
    """As when runs of `reconstruct` are started beside each other, before any has the model."""
    given = f"{server.url}/face.keras#sha256={CHECKSUM}"
    folder = tmp_path / "cache" / "tfface" / "models"
    with concurrent.futures.ThreadPoolExecutor(4) as runs:
        assert set(runs.map(model_file.local, [given] * 4)) == {str(folder / f"{CHECKSUM}.keras")}
    assert [path.read_bytes() for path in folder.iterdir()] == [CONTENT]


@pytest.mark.parametrize("fault", ["another", "cut", "missing", "offline", "large"])
def test_what_cannot_be_had_is_told_with_the_flag_for_a_copy(server, tmp_path, monkeypatch, fault):
    checksum = "0" * 64 if fault == "another" else CHECKSUM
    url = "http://127.0.0.1:1/repository" if fault == "offline" else server.url
    name = "nobody.keras" if fault == "missing" else "face.keras"
    server.cut = fault == "cut"
    if fault == "large":
        monkeypatch.setattr(model_file, "MAX_BYTES", len(CONTENT) - 1)
    with pytest.raises(ValueError, match=rf"{url}/{name}: expected .*--single_view_model=PATH; make model") as raised:
        model_file.local(f"{url}/{name}#sha256={checksum}", "single_view_model", timeout=5)
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "cache" / "tfface" / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://example.org/face.keras", "model: expected an address that ends in #sha256="),
        ("https://example.org/face.keras#sha256=12", "model: expected an address that ends in #sha256="),
        (f"ftp://example.org/face.keras#sha256={CHECKSUM}", "model: expected a path or an address of http or https"),
    ],
)
def test_addresses_without_a_checksum_and_other_schemes_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        model_file.local(given)


def test_the_checksum_beside_a_file_is_the_one_its_address_wants(server, tmp_path):
    path = tmp_path / "face.keras"
    path.write_bytes(CONTENT)
    assert fetching.write_checksum(path) == CHECKSUM
    assert (tmp_path / "face.keras.sha256").read_text() == f"{CHECKSUM}  face.keras\n"
    assert model_file.local(f"{server.url}/face.keras#sha256={fetching.write_checksum(path)}") != str(path)
