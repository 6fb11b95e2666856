"""Compactness, generalisation and specificity against known values and a literal reference."""

import dataclasses

import numpy as np
import pytest

from tfface.face import build, model_quality
from tfface.geometry import alignment

_RNG = np.random.default_rng(0)
REST = _RNG.normal(0, 50, (30, 3))
TRIANGLES = np.array([[i, i + 1, i + 2] for i in range(28)])
PEOPLE = REST + np.einsum("nk,kpc->npc", _RNG.normal(0, (4, 3, 2, 1, 1), (40, 5)), _RNG.normal(0, 1, (5, 30, 3)))
MODEL = build(PEOPLE[:24], TRIANGLES, {}, None, modes=4, reference=REST)


def _distance(a, b):
    return np.sqrt(((a - b) ** 2).sum(axis=-1).mean())


def test_compactness_is_the_share_of_the_variance():
    shares = model_quality.compactness(MODEL)
    aligned = alignment.generalised_procrustes(PEOPLE[:24], scale=False, reference=REST)[1].apply(PEOPLE[:24])
    flat = aligned.reshape(24, -1)
    variances = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(shares, np.concatenate(([0], np.cumsum(variances)[:4])) / variances.sum(), rtol=1e-5)
    untold = dataclasses.replace(MODEL, metadata={})
    assert model_quality.compactness(untold)[-1] == pytest.approx(1)
    with pytest.raises(ValueError, match=r"variance_share in .* got 2"):
        model_quality.compactness(dataclasses.replace(MODEL, metadata={"variance_share": 2}))


def test_generalisation_is_that_of_a_literal_projection():
    unseen = PEOPLE[24:]
    curve = model_quality.generalisation(MODEL, unseen, block=5)
    literal = np.zeros((len(unseen), MODEL.num_modes + 1))
    for i, shape in enumerate(unseen):
        placed = alignment.rigid(shape, MODEL.mean).apply(shape)
        for k in range(MODEL.num_modes + 1):
            nearest = MODEL.mean.astype(np.float64)
            for mode in MODEL.basis[:k].astype(np.float64):
                nearest = nearest + ((placed - MODEL.mean) * mode).sum() * mode
            literal[i, k] = _distance(placed, nearest)
    np.testing.assert_allclose(curve.mean, literal.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(curve.standard_error, literal.std(axis=0, ddof=1) / 4, rtol=1e-4)
    assert (np.diff(curve.mean) < 0).all()


def test_shapes_of_the_model_generalise_without_error_in_any_pose():
    decoded = MODEL.decode(np.array([[1.0, -2, 0.5, 1], [0, 0, 0, 0]]))
    turned = alignment.Transform(np.ones(()), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.full(3, 90.0))
    curve = model_quality.generalisation(MODEL, turned.apply(decoded))
    # The rigid motion onto the mean moves the first shape a little: modes are free of motion to first order only.
    assert curve.mean[-1] < 0.05 * curve.mean[0]
    assert np.isnan(model_quality.generalisation(MODEL, decoded[:1]).standard_error).all()
    at_the_mean = model_quality.generalisation(MODEL, decoded[1:])
    np.testing.assert_allclose(at_the_mean.mean, 0, atol=1e-4)


def test_specificity_is_that_of_a_literal_search():
    curve = model_quality.specificity(MODEL, PEOPLE[:24], samples=30, seed=7, block=8)
    placed = alignment.rigid(PEOPLE[:24], MODEL.mean).apply(PEOPLE[:24])
    drawn = np.random.default_rng(7).standard_normal((30, 4))
    for k in range(5):
        kept = drawn * (np.arange(4) < k)
        literal = [min(_distance(MODEL.decode(c), person) for person in placed) for c in kept]
        assert curve.mean[k] == pytest.approx(np.mean(literal), rel=1e-5)
        assert curve.standard_error[k] == pytest.approx(np.std(literal, ddof=1) / np.sqrt(30), rel=1e-4)


def test_specificity_against_the_mean_alone_is_the_mean_length_of_a_normal_vector():
    one = build(PEOPLE[:24], TRIANGLES, {}, None, modes=1, reference=REST)
    curve = model_quality.specificity(one, one.mean[None], samples=20000)
    expected = np.sqrt(2 / np.pi * one.eigenvalues[0] / 30)
    assert curve.mean[1] == pytest.approx(expected, rel=0.02)
    assert curve.mean[0] == pytest.approx(0, abs=1e-4)


def test_what_does_not_fit_is_named():
    for measure, name in ((model_quality.generalisation, "unseen"), (model_quality.specificity, "training")):
        for shapes in (PEOPLE[0], PEOPLE[:, :9], PEOPLE[:0]):
            with pytest.raises(ValueError, match=rf"{name}: expected \[N, 30, 3\] with N > 0, got"):
                measure(MODEL, shapes)
    with pytest.raises(ValueError, match="samples: expected at least 1, got 0"):
        model_quality.specificity(MODEL, PEOPLE, samples=0)
