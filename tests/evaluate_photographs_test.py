"""From a folder of photographs to the report, with a detector of red squares and a model that reads their blue."""

import dataclasses
import json

import numpy as np
import pytest
import small_face
from PIL import Image

from tfface import schema
from tfface.photographs import face_landmarker
from tfface.photographs.detector import DetectedFace
from tfface.reconstruction import loaded_model, photograph_evaluation, reconstruction_run
from tfface.reconstruction.options import PhotographEvaluationOptions
from tfface.reconstruction.predictor import Prediction
from tfface.reconstruction.test_time_augmentation import WINDOWS

FACE_MODEL = small_face.face_model()
FIVE = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
CODES = {50: (1.0, 0.2, 0, 0), 100: (0.9, 0.3, 0, 0), 150: (-0.2, 1.0, 0, 0), 200: (-0.3, 0.8, 0, 0)}
SIZE_HW = 90, 160


def detector(pixels):
    """Every red square is a face."""
    red = pixels[..., 0] > 180
    found = []
    for columns in np.split(np.arange(red.shape[1]), np.flatnonzero(np.diff(red.any(axis=0).astype(int))) + 1):
        if red[:, columns].any():
            rows = np.flatnonzero(red[:, columns].any(axis=1))
            low, high = np.array([columns[0], rows[0]], float), np.array([columns[-1] + 1, rows[-1] + 1], float)
            found.append(DetectedFace(low + FIVE * (high - low), np.concatenate((low, high)), 0.99))
    return found


class BlueReader:
    """A model whose coefficients the blue of a crop's middle tells; a frontal face half a metre and more away."""

    num_views, size, takes_fewer, face_model, surface = 1, 32, False, FACE_MODEL, None

    def __init__(self):
        self.asked, self.stops_at, self.calls = 0, None, []

    def predict(self, sets):
        self.calls.append(len(sets))
        photographs = len(sets) // len(WINDOWS)  # of each, so many crops
        if self.stops_at is not None and self.asked + photographs > self.stops_at:
            raise OSError("stopped")
        self.asked += photographs
        found = []
        for (crop,) in sets:
            blue = int(crop.pixels[16, 16, 2])
            code = np.array(CODES[min(CODES, key=lambda known: abs(known - blue))], np.float32)
            depth = 220 * crop.intrinsics[0, 0] / 32
            pose = np.array([[0, 0, 0, 1]], np.float32), np.array([[0, 0, depth]], np.float32)
            found.append(Prediction(code, FACE_MODEL.decode(code), *pose))
        return found


@pytest.fixture
def model(monkeypatch, tmp_path):
    """The one model there is; its file."""
    only = BlueReader()
    monkeypatch.setattr(loaded_model, "LoadedModel", lambda *_: only)
    monkeypatch.setattr(reconstruction_run, "shared_mtcnn", lambda: detector)
    monkeypatch.delenv(face_landmarker.BUNDLE_VARIABLE, raising=False)
    (tmp_path / "model.keras").write_bytes(b"weights")
    return only


def save(path, *squares, orientation=1):
    """A photograph of red squares (x, y, side, blue)."""
    pixels = np.zeros((*SIZE_HW, 3), np.uint8) + np.uint8(90)
    for x, y, side, blue in squares:
        pixels[y : y + side, x : x + side] = (230, 10, blue)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if orientation == 6:  # its pixels are stored a quarter turn to the left
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6
    image.save(path, exif=exif)


def box(x, y, side):
    """68 points around a square, in JSON's way to count."""
    turns = np.linspace(0, 2 * np.pi, 68)
    return (np.stack((np.cos(turns), np.sin(turns)), -1) * side / 2 + (x + side / 2, y + side / 2) - 0.5).tolist()


