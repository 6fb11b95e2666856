"""One thread of BLAS for small matrices, and then as many as before."""

import numpy as np
import pytest
import threadpoolctl

from tfface import fitting
from tfface.fitting import adjustment
from tfface.fitting.blas_threads import one_thread


def threads() -> set[int]:
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


def test_the_limit_holds_while_it_is_asked_for_and_goes_with_a_fault_too():
    with threadpoolctl.threadpool_limits(2, "blas"):
        for _ in range(2):
            with one_thread():
                assert threads() == {1}
            assert threads() == {2}
        with pytest.raises(KeyError), one_thread():
            raise KeyError
        assert threads() == {2}


def test_an_adjustment_has_one_thread(monkeypatch):
    import fitting_test

    seen = []
    solve = adjustment._Problem.solve
    monkeypatch.setattr(adjustment._Problem, "solve", lambda self, state: seen.append(threads()) or solve(self, state))
    model = fitting_test._face_model()
    points = fitting.SurfacePoints(tuple("abcde"), np.repeat(np.arange(5)[:, None], 3, axis=1), np.eye(3)[[0] * 5])
    camera = np.array([[[900.0, 0, 320], [0, 900, 240], [0, 0, 1]]])
    with threadpoolctl.threadpool_limits(2, "blas"):
        fitting.adjust(np.random.default_rng(0).uniform(0, 400, (1, 5, 2)), np.ones((1, 5)), camera, model, points)
        assert threads() == {2}
    assert seen == [{1}]
