"""Photographs of one person differ in exposure, white balance and light: what makes their colours agree."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

_DARKEST = 0.02
"""sRGB at which logarithms are cut off."""
_OUTLIER = 0.1
"""Difference of logarithms from which an observation loses its weight: a shadow, a highlight, hair."""
_ROUNDS = 8
_MOST = 4000
"""Vertices at which photographs are compared: nine numbers a photograph need no more."""
_SLICE = 256
"""Vertices a product of matrices takes at once."""
_RIDGE = 1e-4, 1e-2, 3e-2
"""Weight of a pseudo-observation of 0 for each constant, linear and quadratic term, as a share of all observations."""


def gains(colors: Array, masses: Array, normals: Array) -> Array:
    """Factors that bring the colours of photographs to their common mean.

    A photograph's colour is modelled as c_i = a exp(B(n) beta_i) with the texture's colour a and real spherical
    harmonics B up to the second order of the normal n, whose span holds diffuse light from anywhere to about 1 %
    (Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", SIGGRAPH 2001). Where
    photographs overlap, log c_i - B beta_i is the same for all; beta follows by least squares with weights that fall
    for outliers, for each channel, and the sum of the beta_i is 0. Between two photographs that do not overlap there
    is nothing to compare, and they stay as they are.

    Args:
      colors: [N, P, 3], sRGB, 0..1, of vertices in each photograph.
      masses: [N, P], the weight of each photograph at each vertex, at least 0.
      normals: [P, 3], unit.

    Returns:
      [N, P, 3], factors of each photograph's colours, 1 if there is one photograph.
    """
    count, points = masses.shape
    if count == 1:
        return np.ones_like(colors)
    basis = harmonics(normals)
    weights = masses * (masses.sum(axis=0) > masses)  # what one photograph alone sees, cannot be compared
    compared = np.flatnonzero(weights.any(axis=0))
    compared = compared[:: max(1, round(len(compared) / _MOST))]
    weights, shown = weights[:, compared], basis[compared]
    logs = np.log(np.maximum(colors[:, compared], _DARKEST))
    # The higher the order, the stronger the pull to 0: a constant is exposure, the rest has to be earned by the data.
    penalty = np.repeat(_RIDGE, (1, 3, 5)) * max(weights.sum(), 1e-12) / count
    products = _products(shown)  # once for all rounds
    factors = np.empty(colors.shape)
    for channel in range(3):
        beta: Array = np.zeros((count, len(penalty)))
        trust = weights
        for _ in range(_ROUNDS):
            beta = _fit(logs[:, :, channel], trust, shown, products, penalty)
            left = logs[:, :, channel] - beta @ shown.T
            # Residuals from the texture's own logarithm log a, their weighted mean at each vertex.
            left = left - (trust * left).sum(axis=0) / np.maximum(trust.sum(axis=0), 1e-12)
            # Iteratively reweighted least squares with the weights of Cauchy's function.
            trust = weights / (1 + (left / _OUTLIER) ** 2)
        factors[:, :, channel] = np.exp(-np.einsum("nb,pb->np", beta, basis))
    return factors.reshape(count, points, 3)


def harmonics(normals: Array) -> Array:
    """Real spherical harmonics [P, 9] up to the second order of unit vectors [P, 3], without their constants."""
    x, y, z = np.asarray(normals, np.float64).T
    return np.stack((np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1), axis=-1)


def _products(basis: Array) -> Array:
    """The upper half [P, B (B + 1) / 2] of each vertex's B B^T, which is symmetric; of a basis [P, B]."""
    first, second = np.triu_indices(basis.shape[1])
    return basis[:, first] * basis[:, second]


def _multiplied(a: Array, b: Array) -> Array:
    """The product of [I, P] and [P, J] in slices of P so small that the BLAS does not divide them among threads.

    What runs beside this has the cores already: threads that wait for each other cost many times the product.
    """
    whole = len(b) // _SLICE * _SLICE
    slices = np.matmul(
        a[:, :whole].reshape(len(a), -1, _SLICE).swapaxes(0, 1), b[:whole].reshape(-1, _SLICE, b.shape[1])
    )
    return slices.sum(axis=0) + a[:, whole:] @ b[whole:]


def _fit(logs: Array, weights: Array, basis: Array, products: Array, penalty: Array) -> Array:
    """Coefficients [N, B] that minimise the weighted squares of log c_i - B beta_i - their mean at each vertex.

    Args:
      logs: [N, P], log c.
      weights: [N, P].
      basis: [P, B].
      products: See `_products`.
      penalty: [B], weight of each coefficient's square.
    """
    count, terms = len(logs), basis.shape[1]
    # With log a eliminated, its mean at each vertex, photographs i and j are coupled by w_i (delta_ij - w_j / sum w).
    total = np.maximum(weights.sum(axis=0), 1e-12)
    mean = (weights * logs).sum(axis=0) / total
    known = (weights * (logs - mean)) @ basis
    i, j = np.triu_indices(count)
    coupling = weights[i] * ((i == j)[:, None] - weights[j] / total)
    blocks = np.empty((len(i), terms, terms))
    first, second = np.triu_indices(terms)
    blocks[:, first, second] = blocks[:, second, first] = _multiplied(coupling, products)
    system = np.empty((count, terms, count, terms))
    for (of, other), block in zip(zip(i, j, strict=True), blocks, strict=True):
        system[of, :, other] = system[other, :, of] = block
    system = system.reshape(count * terms, -1) + np.diag(np.tile(penalty, count))
    return np.linalg.solve(system, known.ravel()).reshape(count, terms)
