"""What may sit on a head and hide parts of it: a volume of hair, and caps. They have thickness and cast shadows.

Both are shells over one grid that wraps the head: its points hang on the template's skin, so it follows the shape of
each person at no cost.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from tfface import schema
from tfface.geometry import mesh, raycast
from tfface.geometry.interpolation import smoothstep
from tfface.people.photographer import masks
from tfface.people.photographer.head_model import HeadModel, Part
from tfface.people.photographer.settings import PhotographySettings

Array = npt.NDArray[np.float32]

_COLUMNS, _DOME_ROWS, _WALL_ROWS = 96, 14, 22
_SUNKEN = -12.0
"""mm: how deep below the skin the shell may lie where there is no hair, so that it comes out along a smooth line."""
STRANDS = (128, 512)
"""Size of the picture of hair strands: (along, across) the hair."""


@dataclasses.dataclass(frozen=True, eq=False)
class Headwear:
    """Triangles to be put on a head.

    Attributes:
      vertices: [W, 3], mm, source frame.
      triangles: [F, 3] int32.
      part: `Part.HAIR`, `Part.CLOTH` or `Part.THING`.
      texel: [W, 2], (x, y) in the picture of strands, texels.
      colour: [3], linear RGB.
    """

    vertices: Array
    triangles: npt.NDArray[np.int32]
    part: Part
    texel: Array
    colour: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Points of the template's skin around the head, [rows, columns]; the last column repeats the first.

    Attributes:
      corners: [rows, columns, 3] vertex indices of the triangle under each point.
      weights: [rows, columns, 3] barycentric coordinates there.
      outward: [rows, columns, 3] unit vectors from the head's axis.
      points: [rows, columns, 3], mm, on the template.
      landmarks: of the template.
      triangles: [F, 3], indices into rows * columns.
      texel: [rows, columns, 2].
    """

    corners: npt.NDArray[np.int32]
    weights: Array
    outward: Array
    points: Array
    landmarks: masks.Landmarks
    triangles: npt.NDArray[np.int32]
    texel: Array


@functools.lru_cache(maxsize=4)
def grid_of(head: HeadModel) -> Grid:
    """Hangs the grid on a head: a dome of elevations above the brows, a wall of heights below; once a process."""
    vertices = head.template_vertices
    landmarks = masks.Landmarks(vertices[[head.landmarks[name] for name in schema.IBUG68]].astype(np.float64))
    x, z = landmarks.axis
    azimuth = np.linspace(-np.pi, np.pi, _COLUMNS + 1)
    around = np.stack((np.sin(azimuth), np.zeros_like(azimuth), -np.cos(azimuth)), axis=-1)
    equator = landmarks.glabella
    elevation = np.radians(np.linspace(89, 0, _DOME_ROWS, endpoint=False))[:, None, None]
    dome = np.cos(elevation) * around + np.sin(elevation) * np.array([0, -1, 0])
    heights = np.linspace(equator, equator + 2.6 * landmarks.third, _WALL_ROWS)
    directions = np.concatenate((dome, np.broadcast_to(around, (_WALL_ROWS, *around.shape))))
    levels = np.concatenate((np.full(_DOME_ROWS, equator), heights))
    origins = np.stack(np.broadcast_arrays(x, levels[:, None], z), axis=-1)
    skin = head.triangles[head.part == Part.SKIN]
    hits = raycast.Raycaster(vertices, skin).cast(origins, directions)
    # Below the template's rim the grid is continued as it ended.
    rows = np.maximum.accumulate(np.where(hits.triangle >= 0, np.arange(len(levels))[:, None], 0), axis=0)
    triangle = np.take_along_axis(hits.triangle, rows, axis=0)
    weights = np.take_along_axis(hits.barycentric, rows[..., None], axis=0)
    corners = skin[triangle]
    points = np.einsum("rcb,rcbk->rck", weights, vertices[corners])
    size = len(levels), _COLUMNS + 1
    index = np.arange(size[0] * size[1]).reshape(size)
    triangles = mesh.grid_triangles(index)
    across, along = np.meshgrid(np.linspace(0, STRANDS[1] - 1, size[1]), np.linspace(0, STRANDS[0] - 1, size[0]))
    return Grid(
        corners,
        weights,
        directions.astype(np.float32),
        points.astype(np.float32),
        landmarks,
        triangles.astype(np.int32),
        np.stack((across, along), axis=-1).astype(np.float32),
    )


@functools.lru_cache(maxsize=1)
def strands() -> Array:
    """A picture of hair: noise that varies quickly across it and slowly along, [*STRANDS], about 0.3 to 1.7."""
    white = np.random.default_rng(1).standard_normal(STRANDS)
    noise = sum(
        scipy.ndimage.gaussian_filter(white, size, mode="wrap") * np.sqrt(size[0] * size[1])
        for size in ((12.0, 0.7), (20.0, 2.5))
    )
    return np.clip(1 + 0.3 * noise / noise.std(), 0.3, 1.7).astype(np.float32)


