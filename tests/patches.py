"""Small faces of any topology, for tests of measures that compare meshes: a bent patch with a nose and 51 landmarks."""

import dataclasses

import numpy as np
from scipy.spatial import Delaunay, KDTree
from scipy.spatial.transform import Rotation

from tfface import schema
from tfface.geometry.mesh import Mesh

_WIDTH, _HEIGHT, _DEPTH = 75.0, 100.0, 80.0


def _landmark_xy() -> np.ndarray:
    """Frontal places of the 51 landmarks, mm."""
    brow = [(-56 + 10 * i, -52 - i * (4 - i)) for i in range(5)]
    nose = [(0, -35 + 13 * i) for i in range(4)] + [(-12 + 6 * i, 14) for i in range(5)]
    turns = np.radians([180, 240, 300, 0, 60, 120])
    eyes = [(x + 14 * np.cos(t), -32 + 5 * np.sin(t)) for x in (-32, 32) for t in turns]
    outer = [(-25 * np.cos(t), 40 - 9 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 12, endpoint=False)]
    inner = [(-18 * np.cos(t), 40 - 2 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
    return np.array(brow + [(-x, y) for x, y in brow[::-1]] + nose + eyes + outer + inner)


def surface(xy: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Points [P, 3] of the face over places [P, 2] seen from the front; `bend` [3, 3] changes its form."""
    x, y = xy.T / np.array([[_WIDTH], [_HEIGHT]])
    depth = -_DEPTH * np.sqrt(np.maximum(1.3 - x**2 - y**2, 0.0))
    nose = -22 * np.exp(-((x / 0.16) ** 2) - (np.where(y > 0, y / 0.15, y / 0.35)) ** 2)
    waves = np.stack([np.sin(2 * x + 1), np.cos(3 * y), np.sin(2 * x * y + 2 * y)], axis=-1)
    return np.column_stack([xy, depth + nose]) + 3 * waves @ bend


def face(seed: int, num_points: int = 300, bend_seed: int | None = None) -> Mesh:
    """A face of `num_points` vertices and the 51 landmarks, whose topology and form depend on the seeds, in float64."""
    rng = np.random.default_rng([seed, 0])
    bend = np.random.default_rng([seed if bend_seed is None else bend_seed, 1]).normal(size=(3, 3))
    marks = _landmark_xy()
    around, away = rng.uniform(0, 2 * np.pi, 4 * num_points), np.sqrt(rng.uniform(0, 1, 4 * num_points))
    xy = np.column_stack([_WIDTH * away * np.cos(around), _HEIGHT * away * np.sin(around)])
    xy = xy[KDTree(marks).query(xy)[0] > 1.0][: num_points - len(marks)]
    xy = np.concatenate([xy, marks])
    order = rng.permutation(len(xy))
    place = np.argsort(order)
    landmarks = {name: int(place[len(xy) - len(marks) + i]) for i, name in enumerate(schema.LANDMARKS51)}
    return Mesh(surface(xy[order], bend), Delaunay(xy[order]).simplices, landmarks)


def moved(mesh: Mesh, scale: float = 1.0, angles: tuple[float, float, float] = (0, 0, 0), shift=(0, 0, 0)) -> Mesh:
    """The mesh scaled, turned (degrees about x, y, z) and shifted."""
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return dataclasses.replace(mesh, vertices=scale * mesh.vertices @ turn.T + np.asarray(shift))


def with_awkward_things(mesh: Mesh, seed: int) -> Mesh:
    """The mesh with what meshes should not have, unused vertices in front of the others and among them included.

    A triangle on an edge that has two already, a doubled triangle, two without area, an island, a triangle that reaches
    out of ARMSE's crop, and one that has only one corner, just above the face, inside it.
    """
    rng = np.random.default_rng([seed, 2])
    n = mesh.num_vertices
    center, out = mesh.vertices.mean(axis=0), np.array([0.0, 0, 200])
    corner = mesh.triangles[0]
    above = mesh.vertices[mesh.landmarks["nose_base_0"]] + [-7, 3, -2]
    unused = rng.normal(0, 60, (5, 3)) + center
    added = np.array([center + 30, center + [34, 30, 30], center + [30, 34, 30], center + out, above, above + out])
    last = above + out + [5.0, 0, 0]
    a, b, c = mesh.triangles[7]
    triangles = [[a, b, mesh.triangles[20, 0]], [a, b, c], [a, a, b], [c, c, c], [n, n + 1, n + 2]]
    triangles += [[corner[0], corner[1], n + 3], [n + 4, n + 5, n + 6]]
    vertices = np.concatenate([mesh.vertices, added, last[None], unused])
    order = np.concatenate([n + 7 + np.arange(3), np.arange(n // 2), [n + 10, n + 11], np.arange(n // 2, n + 7)])
    place = np.argsort(order)
    landmarks = {name: int(place[index]) for name, index in mesh.landmarks.items()}
    return Mesh(vertices[order], place[np.concatenate([mesh.triangles, triangles])], landmarks)


def without(mesh: Mesh, *names: str) -> Mesh:
    """The mesh with some landmarks unknown."""
    return dataclasses.replace(mesh, landmarks={k: v for k, v in mesh.landmarks.items() if k not in names})