@pytest.fixture
def photographs(tmp_path):
    """Two people twice, once turned and once beside a stranger; nobody, a stranger, and a damaged file."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    save(folder / "a1.png", (20, 20, 40, 50))
    save(folder / "a2.png", (20, 20, 50, 100), orientation=6)
    save(folder / "b1.png", (30, 30, 30, 150), (90, 10, 60, 50))
    save(folder / "b2.png", (60, 20, 40, 200), (10, 10, 30, 50))
    save(folder / "nobody.png")
    save(folder / "stranger.png", (100, 30, 40, 50))
    (folder / "broken.png").write_bytes(b"no picture")
    turned = [[y, SIZE_HW[1] - 1 - x] for x, y in box(20, 20, 50)]
    marked = {"a1.png": box(20, 20, 40), "a2.png": turned, "b1.png": box(30, 30, 30)}
    marked |= {name: box(20, 20, 40) for name in ("nobody.png", "stranger.png", "broken.png", "lost.png")}
    return folder, {name: {"landmarks68": points} for name, points in marked.items()}


def evaluate(tmp_path, folder, marked, **changes):
    (tmp_path / "landmarks.json").write_text(json.dumps(marked))
    (tmp_path / "identities.json").write_text(json.dumps({"a": ["a1.png", "a2.png"], "b": ["b1.png", "b2.png"]}))
    given = PhotographEvaluationOptions(
        photographs=str(folder),
        landmarks=str(tmp_path / "landmarks.json"),
        models=[f"SV={tmp_path / 'model.keras'}"],
        out=str(tmp_path / "out"),
        identities=str(tmp_path / "identities.json"),
        fov=60.0,
        batch_size=2,
    )
    return photograph_evaluation.evaluate(dataclasses.replace(given, **changes), progress=False)


@pytest.fixture
def undrawn(monkeypatch):
    """Sheets of faces are left out."""
    monkeypatch.setattr(photograph_evaluation, "WORST", 0)


@pytest.mark.usefixtures("undrawn")
def test_errors_are_those_of_the_projected_landmarks(model, photographs, tmp_path):
    """Marked where the model puts them but for a shift, they differ by the shift, in turned photographs too."""
    folder, marked = photographs
    first = json.loads((evaluate(tmp_path, folder, marked).files[2]).read_text())["models"][0]["photographs"]
    shifts = {"a1.png": (3.0, 4.0), "a2.png": (0.0, 0.0), "b1.png": (0.0, 1.0)}
    yaws = {"a1.png": -45, "b1.png": 10}
    for name, shift in shifts.items():
        points = np.array(first[name]["landmarks_px"]) + shift - 0.5
        points = np.stack((points[:, 1], SIZE_HW[1] - 1 - points[:, 0]), -1) if name == "a2.png" else points
        marked[name] = {"landmarks68": points.tolist(), "yaw": yaws.get(name)}
    evaluated = evaluate(tmp_path, folder, marked)
    (found,) = evaluated.described["models"]
    for name, shift in shifts.items():
        size = np.sqrt(np.prod(np.ptp(first[name]["landmarks_px"], axis=0)))
        for kind in ("inner_percent", "all_percent"):
            assert found["photographs"][name][kind] == pytest.approx(100 * np.hypot(*shift) / size, abs=1e-4)
    values = [found["photographs"][name]["inner_percent"] for name in shifts]
    assert found["inner_percent"]["count"] == 3
    assert found["inner_percent"]["median"] == pytest.approx(np.median(values))
    assert [group["inner_percent"]["count"] for group in found["by_yaw"]] == [1, 1, 0]
    assert found["identity"]["photographs"] | {"mean_cosine_same": 0, "mean_cosine_different": 0} == {
        "auc": 1.0,
        "people": 2,
        "same": 2,
        "different": 4,
        "mean_cosine_same": 0,
        "mean_cosine_different": 0,
    }
    assert found["photographs"]["b2.png"]["coefficients"] == pytest.approx(CODES[200])  # the largest face
    assert found["photographs"]["b1.png"]["coefficients"] == pytest.approx(CODES[150])  # the marked one


def test_what_cannot_be_measured_is_named_and_the_report_says_so(model, photographs, tmp_path):
    folder, marked = photographs
    evaluated = evaluate(tmp_path, folder, marked)
    misses = dict(evaluated.misses)
    assert misses.pop("broken.png").startswith("not a photograph that can be read")
    assert misses == {
        "lost.png": "no such file",
        "nobody.png": "no face found",
        "stranger.png": "no face found where the landmarks are, but 1 elsewhere",
    }
    (found,) = evaluated.described["models"]
    assert (found["annotated_misses"], found["all_percent"]["count"]) == (4, 3)
    names = [path.name for path in evaluated.files]
    assert names == ["report.md", "report.html", "photographs.json", "worst_SV.png"]
    text, page, _, worst = (path.read_bytes() for path in evaluated.files)
    assert json.loads(evaluated.files[2].read_text())["models"] == [found]
    for part in ("| SV    |        3 |      4 |", "nobody.png", "no face found where", "![SV: largest errors"):
        assert part in text.decode()
    assert b"data:image/png;base64," in page
    assert "1.000" in evaluated.tables
    assert worst[:4] == b"\x89PNG"
    red, green, _ = np.moveaxis(np.asarray(Image.open(evaluated.files[3]).convert("RGB"), int), -1, 0)
    assert ((green > 180) & (red < 120)).sum() > 3 * 68  # three faces with marked points
    assert ((red > 230) & (green < 120)).sum() > 3 * 68


@pytest.mark.usefixtures("undrawn")
def test_each_crop_is_looked_at_once_before_unless_that_is_off(model, photographs, tmp_path):
    folder, marked = photographs
    evaluate(tmp_path, folder, marked, batch_size=4, reframe="off")
    windows = list(model.calls)
    assert sum(windows) == len(WINDOWS) * 4
    model.calls.clear()
    evaluate(tmp_path, folder, marked, batch_size=4)  # another option: predicted anew
    assert model.calls == [each for count in windows for each in (count // len(WINDOWS), count)]


@pytest.mark.usefixtures("undrawn")
def test_what_was_predicted_is_kept(model, photographs, tmp_path):
    """A run that ends early is gone on with; a changed photograph, landmark or option is predicted anew."""
    folder, marked = photographs
    model.stops_at = 3
    with pytest.raises(OSError, match="stopped"):
        evaluate(tmp_path, folder, marked)
    model.stops_at = None
    one = evaluate(tmp_path, folder, marked).described["models"]
    assert model.asked <= 3 + 2  # of four photographs, at most those of the unfinished batch twice
    before = model.asked
    assert evaluate(tmp_path, folder, marked).described["models"] == one
    assert model.asked == before
    save(folder / "nobody.png", (20, 20, 40, 50))
    marked["a1.png"] = {"landmarks68": box(21, 20, 40)}
    assert "nobody.png" not in evaluate(tmp_path, folder, marked).misses
    assert model.asked == before + 2
    evaluate(tmp_path, folder, marked, fov=50.0)
    assert model.asked == before + 2 + 5


def test_models_that_cannot_be_measured_are_refused(model, photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "num_views", 3)
    with pytest.raises(ValueError, match="models: SV: takes 3 photographs a person, expected one that takes one"):
        evaluate(tmp_path, *photographs)
    monkeypatch.setattr(model, "num_views", 1)
    known = {name: vertex for name, vertex in FACE_MODEL.landmarks.items() if name != schema.NOSE_TIP}
    monkeypatch.setattr(model, "face_model", dataclasses.replace(FACE_MODEL, landmarks=known))
    with pytest.raises(ValueError, match="SV: its 3DMM lacks 1 of 68 landmarks, the first is nose_ridge_3"):
        evaluate(tmp_path, *photographs)
