"""The encoders of the registry: what they say of themselves, their weights, and that none of it needs Keras."""

import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tiny

import tfface
from tfface import schema
from tfface.models import FaceModel
from tfface.models.encoders import ENCODERS
from tfface.models.encoders.mobilenet_v2 import ENCODER as MOBILENET_V2
from tfface.models.encoders.vgg16 import ENCODER as VGG16

pytestmark = pytest.mark.usefixtures("keras_session")


def test_flags_can_ask_for_names_without_keras():
    code = "import sys; from tfface import models; print(models.ENCODERS, models.MERGES, models.MODEL_KINDS); "
    code += "assert not {'keras', 'tensorflow'} & sys.modules.keys()"
    assert "block5" in subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_decoders_may_be_what_is_imported_first():
    """Importing Keras has tfface register its layers, those of a module that is just being imported among them."""
    code = "import inspect, tfface.models.decoders as _; from tfface.geometry import tensor_rotation; "
    code += "inspect.stack = None; tensor_rotation.normalize([0.0, 0.0, 3.0, 4.0])"  # loaded without looking at callers
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", ENCODERS)
def test_blocks_end_where_they_say_and_nothing_bypasses_their_end(name):
    encoder = ENCODERS[name]
    assert encoder.name == name
    size = 2 * encoder.minimum_size
    whole = encoder.build((size, size))
    images = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    expected = whole(images)
    for number, (block, layer) in enumerate(encoder.blocks.items(), start=1):
        boundary = whole.get_layer(layer).output
        assert boundary.shape[1] == size // 2**number, block
        if number < len(encoder.blocks):
            lower, upper = keras.Model(whole.input, boundary), keras.Model(boundary, whole.output)
            np.testing.assert_allclose(upper(lower(images)), expected, rtol=1e-5, atol=1e-5)
    assert encoder.parts == ("heads", "block5", "block4", "block3", "block2", "all")
    for output in encoder.outputs:
        cells = encoder.build((size, size), output=output).output_shape[1]
        assert cells == size // 2 ** (1 + list(encoder.blocks.values()).index(output))


@pytest.mark.parametrize("name", ENCODERS)
def test_what_cannot_be_built_is_named(name, tmp_path):
    encoder = ENCODERS[name]
    size = (encoder.minimum_size, encoder.minimum_size)
    with pytest.raises(ValueError, match=f"encoder_output: expected one of {encoder.outputs[0]}, .* got 'conv'"):
        encoder.build(size, output="conv")
    with pytest.raises(ValueError, match=f"expected at least {encoder.minimum_size} px"):
        encoder.build((encoder.minimum_size - 1, 64))
    with pytest.raises(ValueError, match=r"encoder_weights: expected imagenet, .*none or the path of a file"):
        encoder.build(size, str(tmp_path / "absent.h5"))
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        encoder.build(size, str(tmp_path / "text.h5"))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_model_of_each_encoder_opens_again_and_is_cut(name, tmp_path):
    output = ENCODERS[name].outputs[1]
    model = tiny.randomized(tiny.build("multi_view", num_views=2, encoder=name, encoder_output=output))
    inputs = tiny.inputs(model)
    expected = model(inputs)
    model.save(tmp_path / "model.keras")
    opened = FaceModel(tfface.load(tmp_path / "model.keras"))
    assert opened.architecture.name == name
    assert opened.encoder_output == output
    for key, value in opened(inputs).items():
        np.testing.assert_array_equal(value, expected[key])
    with pytest.raises(ValueError, match=f"ends with {output}, it has no block5"):
        opened.halves("block5")
    lower, upper = opened.halves("block4")
    features = np.asarray(lower(inputs["images"].reshape(-1, *inputs["images"].shape[2:])))
    features = features.reshape(2, 2, *features.shape[1:])
    for key, value in upper({schema.FEATURES.key: features, "intrinsics": inputs["intrinsics"]}).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-3)


