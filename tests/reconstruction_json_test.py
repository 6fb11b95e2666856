"""What reconstruction.json says of photographs with expressions."""

import dataclasses

import numpy as np
import pytest
import tiny

from tfface.face import Expressions
from tfface.geometry import camera
from tfface.reconstruction import json_file
from tfface.reconstruction.reconstructed_face import Reconstruction, View

MOVES = Expressions(np.random.default_rng(0).normal(0, 6, (2, 12, 3)), ("jawOpen", "mouthSmile_L"))
FACE = dataclasses.replace(tiny.face_model(), expressions=MOVES)
VIEW = View(
    name="a.jpg",
    pixels=np.zeros((64, 64, 3), np.uint8),
    intrinsics=np.array([[80.0, 0, 32], [0, 80, 32], [0, 0, 1]]),
    quaternion=np.array([0.0, 0, 0, 1]),
    translation=np.array([0.0, 0, 600]),
    box=np.array([1.0, 2, 3, 4]),
    confidence=0.9,
)
WEIGHTS = np.array([[0.0, 0], [0.5, 1]])


def content(expressions: np.ndarray | None) -> dict:
    person = Reconstruction("anna", np.zeros(4), FACE.mean, FACE, (VIEW, VIEW), expressions)
    return json_file.content(person, {})


def test_landmarks_in_a_photograph_are_those_of_the_face_that_it_shows():
    told = content(WEIGHTS)
    index = FACE.landmarks["jaw_8"]
    assert told["landmarks"]["jaw_8"]["mm"] == pytest.approx(FACE.mean[index].tolist(), rel=1e-5)
    for weights, shot in zip(WEIGHTS, told["photographs"], strict=True):
        point = FACE.mean[index] + weights @ MOVES.deltas[:, index]
        px = camera.project_array(point[None], VIEW.quaternion, VIEW.translation, VIEW.intrinsics)[0]
        assert shot["landmarks_px"]["jaw_8"] == pytest.approx(px.tolist(), abs=1e-3)
        assert shot["expressions"] == {"jawOpen": weights[0], "mouthSmileLeft": weights[1]}


def test_a_model_without_expressions_tells_none():
    one, other = content(None)["photographs"]
    assert one == other
    assert "expressions" not in one
