"""A head whose surface is known in closed form, an ellipsoid with two eyeballs, for tests of the photographer."""

import functools

import numpy as np

from tfface import schema
from tfface.people import photographer

SEMI_AXES = np.array([75.0, 110.0, 95.0])
_EYES = np.array([[-32.0, -32.0], [32.0, -32.0]])  # The right one first.


def _sphere(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit sphere with its poles on the y axis, and triangles with normals that point outwards."""
    polar, around = np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False)
    x = np.sin(polar)[:, None] * np.sin(around)
    z = np.sin(polar)[:, None] * np.cos(around)
    vertices = np.stack(np.broadcast_arrays(x, -np.cos(polar)[:, None], z), axis=-1).reshape(-1, 3)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1], np.roll(index[:-1], -1, axis=1), index[1:], np.roll(index[1:], -1, axis=1)
    triangles = np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
    return vertices, triangles


def _landmark_xy() -> np.ndarray:
    """Frontal places of the 68 landmarks, mm."""
    jaw = [(-72 * np.cos(t), -30 + 115 * np.sin(t)) for t in np.linspace(0, np.pi, 17)]
    brow = [(-56 + 10 * i, -52 - 2 * i * (4 - i) / 1.6) for i in range(5)]
    nose = [(0, -35 + 13 * i) for i in range(4)] + [(-12 + 6 * i, 14) for i in range(5)]
    turns = np.radians([180, 240, 300, 0, 60, 120])
    eyes = [(x + 14 * np.cos(t), y + 5 * np.sin(t)) for x, y in _EYES for t in turns]
    outer = [(-25 * np.cos(t), 40 - 9 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 12, endpoint=False)]
    inner = [(-18 * np.cos(t), 40 - 2 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
    return np.array(jaw + brow + [(-x, y) for x, y in brow[::-1]] + nose + eyes + outer + inner)


@functools.cache
def head() -> photographer.HeadModel:
    """The egg as a head: 8,400 vertices, whose face is its front half."""
    unit, skin = _sphere(81, 96)
    vertices, triangles = [unit * SEMI_AXES], [skin]
    part = [np.zeros(len(skin), np.int8)]
    xy = _landmark_xy()
    front = np.flatnonzero(unit[:, 2] < 0.05)
    landmarks = {
        name: int(front[np.argmin(((vertices[0][front, :2] - place) ** 2).sum(axis=1))])
        for name, place in zip(schema.IBUG68, xy, strict=True)
    }
    for x, y in _EYES:
        ball, ball_triangles = _sphere(13, 24)
        depth = -SEMI_AXES[2] * np.sqrt(1 - (x / SEMI_AXES[0]) ** 2 - (y / SEMI_AXES[1]) ** 2)
        triangles.append(ball_triangles + sum(map(len, vertices)))
        vertices.append(ball * 12 + (x, y, depth + 8))
        iris = ball[ball_triangles].mean(axis=1)[:, 2] < -0.87
        part.append(np.where(iris, photographer.Part.IRIS, photographer.Part.SCLERA).astype(np.int8))
    return photographer.HeadModel(
        triangles=np.concatenate(triangles).astype(np.int32),
        part=np.concatenate(part),
        template_vertices=np.concatenate(vertices).astype(np.float32),
        face_index=front.astype(np.int32),
        landmarks=landmarks,
    )


def landmark_positions() -> np.ndarray:
    """[68, 3], mm, in the order of `schema.IBUG68`."""
    return head().template_vertices[[head().landmarks[name] for name in schema.IBUG68]]
