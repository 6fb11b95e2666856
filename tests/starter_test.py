"""The model that the package carries."""

import json
import shutil

import numpy as np
import pytest
import serving_tiny
from reconstruction_run_test import _red_squares_are_faces_and_models_are_opened_once, reconstruct, save  # noqa: F401

import tfface
from tfface import starter


@pytest.fixture
def carried(tmp_path, monkeypatch):
    """A package that carries a tiny model."""
    folder = tmp_path / "assets"
    folder.mkdir()
    shutil.copy(serving_tiny.keras_file(), folder / "starter.keras")
    monkeypatch.setattr(starter, "FOLDER", folder)
    return folder


def test_the_starter_is_loaded_by_its_name(carried):
    assert tfface.load("starter").count_params() == tfface.load(serving_tiny.keras_file()).count_params()


def test_reconstruct_takes_the_starter_if_no_model_is_named(carried, tmp_path):
    path = save(tmp_path / "a.png", (20, 20, 40))
    for model in (None, "starter"):
        assert reconstruct(tmp_path / str(model), path, model=model)[0].done == 1
    reconstruct(tmp_path / "named", path)
    found = [json.loads((tmp_path / name / "reconstruction.json").read_text()) for name in ("None", "starter", "named")]
    assert len({one["face_model"] for one in found}) == 1
    for one in found[:2]:
        np.testing.assert_allclose(one["coefficients"], found[2]["coefficients"], atol=1e-5)


def test_a_package_without_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(starter, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"make model, in a checkout, makes one; or name yours, --model=PATH"):
        tfface.load("starter")
    with pytest.raises(FileNotFoundError, match="carries no model to start with"):
        reconstruct(tmp_path / "out", save(tmp_path / "a.png", (20, 20, 40)), model=None)


def _damaged(content, rng):
    """One bit is another."""
    changed = bytearray(content)
    changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
    return bytes(changed)


def test_bits_that_flipped_are_found_or_change_nothing(carried, tmp_path):
    """As of a bad disk or a cut installation: an error that says what to do, or the very same weights."""
    path, rng, refusals = carried / "starter.keras", np.random.default_rng(4), []
    sound, expected = path.read_bytes(), tfface.load("starter").get_weights()
    for _ in range(8):
        path.write_bytes(_damaged(sound, rng))
        try:
            got = tfface.load("starter").get_weights()
        except ValueError as error:
            refusals.append(str(error))
        else:
            for one, other in zip(got, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    assert len(refusals) > 4
    assert all(text.endswith("; this installation is damaged: install tfface again") for text in refusals)
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(ValueError, match="install tfface again"):
        reconstruct(tmp_path / "out", save(tmp_path / "a.png", (20, 20, 40)), model=None)
