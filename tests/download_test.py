"""Fetching what people are made from, from a server of the test's own."""

import hashlib
import os
import pathlib

import file_server
import pytest

from tfface import prepare
from tfface.people import download, ict, ict_checksums
from tfface.people.assets import checksums, folder

FILES = {"LICENSE": b"do as you like", "FaceXModel/mesh.obj": b"v 0 0 0\n" * 400_000}
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


@pytest.fixture
def server():
    with file_server.running(FILES) as running:
        yield running


def _source(base_url: str, source: download.Source = download.ICT_FACEKIT, **names: str) -> download.Source:
    """What the server has, with the advice of a real source."""
    return download.Source(
        names or CHECKSUMS, {name: f"{base_url}/{name}" for name in names or CHECKSUMS}, source.advice
    )


def _present(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fetches_all_then_nothing_then_what_is_wrong(server, tmp_path):
    fetched = download.fetch(tmp_path, _source(server.url))
    assert sorted(fetched) == sorted(tmp_path / name for name in FILES)
    assert _present(tmp_path) == FILES

    server.requests.clear()
    assert download.fetch(tmp_path, _source(server.url)) == []
    assert server.requests == []

    (tmp_path / "LICENSE").write_bytes(b"something else")
    assert download.fetch(tmp_path, _source(server.url)) == [tmp_path / "LICENSE"]
    assert _present(tmp_path) == FILES


def test_refuses_a_file_with_another_checksum(server, tmp_path):
    server.served["FaceXModel/mesh.obj"] = b"v 1 1 1\n"
    with pytest.raises(ValueError, match=r"mesh\.obj: expected a file with SHA-256 .*--ict_facekit"):
        download.fetch(tmp_path, _source(server.url), connections=1)
    assert _present(tmp_path) == {"LICENSE": FILES["LICENSE"]}, "what arrived whole is kept, and nothing else"


def test_refuses_a_file_that_is_cut_short(server, tmp_path):
    server.cut = True
    with pytest.raises(ValueError, match="expected a file"):
        download.fetch(tmp_path, _source(server.url))
    assert _present(tmp_path) == {}


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (download.ICT_FACEKIT, "--ict_facekit.*ICT_FACEKIT_DIR"),
        (download.MAKEHUMAN_ASSETS, "--appearance=FOLDER.*MAKEHUMAN_ASSETS_DIR"),
    ],
)
@pytest.mark.parametrize("fault", ["missing", "closed"])
def test_says_which_file_cannot_be_fetched_and_what_to_do(server, tmp_path, fault, source, named):
    server.served.pop("LICENSE")
    url = server.url if fault == "missing" else "http://127.0.0.1:1/repository"
    with pytest.raises(ValueError, match=rf"LICENSE: expected a file, got .*{named}"):
        download.fetch(tmp_path, _source(url, source, LICENSE=CHECKSUMS["LICENSE"]), timeout=5)


def test_prepare_fetches_into_the_folders_that_are_named(server, tmp_path, monkeypatch):
    """ICT-FaceKit and the assets; the people are then opened from what arrived, which here is none."""
    served = {"ICT_FACEKIT": "LICENSE", "MAKEHUMAN_ASSETS": "FaceXModel/mesh.obj"}
    for source, name in served.items():
        monkeypatch.setattr(download, source, _source(server.url, **{name: CHECKSUMS[name]}))
    options = prepare.PreparationOptions(
        output="unused",
        people="ict",
        ict_facekit=str(tmp_path / "ict"),
        appearance=str(tmp_path / "assets"),
        download=True,
    )
    with pytest.raises(ValueError, match=r"expected a checkout of ICT-FaceKit"):
        prepare._open(options)
    assert _present(tmp_path) == {
        "ict/LICENSE": FILES["LICENSE"],
        "assets/FaceXModel/mesh.obj": FILES["FaceXModel/mesh.obj"],
    }


def test_the_table_holds_every_file_that_is_read():
    names = [
        ict.NEUTRAL_FILE,
        *map(ict.identity_file, range(ict.NUM_MODES)),
        *map(ict.expression_file, ict.EXPRESSIONS),
    ]
    assert set(ict_checksums.SHA256) == {"LICENSE", *(f"FaceXModel/{name}" for name in names)}
    assert all(len(checksum) == 64 and int(checksum, 16) for checksum in ict_checksums.SHA256.values())
    assert len(set(ict_checksums.SHA256.values())) == len(ict_checksums.SHA256)


def test_an_appearance_is_made_from_all_files_of_the_assets_table(tmp_path):
    for name in checksums.SHA256:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    read = [path.relative_to(tmp_path).as_posix() for path in folder.files(folder.checked(tmp_path))]
    assert sorted(read) == sorted(checksums.SHA256)
    assert all(len(checksum) == 64 and int(checksum, 16) for checksum in checksums.SHA256.values())
    assert {folder.age(path) for path in folder.skins(tmp_path)} == {0.0, 0.5, 1.0}


def test_pictures_come_from_git_lfs():
    """The address of a file in the repository itself gives the pointer alone."""
    for name, address in download.MAKEHUMAN_ASSETS.addresses.items():
        host = "media.githubusercontent.com/media" if name.endswith(".png") else "raw.githubusercontent.com"
        assert address.startswith(f"https://{host}/makehumancommunity/makehuman")
        assert address.endswith(f"/{name}")


@pytest.mark.skipif(not os.environ.get("MAKEHUMAN_ASSETS_DIR"), reason="MAKEHUMAN_ASSETS_DIR is not set")
def test_the_folder_of_assets_has_these_checksums():
    """The base mesh, and pictures that all releases share; skins and the headers of text files differ between them."""
    root = pathlib.Path(os.environ["MAKEHUMAN_ASSETS_DIR"])
    names = [name for name in checksums.SHA256 if name.endswith(".png") and "/skins/" not in name] + [folder.BASE]
    for name in names:
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == checksums.SHA256[name]


def test_the_checkout_has_these_checksums(ict_facekit_dir):
    for name in ("LICENSE", f"FaceXModel/{ict.NEUTRAL_FILE}", f"FaceXModel/{ict.identity_file(99)}"):
        content = (ict_facekit_dir / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == ict_checksums.SHA256[name]