def test_an_unknown_encoder_and_one_that_does_not_fit_are_named():
    with pytest.raises(ValueError, match="encoder: expected one of vgg16, mobilenet_v2, got 'vgg19'"):
        tiny.build("single_view", encoder="vgg19")
    other = FaceModel(tiny.build("single_view", encoder="mobilenet_v2", encoder_output=""))
    with pytest.raises(ValueError, match="has no encoder that fits"):
        FaceModel(tiny.build("single_view")).initialize(other)


def test_the_convolutions_of_a_model_are_taken_for_other_crops_and_fewer_blocks(tmp_path):
    """``--encoder_weights=MODEL``: whatever the crops and the 3DMM of the model."""
    path = str(tmp_path / "model.keras")
    model = tiny.randomized(tiny.build("single_view", encoder="mobilenet_v2", encoder_output="block_12_add"))
    model.save(path)
    source = FaceModel(model).encoder
    taken = MOBILENET_V2.build((96, 96), path, output="block_5_add")
    learnt = [layer for layer in taken.layers if layer.weights]
    assert len(learnt) > 20
    for layer in learnt:
        for one, other in zip(layer.get_weights(), source.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"model\.keras: expected the layers up to out_relu, got none of block_13_exp"):
        MOBILENET_V2.build((96, 96), path)
    with pytest.raises(ValueError, match="expected a model with encoder vgg16, got mobilenet_v2"):
        VGG16.build((96, 96), path)
    with pytest.raises(FileNotFoundError, match="no such file: "):
        VGG16.build((96, 96), str(tmp_path / "absent.keras"))


class TestWeightsOfMobileNetV2:
    def test_of_a_file(self, tmp_path):
        path = str(tmp_path / "some.weights.h5")
        source = MOBILENET_V2.application((32, 32, 3))
        source.save_weights(path)
        encoder = MOBILENET_V2.build((64, 64), path)
        for one, other in zip(encoder.get_weights(), source.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_file_of_another_network_is_named(self, tmp_path):
        path = str(tmp_path / "other.weights.h5")
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(path)
        with pytest.raises(ValueError, match=r"other\.weights\.h5 does not hold the weights of a MobileNetV2"):
            MOBILENET_V2.build((32, 32), path)

    def test_statistics_stay_while_it_is_trained(self):
        encoder = MOBILENET_V2.build((32, 32))
        before = encoder.get_weights()
        images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
        np.testing.assert_array_equal(encoder(images, training=True), encoder(images, training=False))
        for one, other in zip(encoder.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)


class TestWeightsOfVgg16:
    def _write(self, path, name):
        rng = np.random.default_rng(0)
        with h5py.File(path, "w") as file:
            for layer in VGG16.build((32, 32)).layers:
                if weights := layer.get_weights():
                    kernel, bias = name(layer.name)
                    file[kernel] = rng.normal(size=weights[0].shape).astype(np.float32)
                    file[bias] = rng.normal(size=weights[1].shape).astype(np.float32)

    def test_files_of_both_kinds(self, tmp_path):
        applications, hed = tmp_path / "vgg.h5", tmp_path / "hed.h5"
        self._write(applications, lambda name: (f"{name}/{name}_W_1:0", f"{name}/{name}_b_1:0"))

        def hed_name(name):
            block, index = name.split("_conv")
            suffix = "" if index == "1" else f"_{int(index) - 1}"
            return f"{block}/layers/conv2d{suffix}/vars/0", f"{block}/layers/conv2d{suffix}/vars/1"

        self._write(hed, hed_name)
        first, second = VGG16.build((32, 32), str(applications)), VGG16.build((32, 32), str(hed))
        for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_missing_convolution_is_named(self, tmp_path):
        path = tmp_path / "vgg.h5"
        self._write(path, lambda name: (f"{name}/{name}_W_1:0", f"{name}/{name}_b_1:0"))
        with h5py.File(path, "a") as file:
            del file["block4_conv2"]
        with pytest.raises(ValueError, match="block4_conv2 of a VGG-16 is missing"):
            VGG16.build((32, 32), str(path))
