"""A person whose colours are known everywhere: a cap with a nose and two eye openings, painted by a formula."""

import dataclasses

import numpy as np

from tfface.face import MorphableModel, find_symmetry
from tfface.geometry import camera, raycast, rotation
from tfface.reconstruction.outputs.output_mesh import output_surface
from tfface.reconstruction.reconstructed_face import Reconstruction, View

COLUMNS, ROWS = 33, 41
BACKGROUND = (255, 0, 255)
SHARP = 3
"""Rays along each axis of a photograph's pixel."""


def _index(column: np.ndarray, row: np.ndarray) -> np.ndarray:
    return row * COLUMNS + column


def face_model() -> MorphableModel:
    """The mean shape, its diagonals mirrored, with an opening of six quadrilaterals for each eye."""
    u, v = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(-1, 1, ROWS))
    nose = 20 * np.exp(-(u**2 + (v - 0.2) ** 2) / 0.05)
    vertices = np.stack([70 * u, 95 * v, -80 * np.sqrt(2.4 - u**2 - v**2) - nose], axis=-1).reshape(-1, 3)
    vertices -= vertices.mean(axis=0)
    column, row = (index.ravel() for index in np.meshgrid(np.arange(COLUMNS - 1), np.arange(ROWS - 1)))
    side = np.minimum(column, COLUMNS - 2 - column)
    kept = ~(np.isin(side, (8, 9, 10)) & np.isin(row, (15, 16)))
    column, row = column[kept], row[kept]
    a, b = _index(column, row), _index(column + 1, row)
    c, d = _index(column, row + 1), _index(column + 1, row + 1)
    left = (column < (COLUMNS - 1) // 2)[:, None]
    triangles = np.concatenate(
        [
            np.where(left, np.stack((a, c, b), 1), np.stack((a, d, b), 1)),
            np.where(left, np.stack((b, c, d), 1), np.stack((a, c, d), 1)),
        ]
    )
    basis = np.zeros((1, len(vertices), 3))
    basis[0, :, 1] = np.sin(vertices[:, 1] / 40)
    landmarks = {"nose_ridge_3": int(_index(16, 24)), "jaw_8": int(_index(16, 40))}
    return MorphableModel(
        mean=vertices.astype(np.float32),
        basis=(basis / np.linalg.norm(basis)).astype(np.float32),
        eigenvalues=np.array([100.0], np.float32),
        triangles=triangles.astype(np.int32),
        landmarks=landmarks,
        symmetry=find_symmetry(vertices, triangles),
    )


def paint(points: np.ndarray) -> np.ndarray:
    """Colours [..., 3], sRGB, 0..1, of points [..., 3] of the mean shape: the same on both sides of the face."""
    x, y = np.abs(points[..., 0]), points[..., 1]
    wave = 0.10 * np.sin(x / 4.0) * np.cos(y / 5.0) + 0.05 * np.cos((x + y) / 25)
    return np.stack([0.70 + wave, 0.52 + 0.8 * wave, 0.45 - 0.5 * wave], axis=-1)


def person(
    yaws: tuple[float, ...] = (-40.0, 0.0, 40.0), gains: tuple[float, ...] | None = None, size: int = 144
) -> Reconstruction:
    """A deformed face and its photographs, each as bright as its gain says, before a background of one colour."""
    model = face_model()
    coefficients = np.array([1.5], np.float32)
    vertices = model.decode(coefficients)
    views = tuple(
        photograph(model, vertices, yaw, gain, size, f"view {number}.png")
        for number, (yaw, gain) in enumerate(zip(yaws, gains or (1.0,) * len(yaws), strict=True))
    )
    return Reconstruction("painted", coefficients, vertices, model, views)


def photograph(model: MorphableModel, vertices: np.ndarray, yaw: float, gain: float, size: int, name: str) -> View:
    """One photograph, 3:4, with the principal point off its centre."""
    turn = rotation.matrix_from_yaw_pitch_roll(yaw, 4.0, -3.0)
    size_hw = size * 4 // 3, size
    focal = 2.6 * size
    intrinsics = np.array([[focal, 0, 0.5 * size + 5], [0, focal, 0.65 * size], [0, 0, 1]])
    translation = np.array([2.0, -3.0, 500.0])
    quaternion = rotation.quaternion_from_matrix(turn)
    fine_hw = size_hw[0] * SHARP, size_hw[1] * SHARP
    fine = camera.resize_intrinsics(intrinsics, size_hw, fine_hw)
    caster = raycast.Raycaster(vertices, output_surface(model).triangles)
    fragments = raycast.raster(caster, quaternion, translation, fine, fine_hw)
    picture = np.tile(np.array(BACKGROUND) / 255, (*fine_hw, 1))
    hit = fragments.triangle >= 0
    corners = caster.triangles[fragments.triangle[hit]]
    picture[hit] = np.clip(gain * paint(np.einsum("sc,sck->sk", fragments.barycentric[hit], model.mean[corners])), 0, 1)
    picture = picture.reshape(size_hw[0], SHARP, size_hw[1], SHARP, 3).mean(axis=(1, 3))
    px = camera.project_array(vertices, quaternion, translation, intrinsics)
    return View(
        name=name,
        pixels=np.rint(255 * picture).astype(np.uint8),
        intrinsics=intrinsics.astype(np.float32),
        quaternion=quaternion.astype(np.float32),
        translation=translation.astype(np.float32),
        box=np.concatenate((px.min(axis=0), px.max(axis=0))).astype(np.float32),
        confidence=0.9,
    )


def without_symmetry(reconstruction: Reconstruction) -> Reconstruction:
    """The same person of a model that knows no symmetry."""
    model = dataclasses.replace(reconstruction.face_model, symmetry=None)
    return dataclasses.replace(reconstruction, face_model=model)
