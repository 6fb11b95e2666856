"""Hostile models (.keras) and 3DMMs (.h5) against every command that opens one.

Each says one line that names the file, and ends with exit code 1; what the readers refuse, and why, is in
`hostile_models_test.py` and `fuzz_models_test.py`.
"""

import importlib
import pathlib
import zipfile

import fuzzing
import h5py
import hostile_models_test
import keras
import numpy as np
import pytest
import reconstruction_run_test
import serving_tiny
import small_face
import tiny_people
from annotations_test import POINTS, pts

from tfface import config
from tfface.geometry import mesh

MODELS = ("cut", "bomb", "claims", "lambda")
FACES = ("cut", "claims", "link")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> pathlib.Path:
    """A folder of models and 3DMMs, each named by what is wrong with it, of photographs and of a scan."""
    folder = tmp_path_factory.mktemp("hostile")
    sound = serving_tiny.keras_file()
    (folder / "cut.keras").write_bytes(sound.read_bytes()[: sound.stat().st_size // 2])
    with zipfile.ZipFile(sound) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    weights = folder / "weights.h5"
    weights.write_bytes(parts[hostile_models_test.WEIGHTS])
    with h5py.File(weights, "r+") as file:
        del file[hostile_models_test.KERNEL]
        hostile_models_test._claim(file, None)
    for name, content in (("claims", weights.read_bytes()), ("bomb", bytes(hostile_models_test.LARGE))):
        hostile_models_test._write(folder / f"{name}.keras", {**parts, hostile_models_test.WEIGHTS: content})
    inputs = keras.Input((3,))
    outputs = keras.layers.Lambda(lambda x, ran=str(folder / "ran"): (open(ran, "w").close(), x)[1])(inputs)
    keras.Model(inputs, outputs).save(folder / "lambda.keras")
    (folder / "ran").unlink()

    face = small_face.face_model()
    face.save(folder / "sound.h5")
    content = (folder / "sound.h5").read_bytes()
    (folder / "cut.h5").write_bytes(content[: len(content) // 2])
    for name in ("claims", "link"):
        (folder / f"{name}.h5").write_bytes(content)
        with h5py.File(folder / f"{name}.h5", "r+") as file:
            del file["shape/model/mean"]
            if name == "claims":
                file.create_dataset("shape/model/mean", (2**40,), "f4", chunks=(2**10,))
            else:
                file["shape/model/mean"] = h5py.ExternalLink(str(folder / "sound.h5"), "shape/model/mean")

    reconstruction_run_test.save(folder / "photographs" / "a.png", (10, 20, 30))
    (folder / "photographs" / "a.pts").write_text(pts(POINTS + 1))
    corners = np.stack(np.meshgrid(*(np.linspace(0, 90, 40),) * 2, [0.0]), axis=-1).reshape(-1, 3)
    first = np.arange(40 * 39)[np.arange(40 * 39) % 40 < 39]
    (folder / "scans").mkdir()
    mesh.write_mesh(folder / "scans" / "scan.ply", mesh.Mesh(corners, first[:, None] + [0, 1, 40]))
    return folder


def _options(name: str, path: pathlib.Path, folder: pathlib.Path) -> dict[str, object]:
    """Those of a command that opens `path`; outputs are filled in by `_said`."""
    records, photographs = str(tiny_people.records_folder()), str(folder / "photographs")
    named, images = {"models": (f"A={path}",)}, {"images": (photographs,)}
    quick = {"batch_size": 4, "encoder_dtype": "float32"}  # precisions are not timed
    return {
        "calibrate_estimates": {"model": str(path), "records": records},
        "app": {"model": str(path), "folder": str(folder / "people"), "port": 0},
        "build_model": {"scans": str(folder / "scans"), "template": str(path)},
        "evaluate": {"records": records, **named},
        "evaluate_photographs": {"photographs": photographs, "landmarks": photographs, **named},
        "export": {"model": str(path)},
        "import_model": {"source": str(path)},
        "prepare": {"people": "model", "face_model": str(path), "subjects": 4},
        "reconstruct": {"model": str(path), **images},
        "reconstruct --server": {"model": None, "server": "127.0.0.1:9", "face_model": str(path), **images},
        "rig": {"scan": str(folder / "scans" / "scan.ply"), "template": str(path)},
        "shrink": {"model": str(path)},
        "study": {"records": records, "averaged": (), **named},
        "train": {**quick, "records": records, "initialize_from": str(path)},
        "train --encoder_weights": {**quick, "records": records, "encoder_weights": str(path)},
    }[name]


_OUTPUTS = ("out", "output")


def _said(name: str, options: dict[str, object], output: pathlib.Path, monkeypatch) -> str:
    """What a command says as it ends with exit code 1."""

    def given(group):
        outputs = {key: str(output) for key in _OUTPUTS if key in group.__dataclass_fields__}
        return group(**{**outputs, **options})

    monkeypatch.setattr(config, "values", given)
    monkeypatch.setattr(config, "flagfile", lambda _: "")
    monkeypatch.setattr(config, "errors_only", lambda: None)
    module = importlib.import_module(f"tfface.{name.partition(' ')[0]}")
    with pytest.raises(SystemExit) as ended:
        module.main([name])
    assert isinstance(ended.value.code, str)  # which Python prints to standard error, with exit code 1
    return ended.value.code


OF_MODELS = ("app", "evaluate", "evaluate_photographs", "export", "reconstruct", "reconstruct --server", "shrink")
OF_MODELS += ("study", "train", "calibrate_estimates")
OF_FACES = ("build_model", "import_model", "prepare", "reconstruct --server", "rig", "train --encoder_weights")


def _cases(names: tuple[str, ...], harms: tuple[str, ...]) -> list[tuple[str, str]]:
    """Two harms a command, in turn; with TFFACE_FUZZ all of them."""
    chosen = len(harms) if fuzzing.EXAMPLES else 2
    return [(name, harms[(index + turn) % len(harms)]) for index, name in enumerate(names) for turn in range(chosen)]


def _is_one_line_about(path: pathlib.Path, name: str, said: str) -> None:
    assert said.startswith(f"tfface.{name.partition(' ')[0]}: ")
    assert str(path) in said
    assert len(said.splitlines()) == 1


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize(("name", "harm"), _cases(OF_MODELS, MODELS))
def test_a_hostile_model_is_told_in_one_line(hostile, tmp_path, monkeypatch, name, harm):
    path = hostile / f"{harm}.keras"
    said = _said(name, _options(name, path, hostile), tmp_path / "out", monkeypatch)
    _is_one_line_about(path, name, said)
    assert not (hostile / "ran").exists()


@pytest.mark.parametrize(("name", "harm"), _cases(OF_FACES, FACES))
def test_a_hostile_3dmm_is_told_in_one_line(hostile, tmp_path, monkeypatch, name, harm):
    path = hostile / f"{harm}.h5"
    _is_one_line_about(path, name, _said(name, _options(name, path, hostile), tmp_path / "out.h5", monkeypatch))


def test_every_command_is_among_them_or_opens_neither():
    """Others open meshes, MediaPipe's bundle, SavedModels, pictures of skins."""
    programs = {
        path.stem for path in pathlib.Path(config.__file__).parent.glob("*.py") if "__main__" in path.read_text()
    }
    tried = {name.partition(" ")[0] for name in (*OF_MODELS, *OF_FACES)}
    assert programs - tried == {"build_albedo", "calibrate_landmarks", "evaluate_meshes", "serve", "simulate_scans"}
