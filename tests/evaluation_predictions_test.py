import dataclasses

import numpy as np
import pytest

from tfface.evaluation.predictions import Origin, Predictions

ORIGIN = Origin(model="a" * 64, records="b" * 64, split="test", face_model="c" * 64)


def single_views(seed: int = 0, poses: bool = True) -> Predictions:
    """Three subjects with up to four views; the last has two."""
    rng = np.random.default_rng(seed)
    views = np.tile(np.arange(4, dtype=np.int32)[:, None], (3, 1, 1))
    views[2, 2:] = -1
    trailing = {"coefficients": (5,), "quaternions": (1, 4), "translations": (1, 3), "expressions": (1, 6)}
    arrays = {key: rng.normal(size=(3, 4, *shape)).astype(np.float32) for key, shape in trailing.items()}
    for array in arrays.values():
        array[2, 2:] = np.nan
    return Predictions(ORIGIN, ("ann", "bob", "cy"), views, arrays.pop("coefficients"), arrays if poses else {})


@pytest.mark.parametrize("poses", [True, False])
def test_a_file_gives_back_what_was_saved(tmp_path, poses):
    predictions = single_views(poses=poses)
    path = tmp_path / "new folder" / "sv.npz"
    predictions.save(path)
    loaded = Predictions.load(path)
    for field in ("subjects", "views", "coefficients", "kind"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(predictions, field))
    assert loaded.per_view.keys() == predictions.per_view.keys()
    for key, array in predictions.per_view.items():
        np.testing.assert_array_equal(loaded.per_view[key], array)
    assert loaded.origin == ORIGIN
    assert [file.name for file in path.parent.iterdir()] == ["sv.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "sv.npz"
    single_views().save(path)
    before = path.read_bytes()

    def fail(file, **_):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space left"):
        single_views(seed=1).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_hold_no_predictions_are_named(tmp_path):
    whole, cut, other, future = (tmp_path / f"{name}.npz" for name in ("whole", "cut", "other", "future"))
    single_views().save(whole)
    cut.write_bytes(whole.read_bytes()[:-100])
    np.savez(other, numbers=np.arange(3))
    np.savez(future, header=np.array('{"format": 999}'))
    (tmp_path / "empty.npz").touch()
    for path in (cut, other, future, tmp_path / "empty.npz"):
        with pytest.raises(ValueError, match=f"{path.name}: not a file of predictions"):
            Predictions.load(path)
    with pytest.raises(FileNotFoundError):
        Predictions.load(tmp_path / "missing.npz")


def test_predictions_of_chosen_views():
    predictions = single_views()
    chosen = predictions.of_views([[3, 0], [1, 2], [1, -1]])
    assert chosen.views[..., 0].tolist() == [[3, 0], [1, 2], [1, -1]]
    np.testing.assert_array_equal(chosen.coefficients[0], predictions.coefficients[0, [3, 0]])
    np.testing.assert_array_equal(chosen.quaternions[1], predictions.quaternions[1, [1, 2]])
    np.testing.assert_array_equal(chosen.translations[2, 0], predictions.translations[2, 1])
    np.testing.assert_array_equal(chosen.expressions[1], predictions.expressions[1, [1, 2]])
    assert np.isnan(chosen.coefficients[2, 1]).all()
    assert chosen.exists.tolist() == [[True, True], [True, True], [True, False]]
    assert predictions.exists.sum() == 10


def test_views_are_found_by_number_not_by_place():
    predictions = single_views()
    shuffled = predictions.of_views([[2, 0, 3, 1]] * 2 + [[1, 0, -1, -1]])
    again = shuffled.of_views([[3], [0], [1]])
    np.testing.assert_array_equal(again.coefficients, predictions.of_views([[3], [0], [1]]).coefficients)


def test_the_average_is_over_the_predictions_that_exist():
    predictions = single_views()
    averaged = predictions.averaged()
    assert averaged.views.tolist() == [[[0, 1, 2, 3]], [[0, 1, 2, 3]], [[0, 1, -1, -1]]]
    np.testing.assert_allclose(averaged.coefficients[0, 0], predictions.coefficients[0].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(averaged.coefficients[2, 0], predictions.coefficients[2, :2].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(averaged.quaternions[:, 0], predictions.quaternions[:, :, 0])
    np.testing.assert_array_equal(averaged.translations[:, 0], predictions.translations[:, :, 0])
    np.testing.assert_array_equal(averaged.expressions[:, 0], predictions.expressions[:, :, 0])
    assert single_views(poses=False).averaged().quaternions is None


def test_what_cannot_be_chosen_or_averaged_is_named():
    with pytest.raises(ValueError, match="subject cy has no prediction of 3"):
        single_views().of_views([[0], [0], [3]])
    with pytest.raises(ValueError, match="expected predictions from single views, got 4 views each"):
        single_views().averaged().of_views([[0], [0], [0]])
    nothing = single_views().of_views([[0], [-1], [0]])
    with pytest.raises(ValueError, match="subject bob has no prediction"):
        nothing.averaged()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": np.zeros((2, 4, 1), np.int32)}, r"views must have the shape \[3, M, N\], got \[2, 4, 1\]"),
        ({"coefficients": np.zeros((3, 3, 5))}, r"coefficients must have the shape \[3, 4, K\], got \[3, 3, 5\]"),
        (
            {"per_view": {"quaternions": np.zeros((3, 4, 4))}},
            r"quaternions must have the shape \[3, 4, 1, 4\], got \[3, 4, 4\]",
        ),
        ({"per_view": {"translations": np.zeros((3, 4, 1, 4))}}, r"translations must have the shape \[3, 4, 1, 3\]"),
        ({"per_view": {"expressions": np.zeros((3, 4, 2, 6))}}, r"expressions must have the shape \[3, 4, 1, 6\]"),
        (
            {"per_view": {"quaternions": np.zeros((3, 4, 1, 4))}},
            "quaternions and translations must both be there or neither",
        ),
    ],
)
def test_wrong_shapes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(single_views(), **change)
