"""Folders, videos and servers, from files to results: with a detector of red squares and tiny models."""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
import serving_tiny
import tensorflow as tf
from PIL import Image

import tfface
from tfface import models
from tfface.data import preprocess
from tfface.geometry import camera
from tfface.photographs import face_landmarker
from tfface.photographs.detector import DetectedFace
from tfface.reconstruction import loaded_model, progress, reconstruction_run
from tfface.reconstruction.loaded_model import LoadedModel
from tfface.reconstruction.options import ReconstructionOptions
from tfface.reconstruction.predictor import Crop
from tfface.reconstruction.results import DONE, FAILED

FIVE = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])


def detector(picture):
    """Every red square is a face; squares stand in columns of their own."""
    red = (picture[..., 0] > 180) & (picture[..., 1] < 90) & (picture[..., 2] < 90)
    columns = np.flatnonzero(red.any(axis=0))
    found = []
    for run_of_columns in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
        if len(run_of_columns) > 5:
            rows = np.flatnonzero(red[:, run_of_columns].any(axis=1))
            low = np.array([run_of_columns[0], rows[0]], float)
            high = np.array([run_of_columns[-1] + 1, rows[-1] + 1], float)
            found.append(DetectedFace(low + FIVE * (high - low), np.concatenate((low, high)), 0.99))
    return found


@functools.cache
def _opened(path, batch_size):
    return LoadedModel(path, batch_size)


@pytest.fixture(autouse=True)
def _red_squares_are_faces_and_models_are_opened_once(monkeypatch):
    monkeypatch.setattr(reconstruction_run, "shared_mtcnn", lambda: detector)
    monkeypatch.setattr(loaded_model, "LoadedModel", _opened)


def picture(*squares, size=(80, 120)):
    """A photograph with red squares (x, y, side) before a texture."""
    rows, columns = np.indices(size)
    pixels = np.stack((40 + columns % 50, 100 + rows % 80, 90 + (rows * columns) % 70), axis=-1).astype(np.uint8)
    for x, y, side in squares:
        pixels[y : y + side, x : x + side] = (230, 10, 10)
        pixels[y + side // 3, x + side // 4 : x + side // 2] = (200, 60, 60)
    return pixels


def save(path, *squares):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(*squares)).save(path)
    return str(path)


def reconstruct(out, images, **options):
    """Runs with numbers alone; the lines that were told come back beside the summary."""
    told = []
    given = {"model": str(serving_tiny.keras_file()), "outputs": (), "workers": 2, **options}
    images = [images] if isinstance(images, str | os.PathLike) else images
    summary = reconstruction_run.reconstruct(
        ReconstructionOptions([str(path) for path in images], str(out), **given), progress=False, tell=told.append
    )
    return summary, told


def content(folder):
    return json.loads((folder / "reconstruction.json").read_text())