def sample_headwear(
    head: HeadModel, vertices: Array, hair: Array, bald: bool, settings: PhotographySettings, rng: np.random.Generator
) -> list[Headwear]:
    """Draws what a person wears: hair unless bald, sometimes a cap.

    Args:
      head: the topology.
      vertices: [V, 3], mm, source frame, of the person.
      hair: [3], colour of the hair, linear RGB.
      bald: whether there is no volume of hair.
      settings: `hair_probability` and `occluder_probability`.
      rng: source of randomness.

    Returns:
      None to two pieces.
    """
    grid = grid_of(head)
    skin = skin_of(grid, vertices)
    occluder = rng.random() < settings.occluder_probability
    cap = occluder and rng.random() < 0.5
    worn = []
    if not bald and rng.random() < settings.hair_probability:
        worn.append(_sample_hair(grid, skin, hair, occluder and not cap, cap, rng))
    if cap:
        worn.append(_sample_cap(grid, skin, rng))
    return worn


def _sample_hair(
    grid: Grid, skin: Array, colour: Array, fringe: bool, under_cap: bool, rng: np.random.Generator
) -> Headwear:
    third = grid.landmarks.third
    long = bool(rng.random() < 0.35)
    lowered = rng.uniform(0.45, 0.68) * third if fringe else rng.uniform(-0.12, 0.08) * third
    depth = masks.hairline(grid.points, grid.landmarks, lowered, long)
    down = np.clip((grid.points[..., 1] - grid.landmarks.glabella) / third + 0.3, 0, 1)
    top, side = rng.uniform(4, 26), rng.uniform(14, 30) if long else rng.uniform(2, 14)
    thickness = top + down * (side - top)
    if long:
        end = grid.landmarks.positions[8, 1] + rng.uniform(-0.4, 0.9) * third
        heights = grid.texel[..., 1] / (STRANDS[0] - 1) * (len(grid.points) - 1) - _DOME_ROWS
        height = grid.landmarks.glabella + np.maximum(heights, 0) / (_WALL_ROWS - 1) * 2.6 * third
        depth = np.minimum(depth, end - height)
    if under_cap:
        thickness = np.minimum(thickness, 4 + 30 * down)
    lumps = scipy.ndimage.gaussian_filter(rng.standard_normal(depth.shape), (1.5, 1.2), mode=("nearest", "wrap"))
    lumps *= 1 / max(float(lumps.std()), 1e-6)
    lifted = lift(depth + 2 * lumps, thickness * (1 + 0.12 * lumps), 0.6)
    return shell(grid, skin, lifted, Part.HAIR, colour)


def _sample_cap(grid: Grid, skin: Array, rng: np.random.Generator) -> Headwear:
    landmarks = grid.landmarks
    colour = (rng.random(3) * rng.uniform(0.03, 0.6) + 0.01).astype(np.float32)
    brim = rng.random() < 0.6
    depth = masks.cap_line(grid.points, landmarks, rng.uniform(0.15, 0.45) * landmarks.third)
    height = lift(depth, 7.0 + (rng.uniform(0, 12) if brim else 3.0) * smoothstep(0, 50, depth), 2.0)
    crown = shell(grid, skin, height, Part.CLOTH, colour)
    if not brim:
        return crown
    # The brim grows out of the lowest row of the cap in front.
    row = np.argmax(depth < 0, axis=0) - 1
    front = np.flatnonzero(np.abs(np.linspace(-np.pi, np.pi, _COLUMNS + 1)) < np.radians(62))
    rim = (skin + 6 * grid.outward)[row[front], front]
    rim[:, 1] = rim[:, 1].mean()
    angle = np.linspace(-1, 1, len(front))
    reach = rng.uniform(55, 80) * np.sqrt(np.maximum(1 - np.abs(angle) ** 3, 0))
    steps = np.linspace(0, 1, 6)[:, None]
    ahead = np.stack((0.35 * np.sin(angle), np.full_like(angle, rng.uniform(0.05, 0.35)), -np.cos(angle)), axis=-1)
    out = rim + (steps * reach)[..., None] * ahead
    out[..., 1] += 10 * angle**2 * steps
    index = np.arange(out[..., 0].size).reshape(out.shape[:2]) + len(crown.vertices)
    triangles = mesh.grid_triangles(index)
    vertices = out.reshape(-1, 3)
    return Headwear(
        np.concatenate((crown.vertices, vertices)).astype(np.float32),
        np.concatenate((crown.triangles, triangles)).astype(np.int32),
        Part.CLOTH,
        np.concatenate((crown.texel, np.full((len(vertices), 2), STRANDS[0] / 2, np.float32))),
        colour,
    )


def skin_of(grid: Grid, vertices: Array) -> Array:
    """The points of the grid on a person whose vertices are [V, 3], mm: [rows, columns, 3]."""
    return np.einsum("rcb,rcbk->rck", grid.weights, vertices[grid.corners])


def lift(
    depth: npt.NDArray[np.floating], thickness: npt.NDArray[np.floating], slope: float
) -> npt.NDArray[np.floating]:
    """Height above the skin, mm, of what begins at depth 0, rises with a slope and is at most `thickness` high.

    Where a triangle passes through the skin, its lift is linear in the depth: the visible edge is a smooth line.
    """
    return np.clip(slope * depth, _SUNKEN, thickness)


def shell(grid: Grid, skin: Array, lift: npt.NDArray[np.floating], part: Part, colour: Array) -> Headwear:
    """The part of the grid that rises above the skin, `lift` mm along the outward directions."""
    vertices = (skin + lift[..., None] * grid.outward).reshape(-1, 3).astype(np.float32)
    shown = (lift.ravel() > 0)[grid.triangles].any(axis=1)
    return Headwear(vertices, grid.triangles[shown], part, grid.texel.reshape(-1, 2), colour)
