"""A small face, photographs of it and what is reconstructed from them, for the tests of the page."""

import dataclasses

import numpy as np

from tfface.drawing import overlay
from tfface.face import Expressions, MorphableModel
from tfface.geometry import camera, rotation
from tfface.reconstruction.outputs import TexturedFace
from tfface.reconstruction.outputs.unwrap import Atlas
from tfface.reconstruction.reconstructed_face import Reconstruction, View

COLUMNS, ROWS = 21, 27
SIZE = (128, 168)
HOSTILE = '<script>window.harmed = 1</script>"><img src=x onerror="window.harmed = 1"> & \u2028'
RED, BLUE = (200, 40, 40), (40, 60, 210)


def _face() -> tuple[np.ndarray, np.ndarray]:
    """A shallow ellipsoid cap with a nose, wound outwards."""
    u, v = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(-1, 1, ROWS))
    nose = 18 * np.exp(-(u**2 + (v - 0.2) ** 2) / 0.1)
    vertices = np.stack([60 * u, 85 * v, 80 - 50 * np.sqrt(2.2 - u**2 - v**2) - nose], axis=-1).reshape(-1, 3)
    index = np.arange(COLUMNS * ROWS).reshape(ROWS, COLUMNS)
    a, b, c, d = (grid.ravel() for grid in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    return vertices.astype(np.float32), np.concatenate([np.stack((a, c, b), -1), np.stack((b, c, d), -1)])


VERTICES, TRIANGLES = _face()
ERRORS = np.interp(VERTICES[:, 1], [-85, 85], [0, 6.0])
TEXTURED = TexturedFace(
    vertices=VERTICES,
    triangles=TRIANGLES,
    num_closing=0,
    atlas=Atlas(
        uv=((VERTICES[:, :2] / [60, 85] + 1) / 2).clip(0, 1)[::-1],
        triangles=len(VERTICES) - 1 - TRIANGLES,
        vertex=np.arange(len(VERTICES))[::-1],
        chart=np.zeros(len(VERTICES), np.int32),
    ),
    image=np.where(np.arange(60)[None, :, None] < 30, RED, BLUE).repeat(60, axis=0).astype(np.uint8),
    photographed=np.full((60, 60), 255, np.uint8),
    gains=np.ones((2, len(VERTICES), 3), np.float32),
)


def _view(name: str, yaw: float, roll: float) -> View:
    """A photograph of the face, off its middle, on white."""
    quaternion = rotation.quaternion_from_matrix(rotation.matrix_from_yaw_pitch_roll(yaw, 8.0, roll))
    intrinsics = np.array([[230.0, 0, 92], [0, 230, 58], [0, 0, 1]])
    translation = np.array([-12.0, 10, 560])
    pixels = overlay.render(VERTICES, TRIANGLES, quaternion, translation, intrinsics, SIZE)
    px = camera.project_array(VERTICES.astype(float), quaternion, translation, intrinsics)
    box = np.concatenate((px.min(axis=0), px.max(axis=0)))
    return View(name, pixels, intrinsics, quaternion, translation, box, 0.984)


def _deltas() -> np.ndarray:
    """A chin that falls, two sides that widen, and a nose that grows."""
    moved = np.zeros((4, *VERTICES.shape), np.float32)
    moved[0, VERTICES[:, 1] > 50, 1] = 25
    moved[1, (VERTICES[:, 0] > 30) & (np.abs(VERTICES[:, 1]) < 30), 0] = 12
    moved[2, (VERTICES[:, 0] < -30) & (np.abs(VERTICES[:, 1]) < 30), 0] = -12
    moved[3, np.abs(VERTICES).max(axis=1) < 40, 2] = -9
    return moved


EXPRESSIONS = Expressions(_deltas(), ("jawOpen", "mouthSmile_L", "mouthSmile_R", HOSTILE))


def reconstruction(name: str = "Ann", views: tuple[View, ...] = (), triangles: np.ndarray = TRIANGLES):
    mode = np.zeros((1, *VERTICES.shape), np.float32)
    mode[0, 0, 0] = 1
    face_model = MorphableModel(VERTICES, mode, np.ones(1, np.float32), triangles.astype(np.int32), {}, None)
    return Reconstruction(name, np.zeros(1, np.float32), VERTICES, face_model, views)


def moving(name: str = "Ann"):
    """The same person with expressions, open-mouthed on the first photograph."""
    made = reconstruction(name, VIEWS)
    weights = np.array([[0.8, 0, 0, 0], [0, 0.5, 0.5, 0]], np.float32)
    model = dataclasses.replace(made.face_model, expressions=EXPRESSIONS)
    return dataclasses.replace(made, face_model=model, expressions=weights)


VIEWS = (_view("photographs/right.jpg", -35.0, 12.0), _view(HOSTILE, 20.0, -5.0))
ANN = reconstruction("Ann", VIEWS)
