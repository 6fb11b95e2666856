"""What several estimates of a person say together: against a conditional normal distribution written out in full."""

import dataclasses

import numpy as np
import pytest

from tfface import files
from tfface.fitting import NETWORK_ERROR_VARIANCE, Reliability, identity_prior, reliability

K = 4


class Network:
    """Estimates p_i = A z + s + e_i + m: what photographs of a person get wrong alike is s, the rest e_i."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.slope = 0.5 * np.eye(K) + 0.05 * rng.normal(size=(K, K))
        shared, own = rng.normal(size=(2, K, K))
        self.shared, self.own = 0.02 * shared @ shared.T, 0.05 * own @ own.T
        self.offset = np.array([0.1, -0.2, 0.0, 0.3])

    def people(self, count, views, seed=1):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(count, K))
        alike = rng.multivariate_normal(np.zeros(K), self.shared, size=count)
        apart = rng.multivariate_normal(np.zeros(K), self.own, size=(count, views))
        return truth, (truth @ self.slope.T + alike + self.offset)[:, None] + apart

    def known(self):
        alone = self.slope @ self.slope.T + self.shared + self.own
        together = alone - self.own
        return Reliability(self.offset, np.zeros(K), np.eye(K), self.slope, alone, together, 1000)

    def given(self, estimates):
        """Mean and covariance of z given all N estimates, by the joint distribution of all N K + K numbers."""
        n = len(estimates)
        stacked = np.tile(self.slope, (n, 1))
        covariance = stacked @ stacked.T + np.kron(np.ones((n, n)), self.shared) + np.kron(np.eye(n), self.own)
        gain = stacked.T @ np.linalg.inv(covariance)
        return gain @ (estimates - self.offset).reshape(-1), np.eye(K) - gain @ stacked


def same(read, known):
    for name, value in vars(known).items():
        if name not in ("doubted", "model"):
            np.testing.assert_allclose(getattr(read, name), value, rtol=1e-3, atol=1e-6, err_msg=name)


def seen_well_and_badly(count, views=3):
    """People whom a network sees well, of the doubt 0 or so, and as many whom it sees badly, of the doubt 1."""
    networks = Network(), Network()
    networks[1].slope, networks[1].own = 0.3 * networks[1].slope, 4 * networks[1].own
    people = [network.people(count // 2, views, seed) for seed, network in enumerate(networks, start=4)]
    truth, estimates = (np.concatenate(arrays) for arrays in zip(*people, strict=True))
    rng = np.random.default_rng(9)
    doubts = np.repeat([0.0, 1.0], count // 2)[:, None] + rng.normal(0, 0.05, (len(truth), views))
    return truth, estimates, doubts


def test_people_whom_a_network_sees_badly_have_moments_of_their_own():
    truth, estimates, doubts = seen_well_and_badly(4000)
    graded, plain = Reliability.measured(truth, estimates, doubts=doubts), Reliability.measured(truth, estimates)
    well, badly = graded.levels
    same(well, dataclasses.replace(Reliability.measured(truth[:2000], estimates[:2000]), doubt=well.doubt))
    same(badly, dataclasses.replace(Reliability.measured(truth[2000:], estimates[2000:]), doubt=badly.doubt))
    assert [well.doubt, badly.doubt] == pytest.approx([0, 1], abs=0.01)
    others = seen_well_and_badly(400)
    errors = [
        np.mean(
            [np.square(known.prior(own, its).mean - person).sum() for person, own, its in zip(*others, strict=True)]
        )
        for known in (graded, plain)
    ]
    assert errors[0] < 0.95 * errors[1]
    for doubt, expected in ((-3.0, well), (5.0, badly)):
        np.testing.assert_allclose(graded.prior(estimates[0], [doubt] * 3).mean, expected.prior(estimates[0]).mean)
    half = graded.at((well.doubt + badly.doubt) / 2)
    np.testing.assert_allclose(half.alone, (well.alone + badly.alone) / 2)
    np.testing.assert_allclose(graded.prior(estimates[0]).mean, half.prior(estimates[0]).mean)
    assert Reliability.measured(*others[:2], doubts=others[2]).doubted is not None
    assert Reliability.measured(*(array[::3] for array in others[:2]), doubts=others[2][::3]).doubted is None, "too few"
    assert Reliability.measured(*others[:2], doubts=0 * others[2]).doubted is None, "all the same"


def test_a_file_holds_both_levels(tmp_path):
    truth, estimates, doubts = seen_well_and_badly(400)
    known = Reliability.measured(truth, estimates, doubts=doubts)
    path = tmp_path / "face.reliability.npz"
    known.save(path)
    for read, written in zip(Reliability.load(path).levels, known.levels, strict=True):
        same(read, written)
    with np.load(path) as archive:
        arrays = dict(archive)
    for harm in ({"doubted_doubt": np.array(-9.0)}, {"doubted_alone": np.zeros((2, 2))}):
        np.savez(path, **(arrays | harm))
        with pytest.raises(ValueError, match=r"face\.reliability\.npz: .*doubted"):
            Reliability.load(path)


def test_doubts_do_not_depend_on_the_size_of_a_crop():
    deviations = np.array([[1.0, 2.0, 4.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(reliability.doubts(deviations, 64), np.log([2 / 64, 2 / 64]))
    np.testing.assert_allclose(reliability.doubts(3 * deviations, 192), reliability.doubts(deviations, 64))


@pytest.mark.parametrize("views", [1, 2, 5])
def test_a_prior_is_the_person_given_all_estimates(views):
    network = Network()
    _, estimates = network.people(1, views)
    mean, covariance = network.given(estimates[0])
    prior = network.known().prior(estimates[0])
    np.testing.assert_allclose(prior.mean, mean, atol=1e-10)
    np.testing.assert_allclose(np.linalg.inv(prior.precision), covariance, atol=1e-10)


def test_what_is_measured_is_what_the_network_does():
    network = Network()
    measured = Reliability.measured(*network.people(40000, 3), shrinkage=0)
    for name, value in vars(network.known()).items():
        if name not in {"people", "doubted", "model"}:
            np.testing.assert_allclose(getattr(measured, name), value, atol=0.03, err_msg=name)
    assert measured.people == 40000


def test_moments_are_means_over_people_of_the_photographs_that_they_have():
    truth, estimates = Network().people(7, 4)
    estimates[2, 1:], estimates[3], estimates[5, :2] = np.nan, np.nan, np.nan
    measured = Reliability.measured(truth, estimates, shrinkage=0)
    rows = [[p for p in own if np.isfinite(p).all()] for own in estimates]
    m = np.mean([p for own in rows for p in own], axis=0)
    t = np.mean([z for z, own in zip(truth, rows, strict=True) if own], axis=0)
    alone = np.mean([np.mean([np.outer(p - m, p - m) for p in own], axis=0) for own in rows if own], axis=0)
    pairs = [
        np.mean([np.outer(a - m, b - m) for i, a in enumerate(own) for j, b in enumerate(own) if i != j], axis=0)
        for own in rows
        if len(own) > 1
    ]
    with_truth = [np.outer(np.mean(own, axis=0) - m, z - t) for z, own in zip(truth, rows, strict=True) if own]
    np.testing.assert_allclose(measured.alone, alone, atol=1e-12)
    np.testing.assert_allclose(measured.together, np.mean(pairs, axis=0), atol=1e-12)
    np.testing.assert_allclose(measured.with_truth, np.mean(with_truth, axis=0), atol=1e-12)
    assert measured.people == 6


def test_joined_estimates_are_nearer_than_their_mean_and_as_sure_as_they_say():
    network = Network()
    known = Reliability.measured(*network.people(600, 3, seed=2))
    truth, estimates = network.people(400, 8, seed=3)
    joined = [known.prior(own) for own in estimates]
    errors = truth - np.stack([prior.mean for prior in joined])
    assert np.square(errors).mean() < 0.7 * np.square(truth - estimates.mean(axis=1)).mean()
    surprise = [error @ prior.precision @ error / K for error, prior in zip(errors, joined, strict=True)]
    assert np.mean(surprise) == pytest.approx(1, abs=0.15)
    alone = [known.prior(own[:1]) for own in estimates]
    assert np.square(errors).mean() < np.square(truth - np.stack([prior.mean for prior in alone])).mean()


def test_moments_that_deny_any_doubt_leave_some():
    sure = Reliability(np.zeros(K), np.zeros(K), np.eye(K), np.eye(K), np.eye(K), np.eye(K), 3)
    prior = sure.prior(np.ones((2, K)))
    np.testing.assert_allclose(np.linalg.inv(prior.precision), 0.01 * np.eye(K), atol=1e-9)


def test_shrinkage_drops_what_different_coefficients_say_of_each_other():
    measured = Reliability.measured(*Network().people(50, 2), shrinkage=1)
    for name in ("truth", "with_truth", "alone", "together"):
        matrix = getattr(measured, name)
        np.testing.assert_array_equal(matrix, np.diag(np.diag(matrix)))


def test_without_moments_the_mean_counts_with_one_variance_for_all():
    prior = identity_prior(np.array([[1.0, 2], [3, 6]]), None)
    np.testing.assert_allclose(prior.mean, [2, 4])
    np.testing.assert_allclose(prior.precision, np.eye(2) / NETWORK_ERROR_VARIANCE)


def test_a_file_lies_beside_the_model_and_holds_the_same(tmp_path):
    model = tmp_path / "face.keras"
    assert reliability.beside(model, K) is None
    assert reliability.sha256_beside(model) is None
    known = Reliability.measured(*Network().people(30, 2))
    known.save(reliability.file_beside(model))
    assert [path.name for path in tmp_path.iterdir()] == ["face.reliability.npz"]
    read = reliability.beside(model, K)
    same(read, known)
    assert read.doubted is None
    assert len(reliability.sha256_beside(model)) == 64
    with pytest.raises(ValueError, match=r"face\.reliability\.npz: of 4 coefficients, but the model has 5"):
        reliability.beside(model, 5)


def test_moments_of_another_version_of_a_model_are_refused(tmp_path):
    model = tmp_path / "face.keras"
    model.write_bytes(b"first")
    known = dataclasses.replace(Reliability.measured(*Network().people(30, 2)), model=files.sha256(model))
    known.save(reliability.file_beside(model))
    assert reliability.beside(model, K).model == known.model
    model.write_bytes(b"trained anew")
    with pytest.raises(ValueError, match=r"face\.reliability\.npz: expected what was measured of .*face\.keras, got"):
        reliability.beside(model, K)


@pytest.mark.parametrize("harm", ["text", "lacks", "shape", "finite", "singular"])
def test_a_damaged_file_is_named(tmp_path, harm):
    path = tmp_path / "face.reliability.npz"
    Reliability.measured(*Network().people(30, 2)).save(path)
    if harm == "text":
        path.write_text("no archive")
    else:
        with np.load(path) as archive:
            arrays = dict(archive)
        if harm == "lacks":
            del arrays["together"]
        elif harm == "shape":
            arrays["alone"] = arrays["alone"][:2]
        elif harm == "singular":
            arrays["alone"][0] = arrays["alone"][1]
            arrays["alone"][:, 0] = arrays["alone"][:, 1]
            arrays["alone"][0, 0] = -1
        else:
            arrays["truth"][0, 0] = np.inf
        np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"face\.reliability\.npz"):
        Reliability.load(path)


@pytest.mark.parametrize(
    ("truth", "estimates", "message"),
    [
        (np.zeros((3, 4)), np.zeros((3, 2, 5)), r"shape \[M, V, K\]"),
        (np.zeros((3, 4)), np.zeros((3, 4)), r"shape \[M, V, K\]"),
        (np.zeros((3, 4)), np.zeros((3, 1, 4)), "two photographs or more"),
    ],
)
def test_what_cannot_be_measured_is_refused(truth, estimates, message):
    with pytest.raises(ValueError, match=message):
        Reliability.measured(truth, estimates)


@pytest.mark.parametrize("estimates", [np.zeros(K), np.zeros((0, K)), np.zeros((2, 3))])
def test_estimates_of_another_shape_are_refused(estimates):
    with pytest.raises(ValueError, match=r"shape \[N, 4\]"):
        Network().known().prior(estimates)
