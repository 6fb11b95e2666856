"""The steps that fade one thing into another."""

import numpy as np

from tfface.geometry.interpolation import smootherstep, smoothstep

AT = np.array([0.0, 1, 2, 3, 4])


def test_smoothstep_rises_or_falls():
    np.testing.assert_allclose(smoothstep(1, 3, AT), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(3, 1, AT), [1, 1, 0.5, 0, 0])


def test_smoothstep_keeps_the_precision():
    assert smoothstep(1, 3, AT.astype(np.float32)).dtype == np.float32


def test_smootherstep_rises_and_is_flat_at_both_ends():
    np.testing.assert_allclose(smootherstep(AT, 1, 3), [0, 0, 0.5, 1, 1])
    h = 1e-3  # The second derivative is of the order of h at both ends, that of the cubic step is 6 / 2^2.
    for end in (1, 3):
        first, middle, last = smootherstep(end + np.array([-h, 0, h]), 1, 3)
        assert abs(first - 2 * middle + last) / h**2 < 0.1
