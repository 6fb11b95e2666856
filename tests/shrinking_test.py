"""A trained model as a small file: what may be left out is left out, and the file opens like any other."""

import os

import keras
import numpy as np
import pytest
import tiny

import tfface
from tfface.models import FaceModel, mlp, shrinking
from tfface.models.heads import SHAPE, TRANSLATION


def model_with_idle_units(kind="multi_view"):
    """Three of the eight hidden units of every MLP lead to nothing."""
    model = tiny.randomized(tiny.build(kind))
    for head in FaceModel(model).regressor.heads:
        output = layers_of(model, head)[2]
        kernel, bias = output.get_weights()
        kernel[[1, 4, 6]] = 0
        output.set_weights([kernel, bias])
    return model


def layers_of(model, head):
    return mlp.layers(FaceModel(model).regressor.mlp(head))


def predictions(model):
    return {key: np.asarray(value) for key, value in model(tiny.inputs(model), training=False).items()}


def hidden_units(model):
    return {head: layers_of(model, head)[1].units for head in FaceModel(model).regressor.heads}


@pytest.mark.parametrize("kind", ["single_view", "multi_view"])
def test_units_that_lead_to_nothing_go_and_nothing_changes(kind):
    model = model_with_idle_units(kind)
    small = shrinking.prune(model, 0.0)
    assert hidden_units(small) == dict.fromkeys(FaceModel(model).regressor.heads, 5)
    expected = predictions(model)
    for key, value in predictions(small).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-4, err_msg=key)
    assert hidden_units(model)[SHAPE] == 8
    assert FaceModel(small).shape_decoder.digest == FaceModel(model).shape_decoder.digest


def test_a_model_starts_from_one_whose_units_were_removed_and_says_the_same():
    model = model_with_idle_units("single_view")
    small, again = shrinking.prune(model, 0.0), tiny.build("single_view")
    assert sorted(FaceModel(again).initialize(FaceModel(small))) == sorted(FaceModel(small)._parts())
    expected = predictions(model)
    for key, value in predictions(again).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-4, err_msg=key)
    assert hidden_units(shrinking.prune(again, 0.0)) == hidden_units(small), "units beyond those begin unheard"
    assert "shape_mlp" not in FaceModel(small).initialize(FaceModel(model)), "it has no room for all units"


def test_the_smallest_units_go_first():
    model = model_with_idle_units("single_view")
    output = layers_of(model, SHAPE)[2]
    kernel, bias = output.get_weights()
    kernel[2] = 50.0
    output.set_weights([kernel, bias])
    small = shrinking.prune(model, 0.01)
    assert hidden_units(small)[SHAPE] == 1
    kept = layers_of(small, SHAPE)[2].get_weights()[0]
    np.testing.assert_array_equal(kept, kernel[[2]])
    assert hidden_units(small)[TRANSLATION] >= 3
    with pytest.raises(ValueError, match="share: expected"):
        shrinking.prune(model, 1.0)


def test_a_file_of_half_precision_opens_like_any_other(tmp_path):
    model = model_with_idle_units("single_view")
    model.save(tmp_path / "whole.keras")
    shrinking.save_half(model, tmp_path / "small" / "half.keras")
    assert os.listdir(tmp_path / "small") == ["half.keras"]
    sizes = [os.path.getsize(path) for path in (tmp_path / "whole.keras", tmp_path / "small" / "half.keras")]
    assert sizes[1] < 0.6 * sizes[0]
    opened = keras.saving.load_model(tmp_path / "small" / "half.keras")
    for loaded, weight in zip(opened.weights, model.weights, strict=True):
        assert loaded.dtype == weight.dtype
        np.testing.assert_allclose(loaded.numpy(), weight.numpy(), rtol=2.5e-3, atol=1e-6)
    assert FaceModel(opened).morphable_model.digest() == FaceModel(model).shape_decoder.digest
    expected = predictions(model)
    for key, value in predictions(tfface.load(tmp_path / "small" / "half.keras")).items():
        np.testing.assert_allclose(value, expected[key], atol=0.01 * max(1, np.abs(expected[key]).max()), err_msg=key)


def test_what_is_trained_on_a_small_files_3dmm_and_made_small_itself_knows_the_records_of_both(tmp_path):
    face = tiny.face_model()
    for name in ("first", "second"):
        model = tiny.randomized(tiny.build("single_view", face=face))
        shrinking.save_half(model, tmp_path / f"{name}.keras")
        face = FaceModel(tfface.load(tmp_path / f"{name}.keras")).morphable_model
        assert face.digest() == FaceModel(model).morphable_model.digest() == tiny.face_model().digest()


def test_weights_beyond_half_precision_are_refused_and_the_old_file_stays(tmp_path):
    model = model_with_idle_units("single_view")
    output = layers_of(model, SHAPE)[2]
    kernel, bias = output.get_weights()
    output.set_weights([kernel, bias + 1e6])
    (tmp_path / "half.keras").write_text("old")
    with pytest.raises(ValueError, match="too large for half precision"):
        shrinking.save_half(model, tmp_path / "half.keras")
    assert (tmp_path / "half.keras").read_text() == "old"
