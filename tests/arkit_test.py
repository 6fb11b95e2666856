import numpy as np
import pytest

from tfface.face import arkit

ICT_LIKE = [
    *("browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "cheekPuff_L", "cheekPuff_R"),
    *("eyeBlink_L", "eyeBlink_R", "jawOpen", "jawLeft", "mouthLeft", "mouthSmile_L", "mouthSmile_R"),
]


def test_apple_has_52_names_each_once():
    assert len(arkit.ARKIT) == len(set(arkit.ARKIT)) == 52


def test_sides_are_found_and_halves_are_joined():
    made = arkit.recipes(ICT_LIKE)
    assert made["browDownLeft"] == {"browDown_L": 1.0}
    assert made["eyeBlinkRight"] == {"eyeBlink_R": 1.0}
    assert made["browInnerUp"] == {"browInnerUp_L": 1.0, "browInnerUp_R": 1.0}
    assert made["cheekPuff"] == {"cheekPuff_L": 1.0, "cheekPuff_R": 1.0}
    assert made["jawLeft"] == {"jawLeft": 1.0}
    assert "tongueOut" not in made


def test_further_targets_are_sums_of_what_there_is():
    made = arkit.recipes(ICT_LIKE)
    assert made["mouthOpen"] == {"jawOpen": 0.5}
    assert made["mouthSmile"] == {"mouthSmile_L": 0.8, "mouthSmile_R": 0.8}
    assert made["eyesClosed"] == {"eyeBlink_L": 1.0, "eyeBlink_R": 1.0}
    assert "viseme_PP" not in made
    assert made["viseme_sil"] == {}


def test_every_further_target_is_made_of_apples_names():
    for recipe in arkit.FURTHER.values():
        assert set(recipe) <= set(arkit.ARKIT)
        assert all(0 < share <= 1 for share in recipe.values())


def test_apples_own_names_are_taken_as_they_are():
    made = arkit.recipes(arkit.ARKIT)
    assert list(made) == [*arkit.ARKIT, *arkit.FURTHER]
    assert all(made[name] == {name: 1.0} for name in arkit.ARKIT)


def test_what_is_missing_is_named():
    names = [name for name in arkit.ARKIT if name != "tongueOut"]
    assert arkit.missing(names) == ("tongueOut",)


@pytest.mark.parametrize("names", [[], ["expression_0", "expression_1"]])
def test_other_names_make_nothing(names):
    assert arkit.recipes(names) == {}


def test_weights_of_targets_combine_expressions():
    targets, weights = arkit.weights_of_targets(ICT_LIKE)
    row = weights[targets.index("cheekPuff")]
    assert [name for name, weight in zip(ICT_LIKE, row, strict=True) if weight] == ["cheekPuff_L", "cheekPuff_R"]


def test_a_pose_is_told_in_apples_names():
    weights = np.zeros(len(ICT_LIKE))
    weights[ICT_LIKE.index("browInnerUp_L")] = 0.6
    weights[ICT_LIKE.index("jawOpen")] = 0.25
    told = arkit.from_expressions(ICT_LIKE, weights)
    assert told["browInnerUp"] == pytest.approx(0.3)
    assert told["jawOpen"] == 0.25
    assert told["mouthSmileLeft"] == 0


def test_weights_are_told_in_either_names():
    told = {"browInnerUp": 0.4, "jawOpen": 0.3, "mouthSmile_L": 0.5, "mouthSmileRight": 0.6}
    weights = dict(zip(ICT_LIKE, arkit.to_expressions(told, ICT_LIKE), strict=True))
    shown = {name: round(float(weight), 5) for name, weight in weights.items() if weight}
    assert shown == {
        "browInnerUp_L": 0.4,
        "browInnerUp_R": 0.4,
        "jawOpen": 0.3,
        "mouthSmile_L": 0.5,
        "mouthSmile_R": 0.6,
    }
    for given, message in (
        ({"tongueOut": 1.0}, "'tongueOut' is neither"),
        ({"viseme_aa": 1.0}, "'viseme_aa' is neither"),
        ({"browInnerUp": 0.4, "browInnerUp_R": 0.4}, "'browInnerUp_R' tells what 'browInnerUp' has told"),
    ):
        with pytest.raises(ValueError, match=message):
            arkit.to_expressions(given, ICT_LIKE)


def test_a_shape_of_both_sides_is_not_taken_for_one():
    assert "mouthSmileLeft" not in arkit.recipes(["mouthSmile", "jawOpen"])
    assert arkit.recipes(["cheekPuffLeft", "cheekPuffRight"])["cheekPuff"] == {"cheekPuffLeft": 1, "cheekPuffRight": 1}
    assert arkit.canonical_names("mouthSmile") == ("mouthSmile_L", "mouthSmile_R")
    assert arkit.canonical_names("jawLeft") == ("jawLeft",)
