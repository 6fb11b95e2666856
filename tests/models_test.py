"""Every network: construction, what it predicts before training, masks, cut, start from another, save and load."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

import tfface
from tfface import models, schema
from tfface.geometry import camera, rotation
from tfface.models import FaceModel, decoders
from tfface.models.merge import merge_block

pytestmark = pytest.mark.usefixtures("keras_session")

KINDS = [
    ("single_view", "concat"),
    *(("multi_view", merge) for merge in sorted(models.MERGES)),
    ("shape_only", "concat"),
    ("shape_only", "attention"),
]
FEWER = sorted(name for name, kind in models.MERGES.items() if kind.takes_fewer)


@pytest.mark.parametrize(("kind", "merge"), KINDS)
def test_call_save_and_load(kind, merge, tmp_path):
    model = tiny.randomized(tiny.build(kind, merge))
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = tfface.load(path)
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    for batch in (1, 3):
        inputs = tiny.inputs(model, batch)
        outputs, again = model(inputs), loaded(inputs)
        poses = set() if kind == "shape_only" else {"quaternions", "translations"}
        assert set(outputs) == {"coefficients", "vertices"} | poses
        views = 1 if kind == "single_view" else 3
        shapes = {"coefficients": (4,), "vertices": (12, 3), "quaternions": (views, 4), "translations": (views, 3)}
        for key, value in outputs.items():
            assert value.shape == (batch, *shapes[key])
            assert value.dtype == tf.float32
            np.testing.assert_array_equal(value, again[key])


@pytest.mark.parametrize("kind", ["single_view", "multi_view"])
def test_before_training_it_is_the_mean_face_frontal_and_centred(kind):
    model = tiny.build(kind)
    outputs = model(tiny.inputs(model))
    np.testing.assert_allclose(outputs["coefficients"], 0)
    np.testing.assert_allclose(outputs["vertices"], np.broadcast_to(tiny.face_model().mean, (2, 12, 3)), atol=1e-4)
    ray = rotation.matrix_from_quaternion(outputs["quaternions"].numpy())[..., :, 2]
    in_crop = ray[..., :2] / ray[..., 2:] * [90, 95] + [15, 17]
    np.testing.assert_allclose(in_crop, np.full(in_crop.shape, tiny.IMAGE_SIZE / 2), atol=1e-3)
    center = camera.project(
        tf.zeros((1, 1, 1, 3)), outputs["quaternions"], outputs["translations"], tiny.inputs(model)["intrinsics"]
    )
    np.testing.assert_allclose(center, np.full(center.shape, tiny.IMAGE_SIZE / 2), atol=1e-3)


def test_translation_decoder_inverts_the_statistics():
    """Standardised by the statistics of a set of cameras, the numbers of those cameras decode to their translations."""
    rng = np.random.default_rng(0)
    translations = (rng.normal(0, 20, (50, 3)) + np.array([5, -10, 600])).astype(np.float32)
    intrinsics = np.zeros((50, 3, 3), np.float32)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 2, 2] = rng.uniform(200, 260, 50), 230, 1
    intrinsics[:, :2, 2] = rng.uniform(25, 40, (50, 2))
    quaternions = np.tile(np.float32([0, 0, 0, 1]), (50, 1))
    statistics = models.CameraStatistics.measure(quaternions, translations, intrinsics, (64, 48))
    focal = intrinsics[:, [0, 1], [0, 1]]
    center = focal * translations[:, :2] / translations[:, 2:] + intrinsics[:, :2, 2]
    size = np.log(focal[:, 0] * decoders.TranslationDecoder.REFERENCE_LENGTH / (translations[:, 2] * 48))
    values = np.concatenate([center / [48, 64], size[:, None]], axis=-1)
    raw = (values - statistics.translation_mean) / statistics.translation_std
    np.testing.assert_allclose(raw.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(raw.std(0), 1, atol=1e-4)
    decoder = decoders.TranslationDecoder((64, 48), statistics.translation_mean, statistics.translation_std)
    decoded = decoder(raw[:, None].astype(np.float32), intrinsics[:, None])
    np.testing.assert_allclose(decoded[:, 0], translations, rtol=1e-4, atol=1e-2)


def test_poses_stay_finite_on_any_input():
    decoder = decoders.TranslationDecoder((32, 32))
    raw = np.float32([[[1e6, -1e6, 1e6]], [[0, 0, -1e6]]])
    intrinsics = np.broadcast_to(np.float32([[90, 0, 16], [0, 90, 16], [0, 0, 1]]), (2, 1, 3, 3))
    assert np.isfinite(decoder(raw, intrinsics)).all()
    assert np.isfinite(decoders.QuaternionDecoder((32, 32))(np.float32([[[1e6, 0, 0, -1e6]]]), intrinsics[:1])).all()


def test_what_a_crop_shows_does_not_depend_on_where_the_axis_lies():
    """The same crop, taken off the axis: seen along its line of sight, the decoded face is turned the same way."""
    raw = np.float32([[[0.3, -0.5, 0.2, 0.1]]])
    on_axis = np.float32([[[[90, 0, 16], [0, 90, 16], [0, 0, 1]]]])
    off_axis = np.float32([[[[90, 0, 46], [0, 90, -4], [0, 0, 1]]]])
    decoder = decoders.QuaternionDecoder((32, 32))
    one, other = (rotation.matrix_from_quaternion(decoder(raw, k).numpy()[0, 0]) for k in (on_axis, off_axis))
    sight = np.array([(16 - 46) / 90, (16 + 4) / 90, 1.0])
    np.testing.assert_allclose(one.T @ [0, 0, 1], other.T @ (sight / np.linalg.norm(sight)), atol=1e-5)


@pytest.mark.parametrize("merge", FEWER)
def test_a_masked_view_changes_nothing(merge):
    model = tiny.randomized(tiny.build("multi_view", merge))
    inputs = tiny.inputs(model)
    inputs["view_mask"] = np.float32([[1, 1, 0], [1, 0, 1]])
    before = model(inputs)["coefficients"]
    inputs["images"][0, 2], inputs["images"][1, 1] = 0, 255
    np.testing.assert_allclose(model(inputs)["coefficients"], before, atol=1e-5)
    inputs["images"][0, 0] = 0
    assert np.abs(model(inputs)["coefficients"] - before)[0].max() > 1e-4
    inputs["view_mask"][:] = 0
    assert np.isfinite(model(inputs)["coefficients"]).all()


@pytest.mark.parametrize("merge", sorted(models.MERGES))
def test_an_untrained_merge_is_the_average_of_the_views(merge):
    block = merge_block(merge, 3, 4, 8)
    coefficients = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    mask = np.float32([[1, 1, 1], [1, 1, 0]]) if merge in FEWER else np.ones((2, 3), np.float32)
    expected = (coefficients * mask[..., None]).sum(1) / mask.sum(1)[:, None]
    if merge == "max":  # the average is what max refines, too
        assert block.get_layer("average") is not None
    np.testing.assert_allclose(block([coefficients, mask]), expected, atol=1e-6)


def test_multi_view_starts_from_single_view():
    single = tiny.randomized(tiny.build("single_view"))
    multi = tiny.build("multi_view", camera=FaceModel(single).camera_statistics)
    copied = FaceModel(multi).initialize(FaceModel(single))
    assert set(copied) == {"vgg16", "shape_mlp", "quaternion_mlp", "translation_mlp"}
    inputs = tiny.inputs(multi)
    outputs = multi(inputs)
    each = [single({"images": inputs["images"][:, [n]], "intrinsics": inputs["intrinsics"][:, [n]]}) for n in range(3)]
    np.testing.assert_allclose(outputs["coefficients"], np.mean([e["coefficients"] for e in each], 0), atol=1e-4)
    for key in ("quaternions", "translations"):
        np.testing.assert_allclose(outputs[key], np.concatenate([e[key] for e in each], 1), rtol=1e-4, atol=1e-4)


def test_shape_only_starts_from_multi_view():
    multi = tiny.randomized(tiny.build("multi_view"))
    shape = tiny.build("shape_only")
    assert {"vgg16", "merge_concat"} <= set(FaceModel(shape).initialize(FaceModel(multi)))


def test_shape_only_without_pooling_says_what_the_multi_view_model_says():
    four_cells = {"encoder_output": "block4_pool"}
    multi = tiny.randomized(tiny.build("multi_view", **four_cells))
    assert "shape_mlp" not in FaceModel(tiny.build("shape_only", **four_cells)).initialize(FaceModel(multi))
    shape = tiny.build("shape_only", average_pooling=False, **four_cells)
    assert {"vgg16", "merge_concat", "shape_mlp"} == set(FaceModel(shape).initialize(FaceModel(multi)))
    inputs = tiny.inputs(multi)
    expected = multi(inputs)["vertices"]
    np.testing.assert_allclose(shape({"images": inputs["images"]})["vertices"], expected, rtol=1e-5, atol=1e-3)


def test_initialize_refuses_another_3dmm():
    other = models.single_view(tiny.face_model(seed=1), image_size=32, hidden_units=8)
    with pytest.raises(ValueError, match="another 3DMM"):
        FaceModel(tiny.build("multi_view")).initialize(FaceModel(other))


@pytest.mark.parametrize(
    ("options", "unlike"),
    [
        ({"hidden_units": 4}, "quaternion_mlp"),
        ({"camera": models.CameraStatistics(0.5)}, "camera_statistics"),
        ({"encoder_output": "block4_pool"}, "vgg16"),
    ],
)
def test_the_mean_of_models_that_do_not_go_together_is_refused(options, unlike):
    own = FaceModel(tiny.build("single_view"))
    with pytest.raises(ValueError, match=f"average: .*{unlike}"):
        own.average(FaceModel(tiny.build("single_view", **options)))


@pytest.mark.parametrize(
    ("kind", "part"),
    [("single_view", "heads"), ("single_view", "block2"), ("multi_view", "block3"), ("shape_only", "heads")],
)
def test_cut_halves_give_the_whole(kind, part, tmp_path):
    model = tiny.randomized(tiny.build(kind, "attention"))
    lower, upper = FaceModel(model).halves(part)
    inputs = tiny.inputs(model)
    images = inputs.pop("images")
    features = lower(images.reshape(-1, *images.shape[2:]))
    features = np.reshape(features, (*images.shape[:2], *features.shape[1:]))
    halves, whole = upper({schema.FEATURES.key: features, **inputs}), model({"images": images, **inputs})
    for key, value in whole.items():
        np.testing.assert_allclose(halves[key], value, rtol=1e-4, atol=1e-4)
    shared = {id(weight) for weight in model.weights}
    assert all(id(weight) in shared for weight in upper.trainable_weights)
    path = tmp_path / "after_the_cut.keras"
    model.save(path)
    for key, value in tfface.load(path)({"images": images, **inputs}).items():
        np.testing.assert_array_equal(value, whole[key])
    frozen = {id(weight) for weight in lower.trainable_weights}
    assert not any(id(weight) in frozen for weight in upper.trainable_weights)


def test_unknown_merge_and_part_are_named():
    with pytest.raises(ValueError, match="merge: expected one of add, attention"):
        tiny.build("multi_view", "median")
    with pytest.raises(ValueError, match="part: expected one of heads"):
        FaceModel(tiny.build("single_view")).halves("block1")


def test_views_share_one_encoder():
    model = tiny.build("multi_view", num_views=5, encoder="vgg16", encoder_output="block5_pool")
    assert sum(layer is FaceModel(model).encoder for layer in model.layers) == 1
    assert sum(np.prod(w.shape) for w in FaceModel(model).encoder.weights) == 14_714_688


def test_the_encoder_can_end_at_an_earlier_block():
    model = tiny.randomized(tiny.build("single_view", encoder="vgg16", encoder_output="block4_pool"))
    assert FaceModel(model).encoder.output_shape[1:] == (2, 2, 512)
    lower, upper = FaceModel(model).halves("block4")
    inputs = tiny.inputs(model)
    features = np.reshape(lower(inputs["images"][:, 0]), (2, 1, 4, 4, 256))
    halves = upper({schema.FEATURES.key: features, "intrinsics": inputs["intrinsics"]})
    np.testing.assert_allclose(halves["vertices"], model(inputs)["vertices"], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="part: the encoder of single_view ends with block4_pool, it has no block5"):
        FaceModel(model).halves("block5")
    with pytest.raises(ValueError, match="encoder_output: expected one of block5_pool"):
        tiny.build("single_view", encoder_output="block4_conv1")


def test_mixed_precision_stays_inside_the_encoder():
    model = tiny.build("single_view", encoder_dtype="mixed_bfloat16")
    assert FaceModel(model).encoder.layers[1].compute_dtype == "bfloat16"
    outputs = tiny.randomized(model)(tiny.inputs(model))
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    assert keras.config.dtype_policy().name == "float32"


def test_dropout_hides_features_from_each_mlp_while_training_only(tmp_path):
    plain = tiny.randomized(tiny.build("single_view"))
    model = tiny.build("single_view", dropout=0.5)
    model.set_weights(plain.get_weights())
    model.save(tmp_path / "model.keras")
    inputs = tiny.inputs(model)
    for network in (model, tfface.load(tmp_path / "model.keras")):
        for key, value in plain(inputs).items():
            np.testing.assert_array_equal(network(inputs)[key], value)
            if key != "vertices":
                assert np.abs(network(inputs, training=True)[key] - value).max() > 0
    with pytest.raises(ValueError, match="dropout: expected a share from 0 to less than 1, got 1"):
        tiny.build("single_view", dropout=1)


def test_hostile_model_is_refused(tmp_path):
    path = tmp_path / "hostile.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(path)
    with pytest.raises(ValueError, match="Lambda"):
        tfface.load(path)


def test_load_names_a_missing_file():
    with pytest.raises(FileNotFoundError, match=r"no such file: absent\.keras"):
        tfface.load("absent.keras")


@pytest.mark.parametrize(("kind", "merge"), KINDS)
def test_a_face_model_says_what_it_is_made_of(kind, merge):
    network = tiny.build(kind, merge, image_size=(32, 48))
    model = FaceModel(network)
    assert model.kind == kind
    assert model.num_views == (1 if kind == "single_view" else 3)
    assert model.image_size == (32, 48)
    assert model.has_poses == (kind != "shape_only")
    assert model.takes_fewer == (kind != "single_view" and merge in FEWER)
    assert [head.name for head in model.regressor.heads][:1] == ["shape"]
    assert (model.merge_for(5) is not None) == model.takes_fewer
    assert not model.merge_is_trained
    assert model.morphable_model.digest() == tiny.face_model().digest()
    given = {**tiny.inputs(network), "subject": "whatever else a batch holds"}
    assert model(given).keys() == network.output.keys()
    if not model.has_poses:
        with pytest.raises(ValueError, match="predicts no poses"):
            _ = model.camera_statistics


def test_a_model_of_others_is_no_face_model():
    with pytest.raises(ValueError, match="expected a model of tfface, found no layer"):
        FaceModel(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="other"))
