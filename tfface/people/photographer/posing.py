"""What expressions do to a head: the skin moves with the blendshapes, and the eyes turn as their lids follow.

Blendshapes are linear and move the lids alone; an eyeball turns rigidly about its centre, by angles that the same
weights give, so that what a photograph shows follows from the identity and the weights and from nothing else.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from tfface.face import arkit
from tfface.people import expression_sampler
from tfface.people.photographer.head_model import EYES, HeadModel

Array = npt.NDArray[np.float32]

GAZE_LIMITS = {"eyeLookOut": 35.0, "eyeLookIn": 35.0, "eyeLookUp": 25.0, "eyeLookDown": 30.0}
"""Degrees by which an eye has turned where the weight of the shape that moves its lids is 1."""

_RETREAT = 2.0
"""mm by which an eyeball gives way to lids that close: they move along chords, the ball bulges."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Eye:
    """One eyeball of a head.

    Attributes:
      vertices: [B] of the head.
      behind: [R] of the head, its rear half, which is round where the front bulges.
      turns: [E, 2], degrees to the person's left and downwards at weight 1 of each blendshape.
      closes: [E], 1 for the blendshape that closes its lids.
    """

    vertices: npt.NDArray[np.intp]
    behind: npt.NDArray[np.intp]
    turns: npt.NDArray[np.float64]
    closes: npt.NDArray[np.float64]


def pose(head: HeadModel, vertices: Array, weights: Array) -> Array:
    """The head of a person with an expression.

    Args:
      head: the topology, one that has expressions.
      vertices: [V, 3], mm, the person's neutral head.
      weights: [E].

    Returns:
      [V, 3] float32, mm.
    """
    assert head.expressions is not None
    active = np.flatnonzero(weights)
    if not len(active):
        return vertices
    moved = np.zeros_like(vertices)
    for number in active:  # One by one: to gather the deltas takes longer than to add them.
        moved += weights[number] * head.expressions.deltas[number]
    posed = vertices + moved
    for eye in _eyes_of(head):
        left, down = np.radians(weights @ eye.turns)
        back = _RETREAT * float(weights @ eye.closes)
        if left or down or back:
            centre = _sphere_centre(vertices[eye.behind].astype(np.float64))
            turned = (vertices[eye.vertices] - centre) @ _turn(left, down).T + centre + (0, 0, back)
            posed[eye.vertices] = turned.astype(np.float32)
    return posed


def gaze_weights(names: tuple[str, ...], left: float, down: float) -> Array:
    """Weights of the shapes of both eyes that look somewhere.

    Args:
      names: of the E blendshapes.
      left: degrees to the person's left.
      down: degrees downwards.

    Returns:
      [E] float32; beyond `GAZE_LIMITS` the eyes do not turn.
    """
    outwards, inwards = ("L", "R") if left > 0 else ("R", "L")
    vertical = "eyeLookDown" if down > 0 else "eyeLookUp"
    drawn = {
        f"eyeLookOut_{outwards}": abs(left) / GAZE_LIMITS["eyeLookOut"],
        f"eyeLookIn_{inwards}": abs(left) / GAZE_LIMITS["eyeLookIn"],
        f"{vertical}_L": abs(down) / GAZE_LIMITS[vertical],
        f"{vertical}_R": abs(down) / GAZE_LIMITS[vertical],
    }
    return expression_sampler.weight_vector({name: min(weight, 1.0) for name, weight in drawn.items()}, names)


def _turn(left: float, down: float) -> npt.NDArray[np.float64]:
    """Rotation [3, 3] that turns what looks along -z towards +x by `left` and towards +y by `down`, radians."""
    cos, sin = np.cos(left), np.sin(left)
    sideways = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    cos, sin = np.cos(down), np.sin(down)
    return sideways @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _sphere_centre(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Centre [3] of the sphere nearest to points [R, 3]: |p|^2 = 2 p.c + (r^2 - |c|^2), least squares."""
    system = np.concatenate((2 * points, np.ones((len(points), 1))), axis=1)
    return np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0][:3]


def turned_eye(ball: Array, side: str, name: str) -> Array:
    """The eyeball where one shape has its full weight: turned if the shape is of this eye's gaze.

    Args:
      ball: [B, 3], mm, model axes.
      side: ``L`` or ``R``, the person's own.
      name: ICT-FaceKit's name of the shape.

    Returns:
      [B, 3] float32, mm.
    """
    left, down = np.radians(_turns(side).get(name, (0.0, 0.0)))
    centre = _sphere_centre(ball[_behind(ball)].astype(np.float64))
    return ((ball - centre) @ _turn(left, down).T + centre).astype(np.float32) if left or down else ball


def _turns(side: str) -> dict[str, tuple[float, float]]:
    """Degrees to the person's left and downwards by which each shape turns the eye of a side."""
    out = 1 if side == "L" else -1  # The left eye looks outwards to the person's own left.
    return {
        f"eyeLookOut_{side}": (out * GAZE_LIMITS["eyeLookOut"], 0.0),
        f"eyeLookIn_{side}": (-out * GAZE_LIMITS["eyeLookIn"], 0.0),
        f"eyeLookUp_{side}": (0.0, -GAZE_LIMITS["eyeLookUp"]),
        f"eyeLookDown_{side}": (0.0, GAZE_LIMITS["eyeLookDown"]),
    }


def _behind(ball: Array) -> npt.NDArray[np.bool_]:
    """The rear half of an eyeball's vertices [B, 3], which is round where the front bulges, [B]."""
    return ball[:, 2] > (ball[:, 2].min() + ball[:, 2].max()) / 2


@functools.lru_cache(maxsize=4)
def _eyes_of(head: HeadModel) -> tuple[_Eye, ...]:
    """The eyeballs of a head, the right one first; once a process."""
    assert head.expressions is not None
    middle = np.mean([head.template_vertices[head.landmarks[name], 0] for name in ("eye_right_0", "eye_left_3")])
    balls = np.unique(head.triangles[np.isin(head.part, EYES)])
    on_left = head.template_vertices[balls, 0] > middle
    eyes = []
    for side, mine in (("R", balls[~on_left]), ("L", balls[on_left])):
        if len(mine):
            directions = _turns(side)
            names = [arkit.canonical_names(name)[0] for name in head.expressions.names]
            turns = np.array([directions.get(name, (0.0, 0.0)) for name in names])
            closes = np.array([float(name == f"eyeBlink_{side}") for name in names])
            eyes.append(_Eye(mine, mine[_behind(head.template_vertices[mine])], turns, closes))
    return tuple(eyes)
