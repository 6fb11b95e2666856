"""The layer that poses shapes: the same as the 3DMM, alone and saved."""

import keras
import numpy as np
import pytest
import small_face

from tfface.face import Expressions
from tfface.models.posing_layer import PosedShapes

FACE = small_face.face_model()
MOVES = Expressions(np.random.default_rng(0).normal(0, 3, (3, FACE.num_vertices, 3)), ("a", "b", "c"), "components")


def model(num_views: int) -> keras.Model:
    vertices = keras.Input((FACE.num_vertices, 3), name="vertices")
    weights = keras.Input((num_views, 3), name="weights")
    return keras.Model([vertices, weights], PosedShapes.from_expressions(MOVES, name="posed")(vertices, weights))


@pytest.mark.parametrize(("batch", "num_views"), [(1, 1), (2, 3)])
def test_poses_as_the_3dmm_does_saved_and_opened_too(tmp_path, batch, num_views):
    rng = np.random.default_rng(1)
    coefficients = rng.normal(size=(batch, FACE.num_modes))
    weights = rng.normal(size=(batch, num_views, 3)).astype(np.float32)
    vertices = FACE.decode(coefficients).astype(np.float32)
    expected = FACE.decode(coefficients)[:, None] + MOVES.displacement(weights)
    made = model(num_views)
    assert made.output_shape == (None, num_views, FACE.num_vertices, 3)
    assert not made.trainable_weights
    made.save(tmp_path / "posed.keras")
    opened = keras.saving.load_model(tmp_path / "posed.keras")
    for one in (made, opened):
        np.testing.assert_allclose(one([vertices, weights]), expected, atol=1e-3)
    held = opened.get_layer("posed").to_expressions()
    np.testing.assert_array_equal(held.deltas, MOVES.deltas)
    assert (held.names, held.kind) == (MOVES.names, MOVES.kind)
