import numpy as np
import pytest

from tfface.geometry import alignment, rotation


def random_rotations(count, spread=180.0, seed=0):
    return rotation.matrix_from_yaw_pitch_roll(*np.random.default_rng(seed).uniform(-spread, spread, (3, count)))


def cloud(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 50, (*shape, 3))


def residual(transform, source, target, weights=1.0):
    return float((weights * ((transform.apply(source) - target) ** 2).sum(axis=-1)).sum())


def test_known_transform():
    source = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    target = 2 * source[:, [1, 2, 0]] + (10, 20, 30)
    found = alignment.similarity(source, target)
    np.testing.assert_allclose(found.scale, 2)
    np.testing.assert_allclose(found.rotation, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-15)
    np.testing.assert_allclose(found.translation, (10, 20, 30), atol=1e-14)


def test_exact_recovery_in_a_batch():
    true = alignment.Transform(np.linspace(0.5, 3, 6), random_rotations(6), cloud(6))
    source = cloud(6, 20, seed=1)
    found = alignment.similarity(source, true.apply(source))
    np.testing.assert_allclose(found.scale, true.scale, rtol=1e-12)
    np.testing.assert_allclose(found.rotation, true.rotation, atol=1e-12)
    np.testing.assert_allclose(found.translation, true.translation, atol=1e-10)
    rigid = alignment.rigid(source, alignment.Transform(np.ones(6), true.rotation, true.translation).apply(source))
    np.testing.assert_allclose(rigid.rotation, true.rotation, atol=1e-12)
    np.testing.assert_array_equal(rigid.scale, 1)


@pytest.mark.parametrize("align", [alignment.rigid, alignment.similarity])
def test_no_neighbour_is_better(align):
    """Least squares, literally: every small change of the transform found makes the residual worse."""
    rng = np.random.default_rng(3)
    source, weights = cloud(12), rng.uniform(0, 1, 12)
    target = source @ random_rotations(1)[0].T + rng.normal(0, 5, source.shape)
    found = align(source, target, weights)
    least = residual(found, source, target, weights)
    turns = rotation.matrix_from_yaw_pitch_roll(*np.vstack((0.1 * np.eye(3), -0.1 * np.eye(3))).T)
    others = [alignment.Transform(found.scale, turn @ found.rotation, found.translation) for turn in turns]
    others += [
        alignment.Transform(found.scale, found.rotation, found.translation + step)
        for step in np.vstack((0.05 * np.eye(3), -0.05 * np.eye(3)))
    ]
    if align is alignment.similarity:
        others += [alignment.Transform(found.scale * s, found.rotation, found.translation) for s in (0.999, 1.001)]
    assert all(residual(other, source, target, weights) > least for other in others)


def test_a_mirror_image_is_met_by_a_rotation():
    source = cloud(30)
    for align in (alignment.rigid, alignment.similarity):
        found = align(source, source * (-1, 1, 1))
        np.testing.assert_allclose(np.linalg.det(found.rotation), 1)


def test_flat_points_get_a_rotation():
    source = cloud(10) * (1, 1, 0)
    turn = random_rotations(1)[0]
    np.testing.assert_allclose(alignment.rigid(source, source @ turn.T).rotation, turn, atol=1e-12)


def test_points_of_weight_zero_do_not_count():
    source, target = cloud(8), cloud(8, seed=1)
    weights = np.array([1.0, 2, 3, 4, 5, 0, 0, 0])
    found = alignment.similarity(source, target, weights)
    expected = alignment.similarity(source[:5], target[:5], weights[:5])
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-13)
    np.testing.assert_allclose(found.translation, expected.translation, atol=1e-11)


def test_whole_weights_are_repetitions():
    source, target = cloud(5), cloud(5, seed=1)
    counts = np.array([1, 3, 1, 2, 4])
    found = alignment.similarity(source, target, counts)
    expected = alignment.similarity(source.repeat(counts, axis=0), target.repeat(counts, axis=0))
    np.testing.assert_allclose(found.scale, expected.scale)
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-13)


def test_inverse_and_composition():
    first = alignment.Transform(np.array([0.5, 2]), random_rotations(2), cloud(2))
    second = alignment.Transform(np.array([3.0, 0.1]), random_rotations(2, seed=1), cloud(2, seed=1))
    points = cloud(2, 7, seed=2)
    np.testing.assert_allclose(first.inverse().apply(first.apply(points)), points, atol=1e-11)
    np.testing.assert_allclose(second.compose(first).apply(points), second.apply(first.apply(points)), atol=1e-10)


