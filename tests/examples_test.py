import dataclasses

import numpy as np
import pytest
import tiny_people
from PIL import Image

from tfface.drawing import colors
from tfface.drawing import examples as figures
from tfface.evaluation import examples

TRUTH = tiny_people.template().vertices - tiny_people.template().vertices.mean(axis=0)
TRIANGLES = tiny_people.template().triangles
SIZE = 32


def photograph(color: tuple[int, int, int]) -> figures.Photograph:
    K = np.array([[80.0, 0, 16], [0, 80, 16], [0, 0, 1]])
    image = np.broadcast_to(np.array(color, np.float32), (SIZE, SIZE, 3))
    return figures.Photograph(image, K, np.array([0, 0, 0, 1.0]), np.array([0, 0, 600.0]))


def example(error: float = 0.0) -> figures.Example:
    predicted = TRUTH.copy()
    predicted[::2] += [0, 0, error]
    return figures.Example("somebody", [photograph((255, 0, 0)), photograph((0, 255, 0))], predicted, TRUTH)


CELL = 96
TOP, LEFT, GAP = 68, 24, 8  # where the first photograph stands
SHAPES = (slice(TOP, TOP + 2 * CELL + GAP), slice(LEFT + 2 * (CELL + GAP) + GAP, None))


def drawn(path, *shown: figures.Example, **options) -> np.ndarray:
    figures.draw(path, shown, TRIANGLES, cell=CELL, progress=False, **options)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(axis=-1).sum())


def test_the_picture_shows_photographs_pixel_for_pixel_and_the_mesh_below(tmp_path):
    picture = drawn(tmp_path / "examples.png", example())
    for left, color in ((LEFT, (255, 0, 0)), (LEFT + CELL + GAP, (0, 255, 0))):
        assert count(picture[TOP : TOP + CELL, left : left + CELL], color) == CELL * CELL
        below = picture[TOP + CELL + GAP :, left:][:CELL, :CELL]
        assert tuple(below[0, 0]) == color
        assert below[CELL // 2, CELL // 2, 2] > 100  # the bluish mesh over it
        assert 0 < count(below, color) < 0.9 * CELL * CELL
    assert count(picture[:TOP], (255, 0, 0)) == 0


def test_labels_and_caption_are_written(tmp_path):
    plain = drawn(tmp_path / "plain.png", dataclasses.replace(example(), label=""))
    labelled = drawn(tmp_path / "labelled.png", example(), caption="from best to worst")
    changed = np.nonzero((plain != labelled).any(axis=-1))[0]
    bottom = TOP + 2 * CELL + GAP
    assert set(np.unique(np.digitize(changed, [TOP, bottom]))) == {0, 2}  # above and below, never inside


def test_errors_have_the_colours_of_the_scale(tmp_path):
    scale = colors.of_errors([0.0, 3.0, 6.0, 60.0])
    np.testing.assert_array_equal(scale[2], scale[3])
    assert scale.argmax(axis=1).tolist() == [2, 1, 0, 0]  # from blue over green to red
    exact, wrong = (drawn(tmp_path / f"{error}.png", example(error))[SHAPES] for error in (0, 40))
    bluish, reddish = (exact[..., 2] > exact[..., 0] + 60), (wrong[..., 0] > wrong[..., 2] + 60)
    assert not (exact[..., 0] > exact[..., 2] + 60).any()
    assert bluish.sum() > 2000
    assert reddish.sum() > 2000


def test_shapes_are_aligned_before_they_are_compared(tmp_path):
    moved = dataclasses.replace(example(), predicted=1.3 * TRUTH + [50, 0, 0])
    same = drawn(tmp_path / "same.png", example())[SHAPES]
    np.testing.assert_allclose(drawn(tmp_path / "moved.png", moved)[SHAPES], same, atol=3)


def test_only_the_area_is_shown_on_the_right(tmp_path):
    area = np.flatnonzero(TRUTH[:, 1] < 20)
    far = example()
    far.predicted[TRUTH[:, 1] >= 20] += 1000
    near = drawn(tmp_path / "near.png", example(), area=area)[SHAPES]
    np.testing.assert_allclose(drawn(tmp_path / "far.png", far, area=area)[SHAPES], near, atol=3)
    assert near.shape[1] > drawn(tmp_path / "whole.png", example())[SHAPES].shape[1]  # a part as high is wider


def test_a_view_that_does_not_exist_leaves_a_gap(tmp_path):
    whole = example()
    lacking = dataclasses.replace(whole, photographs=[whole.photographs[0], None])
    picture = drawn(tmp_path / "gap.png", whole, lacking)
    assert count(picture, (255, 0, 0)) > 2 * CELL * CELL
    assert CELL * CELL < count(picture, (0, 255, 0)) < 2 * CELL * CELL


def test_examples_that_do_not_fit_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected photographs of one size and number"):
        drawn(tmp_path / "none.png")
    one = dataclasses.replace(example(), photographs=example().photographs[:1])
    with pytest.raises(ValueError, match="expected photographs of one size and number"):
        drawn(tmp_path / "different.png", example(), one)
    assert not list(tmp_path.iterdir())


def test_subjects_are_drawn_from_equal_parts_of_the_ranking():
    errors = np.random.default_rng(0).permutation(40).astype(float)
    chosen = examples.stratified(errors, 4, seed=0)
    assert [int(errors[subject] // 10) for subject in chosen] == [0, 1, 2, 3]
    np.testing.assert_array_equal(chosen, examples.stratified(errors, 4, seed=0))
    assert any((examples.stratified(errors, 4, seed) != chosen).any() for seed in range(1, 5))
    assert sorted(examples.stratified(errors[:3], 8, seed=0)) == [0, 1, 2]
