"""Stages as flags name them, and the learning rate over a stage."""

import numpy as np
import pytest

from tfface.training import stages


def test_parse():
    assert stages.parse(["heads:10:1e-3", " block5:20 ", "all:5"], 1e-4) == [
        stages.Stage("heads", 10, 1e-3),
        stages.Stage("block5", 20, 1e-4),
        stages.Stage("all", 5, 1e-4),
    ]


@pytest.mark.parametrize(
    "text", ["heads", "heads:0", "heads:x", "block1:5", "all:5:0", "all:5:1e-3:2", "all:5:nan", ""]
)
def test_what_is_no_stage_is_named(text):
    with pytest.raises(ValueError, match="stages: expected part:steps"):
        stages.parse([text], 1e-4)
    with pytest.raises(ValueError, match="expected at least one"):
        stages.parse([], 1e-4)


def test_constant_schedule_rises_then_stays():
    schedule = stages.WarmupThen(1e-3, steps=100, warmup_steps=10)
    rates = [float(schedule(step)) for step in (0, 4, 9, 50, 99)]
    np.testing.assert_allclose(rates, [1e-4, 5e-4, 1e-3, 1e-3, 1e-3], rtol=1e-5)


def test_cosine_schedule_falls_to_zero():
    schedule = stages.WarmupThen(1e-3, steps=110, warmup_steps=10, shape="cosine")
    rates = [float(schedule(step)) for step in (9, 60, 110, 200)]
    np.testing.assert_allclose(rates, [1e-3, 5e-4, 0, 0], rtol=1e-4, atol=1e-9)


def test_schedule_config_round_trip():
    schedule = stages.WarmupThen(1e-3, 100, 10, "cosine")
    assert stages.WarmupThen.from_config(schedule.get_config()).get_config() == schedule.get_config()
    with pytest.raises(ValueError, match="schedule: expected constant or cosine, got 'step'"):
        stages.WarmupThen(1e-3, 100, shape="step")
