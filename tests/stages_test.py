"""Stages as flags name them, and the learning rate over a stage."""

import numpy as np
import pytest

from tfface.training import stages


def test_parse():
    assert stages.parse(["ridge", "heads:10:1e-3", " block5:20 ", "all:5", "merge", "points:7:1e-3"], 1e-4) == [
        stages.Stage("heads", 0, 0.0),
        stages.Stage("heads", 10, 1e-3),
        stages.Stage("block5", 20, 1e-4),
        stages.Stage("all", 5, 1e-4),
        stages.Stage("heads", 0, 0.0, merges=True),
        stages.Stage("block4", 7, 1e-3, points=True),
    ]


def test_a_stage_names_itself_as_it_was_given():
    texts = ["ridge", "heads:10:0.001", "points:10:0.001"]
    plan = stages.parse(texts, 1e-4)
    assert [str(stage) for stage in plan] == texts
    assert [stage.solved for stage in plan] == [True, False, False]


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        (["ridge", "block4:1", "heads:1"], [False, True, False]),
        (["points:1", "points:2", "ridge"], [True, False, True]),
        (["block4:1", "points:1", "block4:1"], [True, True, True]),
    ],
)
def test_models_of_other_points_are_chosen_from_anew(texts, chosen):
    plan = stages.parse(texts, 1e-4)
    assert [stages.chosen_otherwise(plan, index) for index in range(len(plan))] == chosen


@pytest.mark.parametrize(
    "text", ["ridge:1", "heads", "heads:0", "heads:x", "block1:5", "all:5:0", "all:5:1e-3:2", "all:5:nan", ""]
)
def test_what_is_no_stage_is_named(text):
    with pytest.raises(ValueError, match="stages: expected part:steps"):
        stages.parse([text], 1e-4)
    with pytest.raises(ValueError, match="expected at least one"):
        stages.parse([], 1e-4)


def test_constant_schedule_rises_then_stays():
    schedule = stages.learning_rate(1e-3, steps=100, warmup_steps=10)
    rates = [float(schedule(step)) for step in (0, 4, 9, 50, 99)]
    np.testing.assert_allclose(rates, [1e-4, 5e-4, 1e-3, 1e-3, 1e-3], rtol=1e-5)


def test_cosine_schedule_falls_to_zero():
    schedule = stages.learning_rate(1e-3, steps=109, warmup_steps=10, shape="cosine")
    rates = [float(schedule(step)) for step in (0, 9, 59, 109, 200)]
    np.testing.assert_allclose(rates, [1e-4, 1e-3, 5e-4, 0, 0], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("warmup_steps", [0, 1])
@pytest.mark.parametrize(("shape", "half"), [("constant", 1.0), ("cosine", 0.5)])
def test_without_a_rise_a_stage_begins_at_the_peak(warmup_steps, shape, half):
    schedule = stages.learning_rate(2.0, 10, warmup_steps, shape)
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 5)], [2.0, 2.0 * half], rtol=1e-6)


def test_a_stage_that_ends_in_its_rise():
    schedule = stages.learning_rate(1.0, 3, 10, "cosine")
    np.testing.assert_allclose([float(schedule(step)) for step in range(3)], [0.1, 0.2, 0.3], rtol=1e-6)


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="schedule: expected one of constant, cosine, got 'step'"):
        stages.learning_rate(1e-3, 100, shape="step")


@pytest.mark.parametrize(
    ("texts", "index", "expected"),
    [
        (("heads:1",), 0, ["heads"]),
        (("heads:1", "block4:1", "all:1"), 0, ["block4", "heads"]),
        (("heads:1", "block4:1", "all:1"), 1, ["block4"]),
        (("block4:1", "heads:1"), 1, ["block4", "heads"]),
        (("heads:1", "block5:1", "block3:1", "heads:1"), 0, ["block3", "block5", "heads"]),
        (
            ("heads:1", "block5:1", "block3:1", "heads:1"),
            3,
            ["block3", "heads"],
        ),  # block 5's are old
        (("heads:1", "block3:1", "block4:1"), 0, ["block3", "heads"]),  # block 3 will change what block 4 sees
        (("heads:1", "all:1", "block4:1", "heads:1"), 0, ["heads"]),
        (("heads:1", "all:1", "block4:1", "heads:1"), 3, ["block4", "heads"]),
    ],
)
def test_a_stage_takes_over_only_what_no_stage_in_between_changes(texts, index, expected):
    parts = ("heads", "block5", "block4", "block3", "block2", "all")
    assert stages.cached_cuts(stages.parse(texts, 1e-3), index, parts) == expected