@pytest.fixture
def people(tmp_path):
    """Four people: one sound, one broken, one with a photograph of nobody, and an empty folder."""
    root = tmp_path / "people"
    save(root / "anna" / "a.png", (20, 20, 40))
    (root / "ben").mkdir()
    (root / "ben" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    save(root / "carl" / "images" / "a.png", (30, 10, 30))
    save(root / "carl" / "images" / "nobody.png")
    (root / "dora").mkdir()
    return root


def test_a_bad_photograph_does_not_stop_the_rest(people, tmp_path):
    out = tmp_path / "out"
    summary, told = reconstruct(out, people)
    assert [(result.name, result.status) for result in summary.results] == [
        ("anna", DONE),
        ("ben", FAILED),
        ("carl", DONE),
        ("dora", FAILED),
    ]
    assert not summary.sound
    assert (summary.done, summary.reused) == (2, 0)
    assert len(told) == 3
    for line, path in zip(told, ("ben/broken.jpg", "carl/images/nobody.png", "dora"), strict=True):
        assert line.startswith(f"{people / path}: ")
        assert "\n" not in line
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["anna", "ben", "carl", "dora"]
    assert lines[2]["photographs"] == [str(people / "carl" / "images" / "a.png")]
    assert lines[2]["faults"] == [told[1]]
    assert sorted(path.name for path in out.iterdir()) == ["anna", "carl", "results.jsonl"]


def test_crops_are_framed_anew_unless_that_is_off(people, tmp_path, monkeypatch):
    framed, reframed = [], reconstruction_run.reframed

    def remembering(given, models):
        framed.extend(one.name for one in given)
        return reframed(given, models)

    monkeypatch.setattr(reconstruction_run, "reframed", remembering)
    reconstruct(tmp_path / "off", people, reframe="off")
    assert framed == []
    summary, _ = reconstruct(tmp_path / "on", people)
    assert sorted(framed) == ["anna", "carl"]  # who have a face
    assert summary.done == 2


def test_what_is_done_is_not_done_again(people, tmp_path):
    """A second run takes over what is sound, and tries again what failed or changed; a line cut off is no line."""
    out = tmp_path / "out"
    reconstruct(out, people)
    before = {name: (out / name / "reconstruction.json").stat().st_mtime_ns for name in ("anna", "carl")}
    with (out / "results.jsonl").open("a") as file:
        file.write('{"name": "dora", "per')
    save(people / "ben" / "good.png", (20, 20, 40))
    (people / "ben" / "broken.jpg").unlink()
    summary, told = reconstruct(out, people)
    assert summary.reused == 2
    assert sorted(result.name for result in summary.results if result.status == DONE) == ["anna", "ben", "carl"]
    assert told == [f"{people / 'dora'}: holds no photograph and no video"]
    assert before == {name: (out / name / "reconstruction.json").stat().st_mtime_ns for name in before}
    assert len((out / "results.jsonl").read_text().splitlines()) == 4

    save(people / "anna" / "a.png", (10, 10, 60))
    (out / "carl" / "reconstruction.json").unlink()
    assert reconstruct(out, people)[0].reused == 1
    assert reconstruct(out, people, fov=50.0)[0].reused == 0


def test_the_numbers_are_those_of_the_original_photograph(tmp_path):
    """Box and landmarks in its pixels, poses and K that project the vertices there, whatever the threads."""
    path = save(tmp_path / "a.png", (20, 20, 40))
    reconstruct(tmp_path / "one", path, fov=60.0, workers=1)
    reconstruct(tmp_path / "two", path, fov=60.0, workers=3)
    found = content(tmp_path / "one")
    assert found == content(tmp_path / "two")
    (shot,) = found["photographs"]
    assert (shot["width"], shot["height"], shot["intrinsics_from"], shot["image"]) == (120, 80, "fov", path)
    assert shot["box"] == [20, 20, 60, 60]
    face_model = models.FaceModel(tfface.load(serving_tiny.keras_file())).morphable_model
    vertices = face_model.decode(np.array(found["coefficients"], np.float32))
    px = camera.project_array(vertices, shot["quaternion"], shot["translation"], shot["intrinsics"])
    for name, index in face_model.landmarks.items():
        assert found["landmarks"][name]["vertex"] == index
        np.testing.assert_allclose(found["landmarks"][name]["mm"], vertices[index], atol=1e-3)
        np.testing.assert_allclose(shot["landmarks_px"][name], px[index], atol=1e-2)
    assert found["face_model"] == face_model.digest()


def test_a_loaded_model_sees_what_the_pipeline_makes_of_a_crop():
    model = tfface.load(serving_tiny.keras_file("multi_view", "mean", 2))
    predictor = LoadedModel(str(serving_tiny.keras_file("multi_view", "mean", 2)), 1)
    assert (predictor.num_views, predictor.size, predictor.takes_fewer) == (2, 32, True)
    crops = [Crop(picture((5, 5, 30), size=(64, 64)), np.diag([200.0, 200, 1])) for _ in range(2)]
    crops[1].intrinsics[:2, 2] = 30
    one, two = predictor.predict([crops[:1], crops])
    images, intrinsics = preprocess.resize(
        tf.stack([crop.pixels for crop in crops])[None],
        tf.constant([[crop.intrinsics for crop in crops]], tf.float32),
        (32, 32),
    )
    expected = model({"images": images, "intrinsics": intrinsics, "view_mask": tf.ones([1, 2])}, training=False)
    np.testing.assert_allclose(two.vertices, expected["vertices"][0], atol=1e-3)
    np.testing.assert_allclose(two.quaternions, expected["quaternions"][0], atol=1e-5)
    assert one.quaternions.shape == (1, 4)
    np.testing.assert_allclose(one.quaternions[0], two.quaternions[0], atol=1e-5)
    with pytest.raises(ValueError, match="crops: expected 1 to 2 of a person, got 0"):
        predictor.predict([[]])


def test_files_that_are_no_models_are_refused(tmp_path):
    (tmp_path / "text.keras").write_text("not a model")
    with pytest.raises(ValueError, match=r"text.keras: not a model of tfface"):
        LoadedModel(str(tmp_path / "text.keras"), 1)
    with pytest.raises(ValueError, match="predicts no poses"):
        LoadedModel(str(serving_tiny.keras_file("shape_only", "concat", 2)), 1)


def test_faces_are_chosen_by_size_by_number_or_all(tmp_path):
    path = save(tmp_path / "pair.png", (10, 20, 30), (60, 20, 45))
    reconstruct(tmp_path / "largest", path)
    assert content(tmp_path / "largest")["photographs"][0]["box"] == [60, 20, 105, 65]
    reconstruct(tmp_path / "first", path, face="0")
    assert content(tmp_path / "first")["photographs"][0]["box"] == [10, 20, 40, 50]
    summary, _ = reconstruct(tmp_path / "all", path, face="all")
    assert [result.folder for result in summary.results] == ["pair-0", "pair-1"]
    assert content(tmp_path / "all" / "pair-1")["photographs"][0]["box"] == [60, 20, 105, 65]
    assert reconstruct(tmp_path / "all", path, face="all")[0].reused == 2
    for face, message in (("2", "face 2 was asked for, counted from 0, but it shows 2"), ("all", "goes with one")):
        images = [path] if face == "2" else [path, save(tmp_path / "b.png", (10, 10, 30))]
        _, told = reconstruct(tmp_path / face, images, face=face)
        assert len(told) == 1
        assert message in told[0]
    with pytest.raises(ValueError, match="face: expected largest, all or a number"):
        reconstruct(tmp_path / "bad", path, face="-1")


def test_who_is_who_in_lists_patterns_and_folders(tmp_path):
    for name in ("x/a.png", "y/a.png"):
        save(tmp_path / name, (20, 20, 40))
    (tmp_path / "x" / ".hidden.png").write_bytes(b"")
    (tmp_path / "x" / "notes.txt").write_text("no photograph")
    summary, _ = reconstruct(tmp_path / "list", [tmp_path / "x" / "a.png", tmp_path / "y" / "a.png"])
    assert [result.name for result in summary.results] == ["a"]
    assert len(content(tmp_path / "list")["photographs"]) == 2
    summary, _ = reconstruct(tmp_path / "folder", tmp_path / "x")
    assert [(result.name, len(result.photographs)) for result in summary.results] == [("x", 1)]
    summary, _ = reconstruct(tmp_path / "each", str(tmp_path / "*" / "a.png"), each=True)
    assert sorted(result.name for result in summary.results) == ["a", "a-2"]
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["a", "a-2", "results.jsonl"]
    for images, message in (
        ([], "expected photographs, a video or a folder"),
        (tmp_path / "z.png", "no such file or folder"),
        (tmp_path / "*.bmp", "no file matches"),
    ):
        with pytest.raises(ValueError, match=message):
            reconstruct(tmp_path / "none", images)
    save(tmp_path / "loose.png")
    with pytest.raises(ValueError, match=r"got loose.png beside the folder"):
        reconstruct(tmp_path / "none", tmp_path)


@pytest.mark.parametrize("faces", [5, 2])
def test_a_video_needs_a_face_in_half_of_its_frames(tmp_path, faces):
    av = pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(7):
            pixels = picture(*([(20, 20, 48)] if number < faces else []), size=(96, 128))
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    summary, told = reconstruct(tmp_path / "out", path, frames=7)
    if faces == 2:
        assert told == [
            f"{path}: a face in only 2 of 7 frames, expected one in at least 50%; cut it to where the person is"
        ]
        assert not summary.done
    else:
        assert not told
        assert summary.results[0].photographs[0].startswith(f"{path}#")
        assert len(summary.results[0].photographs) == faces


def test_a_server_that_takes_few_crops_at_a_time_is_asked_for_few(tmp_path):
    """Test-time augmentation asks for several crops of everybody: what is too many goes by halves."""
    save(tmp_path / "people" / "anna" / "a.png", (20, 20, 40))
    save(tmp_path / "people" / "ben" / "b.png", (30, 10, 30))
    whole, _ = reconstruct(tmp_path / "whole", tmp_path / "people")
    with serving_tiny.serving(serving_tiny.exported(), max_batch_size=2, max_enqueued_batches=1) as server:
        options = {"model": None, "server": f"127.0.0.1:{server.port}", "face_model": str(serving_tiny.keras_file())}
        summary, told = reconstruct(tmp_path / "out", tmp_path / "people", **options)
    assert [result.status for result in (*whole.results, *summary.results)] == [DONE] * 4, told
    for name in ("anna", "ben"):
        expected, got = content(tmp_path / "whole" / name), content(tmp_path / "out" / name)
        np.testing.assert_allclose(got["coefficients"], expected["coefficients"], atol=1e-4)


def test_a_server_gives_the_same_result(tmp_path):
    images = [save(tmp_path / f"{n}.png", (20 + n, 20, 40 + n)) for n in range(2)]
    keras_file = serving_tiny.keras_file("multi_view", "mean", 2)
    face_model = models.FaceModel(tfface.load(keras_file)).morphable_model
    face_model.save(tmp_path / "face.h5")
    other = dataclasses.replace(face_model, mean=face_model.mean + np.float32(1))
    other.save(tmp_path / "other.h5")
    reconstruct(tmp_path / "here", images, model=str(keras_file))
    with serving_tiny.serving(serving_tiny.exported("multi_view", "mean", 2)) as server:
        options = {"model": None, "server": f"127.0.0.1:{server.port}", "face_model": str(tmp_path / "face.h5")}
        reconstruct(tmp_path / "there", images, **options)
        reconstruct(tmp_path / "one", images[0], **{**options, "face_model": str(keras_file)})
        with pytest.raises(ValueError, match=r"predicts 12 vertices from 4 coefficients by another 3DMM"):
            reconstruct(tmp_path / "wrong", images, **{**options, "face_model": str(tmp_path / "other.h5")})
        with pytest.raises(OSError, match="NOT_FOUND"):
            reconstruct(tmp_path / "wrong", images, **options, model_name="nobody")
        with pytest.raises(ValueError, match="a server does not send its 3DMM"):
            reconstruct(tmp_path / "wrong", images, **{**options, "face_model": None})
    here, there = content(tmp_path / "here"), content(tmp_path / "there")
    np.testing.assert_allclose(there["coefficients"], here["coefficients"], atol=1e-4)
    for key, tolerance in (("quaternion", 1e-5), ("translation", 0.05), ("intrinsics", 0)):
        for a, b in zip(here["photographs"], there["photographs"], strict=True):
            np.testing.assert_allclose(b[key], a[key], atol=tolerance, rtol=1e-4 if tolerance else 0)
    assert len(content(tmp_path / "one")["photographs"]) == 1
    with pytest.raises(ValueError, match="expected a model or a server, got both"):
        reconstruct(tmp_path / "both", images, server="127.0.0.1:1")


def test_what_is_asked_for_is_written(tmp_path, monkeypatch):
    written = []
    face = types.SimpleNamespace(gains=np.linspace(0, 2, 5)[None, :, None].repeat(3, axis=-1))

    def write(reconstruction, folder, wanted, **settings):
        written.append((reconstruction.name, folder, wanted, settings))
        if reconstruction.name == "bad":
            raise ValueError("no face can be unwrapped")
        return types.SimpleNamespace(face=face, parts=("head",))

    def write_page(path, made, face, parts):
        written.append((path, made.name, face, parts))

    monkeypatch.setattr(reconstruction_run.outputs, "write", write)
    monkeypatch.setattr(reconstruction_run.page, "write", write_page)
    path = save(tmp_path / "a.png", (20, 20, 40))
    out = tmp_path / "out"
    reconstruct(out, path, outputs=("maps", "page"), texture_size=64, workers=2)
    settings = {"texture_size": 64, "pose": "neutral", "workers": 2}
    assert written == [("a", out, ("maps", "page"), settings), (out / "index.html", "a", face, ("head",))]
    assert content(out)["photographs"][0]["gains"] == [1, 1, 1]
    bad = save(tmp_path / "bad.png", (20, 20, 40))
    summary, told = reconstruct(tmp_path / "bad", bad, outputs=("mesh",))
    assert told == ["bad: no face can be unwrapped"]
    assert not summary.done
    with pytest.raises(ValueError, match="model: expected an address that ends in #sha256="):
        reconstruct(out, path, model="https://example.org/face.keras")
    with pytest.raises(ValueError, match="outputs: expected some of mesh"):
        reconstruct(out, path, outputs=("movie",))


def test_what_cannot_work_fails_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.delenv(face_landmarker.BUNDLE_VARIABLE, raising=False)
    monkeypatch.setattr(reconstruction_run, "open_models", lambda *_: pytest.fail("the model was loaded"))
    path = save(tmp_path / "a.png", (20, 20, 40))
    for option in ("detector", "landmark_source"):
        with pytest.raises(ValueError, match=f"{option}: mediapipe needs its model"):
            reconstruct(tmp_path / "out", path, **{option: "mediapipe"})


def test_the_steps_of_one_person_are_shown(tmp_path, capfd, monkeypatch):
    face = types.SimpleNamespace(gains=None)
    made = types.SimpleNamespace(face=face, parts=())
    monkeypatch.setattr(reconstruction_run.outputs, "write", lambda *_, **__: made)
    monkeypatch.setattr(reconstruction_run.page, "write", lambda *_, **__: None)
    options = {"model": str(serving_tiny.keras_file()), "outputs": ("page",), "workers": 2}
    images, out = [save(tmp_path / "a.png", (20, 20, 40))], str(tmp_path / "out")
    reconstruction_run.reconstruct(ReconstructionOptions(images, out, **options))
    shown = capfd.readouterr().err
    places = [shown.index(step) for step in progress.STEPS]
    assert places == sorted(places)
    assert "5/5" in shown
    reconstruction_run.reconstruct(ReconstructionOptions(images, out, **options))
    assert not capfd.readouterr().err, "nothing is left to do"


def test_the_command_ends_with_one_line_and_a_code(tmp_path):
    path = save(tmp_path / "a.png", (20, 20, 40))
    command = [sys.executable, "-m", "tfface.reconstruct", "--model=missing.keras", f"--images={path}", "--out=out"]
    root = pathlib.Path(reconstruction_run.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "tfface.reconstruct: model: no such file: missing.keras"
    assert not (tmp_path / "out").exists()
