"""Fetching ICT-FaceKit, from a server of the test's own."""

import hashlib
import pathlib

import file_server
import pytest

from tfface.people import download, ict, ict_checksums

FILES = {"LICENSE": b"do as you like", "FaceXModel/mesh.obj": b"v 0 0 0\n" * 400_000}
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


@pytest.fixture
def server():
    with file_server.running(FILES) as running:
        yield running


def _present(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fetches_all_then_nothing_then_what_is_wrong(server, tmp_path):
    fetched = download.fetch(tmp_path, base_url=server.url, checksums=CHECKSUMS)
    assert sorted(fetched) == sorted(tmp_path / name for name in FILES)
    assert _present(tmp_path) == FILES

    server.requests.clear()
    assert download.fetch(tmp_path, base_url=server.url, checksums=CHECKSUMS) == []
    assert server.requests == []

    (tmp_path / "LICENSE").write_bytes(b"something else")
    assert download.fetch(tmp_path, base_url=server.url, checksums=CHECKSUMS) == [tmp_path / "LICENSE"]
    assert _present(tmp_path) == FILES


def test_refuses_a_file_with_another_checksum(server, tmp_path):
    server.served["FaceXModel/mesh.obj"] = b"v 1 1 1\n"
    with pytest.raises(ValueError, match=r"mesh\.obj: expected a file with SHA-256 .*--ict_facekit"):
        download.fetch(tmp_path, base_url=server.url, checksums=CHECKSUMS, connections=1)
    assert _present(tmp_path) == {"LICENSE": FILES["LICENSE"]}, "what arrived whole is kept, and nothing else"


def test_refuses_a_file_that_is_cut_short(server, tmp_path):
    server.cut = True
    with pytest.raises(ValueError, match="expected a file"):
        download.fetch(tmp_path, base_url=server.url, checksums=CHECKSUMS)
    assert _present(tmp_path) == {}


@pytest.mark.parametrize("fault", ["missing", "closed"])
def test_says_which_file_cannot_be_fetched_and_what_to_do(server, tmp_path, fault):
    server.served.pop("LICENSE")
    url = server.url if fault == "missing" else "http://127.0.0.1:1/repository"
    with pytest.raises(ValueError, match=r"LICENSE: expected a file, got .*--ict_facekit"):
        download.fetch(tmp_path, base_url=url, checksums={"LICENSE": CHECKSUMS["LICENSE"]}, timeout=5)


def test_the_table_holds_every_file_that_is_read():
    names = [
        ict.NEUTRAL_FILE,
        *map(ict.identity_file, range(ict.NUM_MODES)),
        *map(ict.expression_file, ict.EXPRESSIONS),
    ]
    assert set(ict_checksums.SHA256) == {"LICENSE", *(f"FaceXModel/{name}" for name in names)}
    assert all(len(checksum) == 64 and int(checksum, 16) for checksum in ict_checksums.SHA256.values())
    assert len(set(ict_checksums.SHA256.values())) == len(ict_checksums.SHA256)


def test_the_checkout_has_these_checksums(ict_facekit_dir):
    for name in ("LICENSE", f"FaceXModel/{ict.NEUTRAL_FILE}", f"FaceXModel/{ict.identity_file(99)}"):
        content = (ict_facekit_dir / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == ict_checksums.SHA256[name]