@pytest.mark.parametrize(
    ("source", "target", "weights", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 2)), None, "same shape"),
        (np.ones((4, 3)), np.ones((5, 3)), None, r"\[4, 3\] and \[5, 3\]"),
        (np.full((4, 3), np.nan), np.ones((4, 3)), None, "^source must be finite"),
        (np.ones((4, 3)), np.full((4, 3), np.inf), None, "^target must be finite"),
        (np.ones((4, 3)), np.ones((4, 3)), np.ones(3), r"^weights must have the shape \[\.\.\., 4\]"),
        (np.ones((4, 3)), np.ones((4, 3)), np.zeros(4), "^weights must be"),
        (np.ones((4, 3)), np.ones((4, 3)), [1, 1, 1, -1], "^weights must be"),
        (np.ones((4, 3)), cloud(4), None, "^source must hold at least two different points"),
    ],
)
def test_bad_arguments_are_named(source, target, weights, message):
    with pytest.raises(ValueError, match=message):
        alignment.similarity(source, target, weights)


def scans(count=40, noise=2.0, spread=180.0):
    """Noisy copies [M, P, 3] of one shape [P, 3], turned and moved."""
    base = cloud(60) * (1, 1.4, 0.7)
    shapes = base + np.random.default_rng(7).normal(0, noise, (count, *base.shape))
    turned = shapes @ np.swapaxes(random_rotations(count, spread), -1, -2) + cloud(count, 1, seed=9)
    return base - base.mean(axis=0), turned


def procrustes_literally(shapes, scale):
    """Gower's iteration with whole arrays, a shape at a time."""
    align = alignment.similarity if scale else alignment.rigid
    size = np.mean([np.sqrt(((s - s.mean(axis=0)) ** 2).sum(axis=1).mean()) for s in shapes])
    mean = shapes[0]
    for _ in range(60):
        mean = np.mean([align(shape, mean).apply(shape) for shape in shapes], axis=0)
        mean -= mean.mean(axis=0)
        if scale:
            mean *= size / np.sqrt((mean**2).sum(axis=1).mean())
    return mean


@pytest.mark.parametrize("scale", [False, True])
def test_procrustes_is_the_literal_iteration_up_to_a_rotation(scale):
    _, shapes = scans()
    mean, transforms = alignment.generalised_procrustes(shapes, scale=scale, block=7)
    expected = procrustes_literally(shapes, scale)
    np.testing.assert_allclose(alignment.rigid(expected, mean).apply(expected), mean, atol=1e-5)
    aligned = transforms.apply(shapes)
    again = (alignment.similarity if scale else alignment.rigid)(shapes, mean)
    np.testing.assert_allclose(aligned, again.apply(shapes), atol=1e-5)
    if not scale:
        np.testing.assert_allclose(aligned.mean(axis=0), mean, atol=1e-6)
    np.testing.assert_allclose(mean.mean(axis=0), 0, atol=1e-10)


def test_procrustes_finds_the_shape_behind_the_noise():
    base, shapes = scans(count=400, noise=1.0)
    mean, _ = alignment.generalised_procrustes(shapes, reference=base)
    assert np.sqrt(((mean - base) ** 2).sum(axis=1).mean()) < 3 * 1.0 / np.sqrt(400)


def test_procrustes_keeps_the_average_axes_of_the_shapes():
    base, shapes = scans(spread=20, noise=0.1)
    mean, _ = alignment.generalised_procrustes(shapes)
    turned_by = rotation.quaternion_from_matrix(alignment.rigid(base, mean).rotation)
    average = np.linalg.svd(random_rotations(40, 20).sum(axis=0))
    expected = rotation.quaternion_from_matrix(average.U @ average.Vh)
    assert rotation.angle_between(turned_by, expected) < 0.1


def test_procrustes_does_not_depend_on_blocks_or_storage(tmp_path):
    _, shapes = scans()
    stored = np.memmap(tmp_path / "shapes", np.float64, "w+", shape=shapes.shape)
    stored[:] = shapes
    mean, _ = alignment.generalised_procrustes(shapes, block=1000)
    for block in (1, 13):
        np.testing.assert_allclose(alignment.generalised_procrustes(stored, block=block)[0], mean, atol=1e-9)


def test_procrustes_weights_decide_what_is_aligned():
    base = cloud(30)
    shapes = np.tile(base, (10, 1, 1))
    shapes[:, 20:] += np.random.default_rng(0).normal(0, 30, (10, 10, 3))
    mean, transforms = alignment.generalised_procrustes(shapes, weights=np.repeat([1.0, 0.0], [20, 10]))
    np.testing.assert_allclose(transforms.apply(shapes)[:, :20], np.tile(mean[:20], (10, 1, 1)), atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (np.zeros((0, 4, 3)), r"^shapes must have the shape \[M, P, 3\]"),
        (np.zeros((4, 3)), r"^shapes must have the shape \[M, P, 3\]"),
        (np.where(np.arange(5)[:, None, None] == 3, np.nan, cloud(5, 4)), "infinity in shape 3"),
    ],
)
def test_procrustes_names_bad_shapes(shapes, message):
    with pytest.raises(ValueError, match=message):
        alignment.generalised_procrustes(shapes, block=2)


def test_procrustes_says_when_it_does_not_end():
    _, shapes = scans()
    with pytest.raises(ValueError, match="did not end within 2 iterations"):
        alignment.generalised_procrustes(shapes, tolerance=0, max_iterations=2)
