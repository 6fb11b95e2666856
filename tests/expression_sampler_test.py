"""Expressions of people in photographs: shares, ranges, sides, and names of other 3DMMs."""

import functools

import numpy as np
import pytest

from tfface.face.importers.ict import EXPRESSIONS
from tfface.people import expression_sampler


@functools.cache
def _drawn() -> list[dict[str, float]]:
    return [expression_sampler.sample_expression(np.random.default_rng([5, i])) for i in range(4000)]


@functools.cache
def _all_weights() -> np.ndarray:
    return np.stack([expression_sampler.weight_vector(drawn, EXPRESSIONS) for drawn in _drawn()])


def _weights(name: str) -> np.ndarray:
    return _all_weights()[:, EXPRESSIONS.index(name)]


def test_every_name_is_one_of_ict_facekit_and_weights_lie_in_0_to_1():
    for drawn in _drawn():
        assert set(drawn) <= set(EXPRESSIONS)
    weights = _all_weights()
    assert weights.dtype == np.float32
    assert weights.min() == 0
    assert weights.max() <= 1


def test_a_third_is_neutral_and_every_shape_but_those_of_the_gaze_occurs():
    assert (_all_weights() == 0).all(axis=1).mean() == pytest.approx(0.33, abs=0.025)
    shown = {name for name in EXPRESSIONS if (_weights(name) > 0.1).sum() >= 10}
    of_gaze = {name for name in EXPRESSIONS if name.startswith("eyeLook")}
    assert set(EXPRESSIONS) - shown == of_gaze | {"mouthClose"}


def test_people_smile_talk_and_blink_as_often_as_the_table_says():
    assert 0.2 < (_weights("mouthSmile_L") > 0.1).mean() < 0.35
    assert 0.2 < (_weights("jawOpen") > 0.02).mean() < 0.4
    assert 0.08 < (_weights("eyeBlink_L") > 0.9).mean() < 0.14
    assert 0.005 < ((_weights("eyeBlink_L") > 0.9) != (_weights("eyeBlink_R") > 0.9)).mean() < 0.04
    assert _weights("jawOpen").max() <= 0.65


def test_left_and_right_are_mostly_alike_and_neither_side_is_preferred():
    smiling = (_weights("mouthSmile_L") > 0.1) | (_weights("mouthSmile_R") > 0.1)
    difference = (_weights("mouthSmile_L") - _weights("mouthSmile_R"))[smiling]
    assert np.median(np.abs(difference)) < 0.12
    assert 0.05 < (np.abs(difference) > 0.3).mean() < 0.35
    assert abs(difference.mean()) < 0.05


def test_lids_and_jaw_do_not_work_against_themselves():
    assert not ((_weights("jawLeft") > 0) & (_weights("jawRight") > 0)).any()
    both = (_weights("eyeBlink_L") > 0.3) & (_weights("eyeBlink_R") > 0.3)
    np.testing.assert_allclose(_weights("eyeBlink_L")[both], _weights("eyeBlink_R")[both], atol=1e-6)


def test_the_same_generator_gives_the_same_expression():
    again = [expression_sampler.sample_expression(np.random.default_rng([5, i])) for i in range(20)]
    assert again == _drawn()[:20]


def test_a_3dmm_with_names_of_arkit_gets_the_same_weights():
    drawn = {"mouthSmile_L": 0.5, "browInnerUp_L": 0.4, "browInnerUp_R": 0.8, "jawOpen": 0.3, "jawLeft": 0.2}
    names = ("mouthSmileLeft", "mouthSmileRight", "browInnerUp", "jawOpen", "jawLeft", "tongueOut")
    np.testing.assert_allclose(expression_sampler.weight_vector(drawn, names), [0.5, 0, 0.6, 0.3, 0.2, 0], atol=1e-6)
