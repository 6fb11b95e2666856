import functools

import keras
import numpy as np
import pytest
import tiny

from tfface import schema
from tfface.evaluation import predict
from tfface.evaluation.predictions import Origin
from tfface.models import FaceModel

SUBJECTS = ("ann", "bob", "cy", "dora", "eve")
NUM_VIEWS = 4
ORIGIN = Origin("model", "records", "test", tiny.face_model().digest())


@functools.cache
def trained(kind: str, merge: str = "concat") -> keras.Model:
    """A model whose predictions vary with its inputs, built once: no test changes it."""
    return tiny.randomized(tiny.build(kind, merge=merge))


def batches(sizes: tuple[int, ...] = (3, 2), seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Random pictures of five people, with what a record tells of them."""
    rng = np.random.default_rng(seed)
    side = tiny.IMAGE_SIZE
    images = rng.uniform(0, 255, (len(SUBJECTS), NUM_VIEWS, side, side, 3)).astype(np.float32)
    intrinsics = np.broadcast_to(np.array([[90, 0, 15], [0, 95, 17], [0, 0, 1]], np.float32), (5, NUM_VIEWS, 3, 3))
    intrinsics = intrinsics + rng.uniform(0, 5, (5, NUM_VIEWS, 1, 1)).astype(np.float32)
    ends = np.cumsum(sizes)
    return [
        {
            schema.SUBJECT.key: np.array([name.encode() for name in SUBJECTS[end - size : end]], object),
            schema.IMAGES.key: images[end - size : end],
            schema.INTRINSICS.key: intrinsics[end - size : end],
        }
        for size, end in zip(sizes, ends, strict=True)
    ]


def run(model: keras.Model, views: np.ndarray, given: list[dict[str, np.ndarray]] | None = None, **options):
    return predict.predict(
        model, given or batches(), views, SUBJECTS, ORIGIN, **{"batch_size": 2, "progress": "", **options}
    )


@functools.cache
def predicted_singly():
    """What the single view model says of every view; no test changes it."""
    return run(trained("single_view"), every_view())


def every_view() -> np.ndarray:
    views = np.tile(np.arange(NUM_VIEWS, dtype=np.int32)[:, None], (5, 1, 1))
    views[1, 2:] = -1
    return views


def test_single_views_are_predicted_one_by_one():
    model = trained("single_view")
    predictions = predicted_singly()
    whole = batches((5,))[0]
    for subject in range(5):
        for view in range(NUM_VIEWS):
            if every_view()[subject, view, 0] < 0:
                assert np.isnan(predictions.coefficients[subject, view]).all()
                assert np.isnan(predictions.quaternions[subject, view]).all()
                continue
            one = {key: whole[key][subject, view][None, None] for key in ("images", "intrinsics")}
            outputs = {key: np.asarray(value)[0] for key, value in model(one).items()}
            found = (predictions.coefficients, predictions.quaternions, predictions.translations)
            for array, key in zip(found, ("coefficients", "quaternions", "translations"), strict=True):
                np.testing.assert_allclose(array[subject, view], outputs[key], rtol=1e-4, atol=1e-4, err_msg=key)
    assert predictions.subjects == SUBJECTS
    assert predictions.origin == ORIGIN


def test_views_that_the_same_encoder_has_seen_are_not_encoded_again():
    model, encoded = trained("single_view"), predict.EncodedViews()
    blank = [{**batch, "images": np.zeros_like(batch["images"])} for batch in batches()]
    first = run(model, every_view(), encoded=encoded)
    again = run(model, every_view()[:, :2], blank, encoded=encoded)
    np.testing.assert_array_equal(again.coefficients, first.coefficients[:, :2])
    more = np.broadcast_to(np.arange(NUM_VIEWS, dtype=np.int32)[:, None], (5, NUM_VIEWS, 1))
    assert not np.allclose(run(model, more, blank, encoded=encoded).coefficients[1], first.coefficients[1])

    encoded = predict.EncodedViews()
    run(model, every_view(), encoded=encoded)
    other = tiny.randomized(tiny.build("single_view"))
    encoder = FaceModel(other).encoder
    encoder.set_weights([weight + 0.01 for weight in encoder.get_weights()])
    expected = run(other, every_view(), blank)
    np.testing.assert_array_equal(run(other, every_view(), blank, encoded=encoded).coefficients, expected.coefficients)


def test_no_more_is_held_of_what_was_encoded_than_there_is_room_for():
    model = trained("single_view")
    blank = [{**batch, "images": np.zeros_like(batch["images"])} for batch in batches()]
    expected, unseen = predicted_singly(), run(model, every_view(), blank)
    first = len(blank[0]["images"])
    views, features = first * NUM_VIEWS + 1, int(np.prod(FaceModel(model).encoder.output_shape[1:]))
    encoded = predict.EncodedViews(max_bytes=views * features * 4)
    for _ in range(2):
        found = run(model, every_view(), encoded=encoded)
        np.testing.assert_array_equal(found.coefficients, expected.coefficients)
    found = run(model, every_view(), blank, encoded=encoded)
    np.testing.assert_array_equal(found.coefficients[:first], expected.coefficients[:first])
    np.testing.assert_array_equal(found.coefficients[first:], unseen.coefficients[first:])


def test_several_views_are_predicted_together_in_the_order_given():
    model = trained("multi_view")
    views = np.array([[[0, 1, 2], [3, 1, 0]]] * 5, np.int32)
    predictions = run(model, views)
    whole = batches((5,))[0]
    for index, chosen in enumerate(views[0]):
        outputs = model({key: whole[key][:, chosen] for key in ("images", "intrinsics")})
        np.testing.assert_allclose(predictions.coefficients[:, index], outputs["coefficients"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(predictions.translations[:, index], outputs["translations"], rtol=1e-4)
    assert np.abs(predictions.coefficients[:, 0] - predictions.coefficients[:, 1]).max() > 1e-3


def test_the_result_does_not_depend_on_batches():
    model, expected = trained("single_view"), predicted_singly()
    for sizes, batch_size in (((5,), 64), ((1,) * 5, 3)):
        found = run(model, every_view(), batches(sizes), batch_size=batch_size)
        np.testing.assert_allclose(found.coefficients, expected.coefficients, rtol=1e-4, atol=1e-5)


def test_a_missing_view_is_masked_or_black():
    views = np.array([[[0, 1, 2]]] * 5, np.int32)
    views[2, 0, 2] = -1
    whole = batches((5,))[0]
    masked = trained("multi_view", merge="mean")
    two = {key: whole[key][2:3, [0, 1, 1]] for key in ("images", "intrinsics")}
    outputs = masked({**two, "view_mask": np.array([[1.0, 1, 0]], np.float32)})
    found = run(masked, views)
    np.testing.assert_allclose(found.coefficients[2], outputs["coefficients"], rtol=1e-4, atol=1e-4)
    black = trained("multi_view")
    pictures = whole["images"][2:3, :3] * np.array([1, 1, 0], np.float32)[:, None, None, None]
    outputs = black({"images": pictures, "intrinsics": whole["intrinsics"][2:3, [0, 1, 0]]})
    np.testing.assert_allclose(run(black, views).coefficients[2], outputs["coefficients"], rtol=1e-4, atol=1e-4)


def test_a_model_of_shape_alone_predicts_no_poses():
    predictions = run(trained("shape_only"), np.array([[[0, 1, 2]]] * 5, np.int32))
    assert predictions.coefficients.shape == (5, 1, 4)
    assert predictions.quaternions is None
    assert predictions.translations is None


def test_batches_of_others_and_wrong_views_are_refused():
    model = trained("single_view")
    with pytest.raises(ValueError, match=r"views must have the shape \[5, M, 1\], got \[5, 1, 3\]"):
        run(model, np.zeros((5, 1, 3), np.int32))
    with pytest.raises(ValueError, match=r"expected the subjects .*'ann'.*, got .*'dora'"):
        run(model, every_view(), batches()[::-1])
    with pytest.raises(ValueError, match="expected 5 subjects, got 3"):
        run(model, every_view(), batches()[:1])


def test_a_prediction_that_is_not_finite_is_named():
    model = trained("single_view")
    given = batches()
    given[0]["intrinsics"] = given[0]["intrinsics"].copy()
    given[0]["intrinsics"][1, 0] = np.nan
    with pytest.raises(ValueError, match=r"model single_view: \w+ of 1 subjects are not finite, the first is bob"):
        run(model, every_view(), given)


def test_only_models_of_tfface_with_the_same_3dmm_are_opened(tmp_path):
    ours, foreign, broken = (tmp_path / f"{name}.keras" for name in ("ours", "foreign", "broken"))
    digest = tiny.face_model().digest()
    trained("multi_view").save(ours)
    model = predict.open_model(ours, digest)
    assert FaceModel(model).num_views == 3
    assert FaceModel(model).image_size == (32, 32)
    with pytest.raises(ValueError, match=r"ours\.keras: trained with another 3DMM \(.{12}\) than that of the records"):
        predict.open_model(ours, tiny.face_model(seed=1).digest())
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(foreign)
    with pytest.raises(ValueError, match=r"foreign\.keras: .*expected a model of tfface"):
        predict.open_model(foreign, digest)
    broken.write_bytes(ours.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"broken\.keras: not a model of tfface that can be opened"):
        predict.open_model(broken, digest)
    with pytest.raises(FileNotFoundError, match=r"missing\.keras"):
        predict.open_model(tmp_path / "missing.keras", digest)
