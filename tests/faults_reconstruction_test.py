"""What may be wrong with photographs and folders of a reconstruction: each is one fault, and the rest is done."""

import os

import numpy as np
import pillow_heif
import pytest
import reconstruction_run_test as runs
from PIL import Image

from tfface import files
from tfface.photographs import photograph
from tfface.photographs.detector import DetectedFace
from tfface.reconstruction import loaded_model, reconstruction_run
from tfface.reconstruction.input_files import find_people
from tfface.reconstruction.results import DONE, FAILED


@pytest.fixture(autouse=True)
def _red_squares_are_faces(monkeypatch):
    monkeypatch.setattr(reconstruction_run, "shared_mtcnn", lambda: runs.detector)
    monkeypatch.setattr(loaded_model, "LoadedModel", runs._opened)


def test_one_bad_entry_is_one_fault(tmp_path):
    """Links that lead nowhere or round in a circle, names that are no UTF-8 or hold control characters."""
    root, out = tmp_path / "people", tmp_path / "out"
    runs.save(root / "anna" / "a.png", (20, 20, 40))
    for name in ("gone.png", "round.png"):
        (root / "anna" / name).symlink_to(name if name == "round.png" else "nowhere.png")
    latin = os.fsdecode(b"caf\xe9")
    (root / "anna" / f"{latin}.png").write_bytes((root / "anna" / "a.png").read_bytes())
    (root / "anna" / "x\x1b[2J\n.png").write_bytes(b"no photograph")
    runs.save(root / latin / "a.png", (20, 20, 40))
    (root / "ben").symlink_to(tmp_path / "nobody")
    (root / "carl").symlink_to("carl")
    (root / "dora.png").symlink_to("nowhere.png")
    summary, told = runs.reconstruct(out, root)
    assert {result.name: result.status for result in summary.results} == {
        "anna": DONE,
        "ben": FAILED,
        "caf\\xe9": FAILED,
        "carl": FAILED,
        "dora.png": FAILED,
    }
    prefix = str(root)
    assert sorted(line.removeprefix(prefix) for line in told) == [
        "/anna/caf\\xe9.png: its name is not UTF-8; rename it",
        "/anna/gone.png: no such file",
        "/anna/round.png: Too many levels of symbolic links",
        f"/anna/x\\x1b[2J\\n.png: not a photograph that can be read ({', '.join(photograph._formats())})",
        "/ben: a link that leads nowhere",
        "/caf\\xe9/a.png: its name is not UTF-8; rename it",
        "/carl: a link that leads nowhere",
        "/dora.png: a link that leads nowhere",
    ]
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["anna"]
    assert runs.reconstruct(out, root)[0].reused == 1


BOXES = {
    "one pixel": (50, 40, 51, 41),
    "less than one": (50, 40, 50.001, 40.001),
    "first pixel": (0, 0, 1, 1),
    "last pixel": (119, 79, 120, 80),
    "a row": (0, 0, 120, 1),
    "half outside": (-20, -20, 20, 20),
    "outside": (200, 200, 240, 240),
    "nothing": (50, 40, 50, 40),
    "no number": (np.nan,) * 4,
}


def test_faces_of_a_pixel_and_at_the_border_are_cropped_or_refused(tmp_path, monkeypatch):
    """Windows of test-time augmentation, too: of a photograph each, whose pixel says which box is found there."""
    boxes = list(BOXES.values())

    def detector(picture):
        low, high = np.reshape(boxes[picture[0, 0, 0]], (2, 2)).astype(float)
        return [DetectedFace(low + runs.FIVE * (high - low), np.concatenate((low, high)), 0.9)]

    monkeypatch.setattr(reconstruction_run, "shared_mtcnn", lambda: detector)
    for number, name in enumerate(BOXES):
        pixels = runs.picture((20, 20, 40))
        pixels[:2, :2] = number
        (tmp_path / "people" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "people" / name / "a.png")
    summary, told = runs.reconstruct(tmp_path / "out", tmp_path / "people")
    refused = {result.name for result in summary.results if result.status == FAILED}
    assert refused == {"nothing", "no number"}, told
    assert all("face: its points and its box are one" in line for line in told)
    for name in BOXES.keys() - refused:
        shown = runs.content(tmp_path / "out" / name)["photographs"][0]
        assert np.isfinite([*shown["quaternion"], *shown["translation"]]).all()


def test_the_output_may_lie_among_the_photographs(tmp_path):
    """A second run finds the people of the first, not what was written for them."""
    photographs, people = tmp_path / "photographs", tmp_path / "people"
    runs.save(photographs / "a.png", (20, 20, 40))
    runs.save(people / "anna" / "a.png", (20, 20, 40))
    for images, out in (
        (photographs, photographs / "out"),
        (photographs, photographs / "runs" / "first"),
        (people, people / "out"),
        (people, people / "anna" / "out"),
    ):
        for reused in (0, 1):
            summary, told = runs.reconstruct(out, images)
            assert not told
            assert [result.status for result in summary.results] == [DONE]
            assert summary.reused == reused
    for folder in (photographs, people):
        with pytest.raises(ValueError, match="out: expected another folder than that of the photographs"):
            runs.reconstruct(folder, folder)


def test_names_with_commas(tmp_path, monkeypatch):
    """The flag takes a list apart at its commas."""
    monkeypatch.chdir(tmp_path)
    for name in ("Meier, Anna.png", "b.png", "c,d,e.png"):
        runs.save(tmp_path / name, (20, 20, 40))
    (person,) = find_people(["b.png", "Meier", "Anna.png", "c", "d", "e.png"], False, "out")
    assert [path.name for path in person.files] == ["b.png", "Meier, Anna.png", "c,d,e.png"]
    with pytest.raises(ValueError, match="Meier: no such file or folder"):
        find_people(["Meier", "Anne.png"], False, "out")


@pytest.mark.parametrize("name", ["a.heic", "from_a_telephone.jpg"])
def test_heic_is_read(tmp_path, name):
    path = tmp_path / name
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, 48:] = (250, 10, 10)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6  # lies on its side
    pillow_heif.register_heif_opener()
    picture.save(path, format="HEIF", quality=95, exif=exif.tobytes())
    read = photograph.read(path, 1 << 20)
    assert read.pixels.shape == (96, 64, 3)
    np.testing.assert_allclose(read.pixels[[10, 80], 32], [[0, 0, 0], [250, 10, 10]], atol=12)
    with pytest.raises(ValueError, match="at most 100 pixels, its header says"):
        photograph.read(path, 100)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ValueError, match=name):
        photograph.read(path, 1 << 20)


def test_heic_is_named_where_it_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(photograph, "_formats", lambda: photograph.FORMATS)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    summary, told = runs.reconstruct(tmp_path / "out", tmp_path / "a.heic")
    assert summary.done == 0
    assert told[0].endswith("; HEIC needs pillow-heif: pip install tfface[reconstruct]")


def test_a_second_run_on_one_output_is_refused(tmp_path):
    path, out = runs.save(tmp_path / "a.png", (20, 20, 40)), tmp_path / "out"
    with files.held(out, "out"), pytest.raises(ValueError, match=rf"out: {out} is in use by another run \(process"):
        runs.reconstruct(out, path)
    assert runs.reconstruct(out, path)[0].done == 1
