"""Models (.keras) and HDF5 weights that were made to do harm: each is refused in one error that names the file.

Every command that opens one does so by these readers; tests/security_test.py holds that.
"""

import json
import resource
import zipfile

import h5py
import keras
import numpy as np
import pytest
import serving_tiny
import tiny

import tfface
from tfface.models.encoders import vgg16
from tfface.reconstruction import loaded_model

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
KERNEL = "layers/functional/layers/conv2d/vars/0"
LARGE = 1 << 28
"""Bytes that a small file may claim; reading them would show."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, bytes]:
    """The entries of a sound model, of VGG-16, whose kernels have the shapes that `HARM` gives them."""
    path = tmp_path_factory.mktemp("sound") / "sound.keras"
    tiny.build("single_view", encoder="vgg16").save(path)
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def _write(path, parts):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def _refused(path, open_model=tfface.load) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=path.name) as refused:
        open_model(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGE >> 11  # kB: half of it
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (CONFIG, b"{"),
        (CONFIG, b"[" * 100_000),
        (CONFIG, b"[]"),
        (CONFIG, b"\xff\xfe"),
        (CONFIG, json.dumps({"module": "os", "class_name": "system", "config": {}}).encode()),
        (CONFIG, None),
        (WEIGHTS, None),
        (WEIGHTS, b"no HDF5"),
    ],
)
def test_entries_that_are_damaged_or_missing(parts, tmp_path, name, content):
    changed = {key: value for key, value in parts.items() if key != name}
    if content is not None:
        changed[name] = content
    _write(tmp_path / "a.keras", changed)
    _refused(tmp_path / "a.keras")


@pytest.mark.parametrize("open_model", [tfface.load, loaded_model.open_face_model])
def test_files_that_are_cut_changed_or_no_archives(tmp_path, open_model):
    whole, path = serving_tiny.keras_file().read_bytes(), tmp_path / "a.keras"
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 255
    for content in (b"", b"text", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(content)
        _refused(path, open_model)


def test_a_lambda_is_not_run(tmp_path):
    path, ran = tmp_path / "lambda.keras", tmp_path / "ran"
    inputs = keras.Input((3,))
    outputs = keras.layers.Lambda(lambda x, ran=str(ran): (open(ran, "w").close(), x)[1])(inputs)
    keras.Model(inputs, outputs).save(path)
    ran.unlink()
    assert "Lambda" in _refused(path)
    assert not ran.exists()


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_zip_bomb_is_not_unpacked(parts, tmp_path, name):
    path = tmp_path / "bomb.keras"
    content = parts[name][:1000] + bytes(LARGE)
    _write(path, {**{key: value for key, value in parts.items() if key == CONFIG}, name: content})
    assert path.stat().st_size < LARGE // 20
    del content
    assert "bytes" in _refused(path)


def _link(file, other):
    file[KERNEL] = h5py.ExternalLink(str(other), KERNEL)


def _raw(file, other):
    file.create_dataset(KERNEL, (3, 3, 3, 64), "f4", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def _virtual(file, other):
    layout = h5py.VirtualLayout((3, 3, 3, 64), "f4")
    layout[:] = h5py.VirtualSource(str(other), KERNEL, (3, 3, 3, 64))
    file.create_virtual_dataset(KERNEL, layout)


def _claim(file, _):
    file.create_dataset(KERNEL, (2**20, 2**20), "f4", chunks=(2**10, 2**10), compression="gzip")


def _circle(file, _):
    file[KERNEL] = file["layers"]


HARM = [_link, _raw, _virtual, _claim, _circle]


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("harm", HARM)
def test_weights_that_lead_elsewhere_or_claim_too_much(parts, tmp_path, harm):
    other = tmp_path / "other.h5"
    other.write_bytes(parts[WEIGHTS])
    weights = tmp_path / "weights.h5"
    weights.write_bytes(parts[WEIGHTS])
    with h5py.File(weights, "r+") as file:
        del file[KERNEL]
        harm(file, other)
    _write(tmp_path / "a.keras", {**parts, WEIGHTS: weights.read_bytes()})
    _refused(tmp_path / "a.keras")


@pytest.mark.parametrize("harm", HARM)
def test_encoder_weights_that_lead_elsewhere_or_claim_too_much(tmp_path, monkeypatch, harm):
    """--encoder_weights=FILE."""
    monkeypatch.setattr(vgg16, "_CONVOLUTIONS", {"block1": 1})
    path, other = tmp_path / "weights.h5", tmp_path / "other.h5"
    for file in (path, other):
        with h5py.File(file, "w") as opened:
            opened["layers/block1_conv1/vars/1"] = np.zeros(64, np.float32)
            opened[KERNEL] = np.zeros((3, 3, 3, 64), np.float32)
    with h5py.File(path, "r+") as opened:
        del opened[KERNEL]
        harm(opened, other)
        opened.move(KERNEL, "layers/block1_conv1/vars/0")
    encoder = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(64, 3, name="block1_conv1")])
    _refused(path, lambda name: vgg16.ENCODER.load(encoder, name))
