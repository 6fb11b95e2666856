"""The mean head: its mesh, its parts, the face that the 3DMM is about, and the landmarks."""

import dataclasses
import functools

import numpy as np

from tfface.people.head import ear, eye, relief, skull, vertex_grid
from tfface.people.head.half import Half
from tfface.people.photographer.head_model import Part

# Landmarks of the left side and of the midline by the place (x, y, z) where they are looked for, construction frame.
_PLACES = {
    "jaw_8": (0.0, -114.5, 81.0),
    "jaw_9": (15.0, -112.0, 78.0),
    "jaw_10": (28.5, -105.0, 68.0),
    "jaw_11": (39.0, -95.0, 54.0),
    "jaw_12": (46.5, -84.0, 38.0),
    "jaw_13": (52.0, -70.0, 22.0),
    "jaw_14": (59.5, -52.0, 13.0),
    "jaw_15": (65.5, -33.0, 8.0),
    "jaw_16": (69.5, -13.0, 6.0),
    "brow_left_0": (12.0, 13.8, 96.0),
    "brow_left_1": (21.0, 17.4, 95.0),
    "brow_left_2": (30.5, 20.4, 91.0),
    "brow_left_3": (40.0, 19.4, 85.0),
    "brow_left_4": (49.0, 14.0, 77.0),
    "nose_ridge_0": (0.0, 3.0, 91.0),
    "nose_ridge_1": (0.0, -10.0, 97.0),
    "nose_ridge_2": (0.0, -23.5, 106.0),
    "nose_ridge_3": (0.0, -37.0, 115.3),
    "nose_base_2": (0.0, -48.4, 97.4),
    "nose_base_3": (7.0, -49.0, 96.0),
    "nose_base_4": (13.5, -48.5, 96.0),
}
# Further points between which distances are measured, by the place where they are looked for.
_POINTS = {
    "glabella": (0.0, 14.0, 97.0),
    "opisthocranion": (0.0, 24.0, -96.0),
    "eurion": (74.5, 34.0, -15.0),
    "frontotemporale": (53.0, 31.0, 70.0),
    "zygion": (69.0, -16.0, 22.0),
    "gonion": (55.0, -73.0, 15.0),
    "trichion": (0.0, 69.0, 84.0),
    "alare": (17.0, -43.5, 94.5),
    "nasal_root": (8.2, 3.0, 87.0),
}
_LANDMARK_POINTS = {
    "nasion": "nose_ridge_0",
    "pronasale": "nose_ridge_3",
    "subnasale": "nose_base_2",
    "gnathion": "jaw_8",
    "stomion": "lip_inner_2",
    "labiale_superius": "lip_outer_3",
    "labiale_inferius": "lip_outer_9",
    "cheilion": "lip_outer_6",
    "endocanthion": "eye_left_0",
    "exocanthion": "eye_left_3",
}
_MIRRORED = {
    **{f"jaw_{i}": f"jaw_{16 - i}" for i in range(9, 17)},
    **{f"brow_left_{i}": f"brow_right_{4 - i}" for i in range(5)},
    **{f"nose_base_{i}": f"nose_base_{4 - i}" for i in (3, 4)},
    **{f"eye_left_{i}": f"eye_right_{(3 - i) % 6}" for i in range(6)},
    **{f"lip_outer_{i}": f"lip_outer_{(6 - i) % 12}" for i in (4, 5, 6, 7, 8)},
    **{f"lip_inner_{i}": f"lip_inner_{(4 - i) % 8}" for i in (3, 4, 5)},
}


@dataclasses.dataclass(frozen=True)
class HeadTemplate:
    """The mean head, model axes, mm; its origin is the centroid of the face's vertices.

    Attributes:
      vertices: `[V, 3]` float64.
      triangles: `[T, 3]` int32, seen counter-clockwise from outside.
      part: `[T]` int8, `Part`.
      symmetry: `[V]` int32, the vertex that each vertex becomes in a mirror.
      face_index: `[P]` int32, the vertices of the face: hairline to chin, ear to ear, without eyeballs and linings.
      landmarks: vertex index for all of `schema.IBUG68`.
      points: vertex index of further anatomical points; of pairs the left one.
      construction: `[V, 3]` float64, `vertices` in the construction frame (``skull``).
      eyeballs: `[2, E]` int32, vertices of the left and the right eyeball, the pole first.
      lid_margins: `[2, L]` int32, vertices of the lids' edges that lie on each eyeball.
      ears: `[2, A]` int32, vertices of the left and the right auricle.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    symmetry: np.ndarray
    face_index: np.ndarray
    landmarks: dict[str, int]
    points: dict[str, int]
    construction: np.ndarray
    eyeballs: np.ndarray
    lid_margins: np.ndarray
    ears: np.ndarray


@functools.cache
def head_template() -> HeadTemplate:
    """Builds the mean head, once a process (a fraction of a second)."""
    half = Half()
    x = vertex_grid.half_breadths()
    upper = half.add_vertices(_carved(x, lower_lid=False))
    pole = half.add_vertices(skull.loft(np.zeros(1), np.zeros(1)) * [0.0, 1.0, 1.0])
    inner, outer = vertex_grid.EYE_COLUMNS
    lower = upper.copy()
    lower[vertex_grid.EYE_ROW, inner + 1 : outer] = half.add_vertices(
        _carved(x, lower_lid=True)[vertex_grid.EYE_ROW, inner + 1 : outer]
    )
    corner = vertex_grid.MOUTH_COLUMN
    lips = half.vertices[upper[vertex_grid.MOUTH_ROW, :corner]]
    lower[vertex_grid.MOUTH_ROW, :corner] = half.add_vertices(lips + [0.0, -0.2, 0.0])

    half.add_strip(lower[:-1], upper[1:], Part.SKIN)
    crown = upper[0]
    half.add_triangles(np.stack([np.broadcast_to(pole, len(crown) - 1), crown[:-1], crown[1:]], -1), Part.SKIN)
    lid_edges = upper[vertex_grid.EYE_ROW, inner : outer + 1], lower[vertex_grid.EYE_ROW, inner : outer + 1]
    margin = eye.add_lid_margins(half, *lid_edges)
    _add_mouth_lining(half, upper[vertex_grid.MOUTH_ROW, : corner + 1], lower[vertex_grid.MOUTH_ROW, : corner + 1])
    eyeball = eye.add_eyeball(half)
    auricle = ear.add_ear(half)

    points = half.vertices
    grid = upper.ravel()
    landmarks = _landmarks(points, upper, lower)
    further = {name: _nearest(points, grid, place) for name, place in _POINTS.items()}
    further |= {name: landmarks[landmark] for name, landmark in _LANDMARK_POINTS.items()}
    whole = half.mirrored()
    face = np.unique(
        np.concatenate([grid[vertex_grid.FACE_ROWS, vertex_grid.FACE_COLUMNS].ravel() for grid in (upper, lower)])
    )
    face = np.unique(np.concatenate([face, whole.symmetry[face]])).astype(np.int32)
    vertices = whole.vertices * [1.0, -1.0, -1.0]
    for name, twin in _MIRRORED.items():
        landmarks[twin] = int(whole.symmetry[landmarks[name]])
    return HeadTemplate(
        vertices=vertices - vertices[face].mean(axis=0) * [0.0, 1.0, 1.0],
        triangles=whole.triangles,
        part=whole.part,
        symmetry=whole.symmetry,
        face_index=face,
        landmarks=landmarks,
        points=further,
        construction=whole.vertices,
        eyeballs=np.stack([eyeball, whole.symmetry[eyeball]]).astype(np.int32),
        lid_margins=np.stack([margin, whole.symmetry[margin]]).astype(np.int32),
        ears=np.stack([auricle, whole.symmetry[auricle]]).astype(np.int32),
    )


def _carved(x: np.ndarray, lower_lid: bool) -> np.ndarray:
    """All points of the grid, `[R, C, 3]`."""
    arc = skull.arc_at_height(vertex_grid.led_heights(x, lower_lid))
    return relief.carve(skull.loft(arc, np.broadcast_to(vertex_grid.AZIMUTHS, arc.shape)))


def _add_mouth_lining(half: Half, upper: np.ndarray, lower: np.ndarray) -> None:
    """Rolls both lips inwards and closes the mouth behind them."""
    rolls = []
    for edge, apart in ((upper, 0.5), (lower, -0.5)):
        inside = half.vertices[edge] + [0.0, apart, -4.0]
        rolls.append(half.add_vertices(inside))
    half.add_strip(upper, rolls[0], Part.INNER)
    half.add_strip(rolls[0], rolls[1], Part.INNER)
    half.add_strip(rolls[1], lower, Part.INNER)


def _nearest(points: np.ndarray, among: np.ndarray, place: tuple[float, float, float]) -> int:
    """The vertex of `among` nearest to a place; on the midline if the place is."""
    among = among[points[among, 0] == 0.0] if place[0] == 0.0 else among
    return int(among[np.argmin(np.linalg.norm(points[among] - place, axis=1))])


def _landmarks(points: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> dict[str, int]:
    """Landmarks of the left half and the midline: vertex index by name."""
    face = upper[vertex_grid.FACE_ROWS, vertex_grid.FACE_COLUMNS].ravel()
    found = {name: _nearest(points, face, place) for name, place in _PLACES.items()}
    inner, outer = vertex_grid.EYE_COLUMNS
    third = inner + round((outer - inner) * 0.31), inner + round((outer - inner) * 0.69)
    eye_row, mouth_row = vertex_grid.EYE_ROW, vertex_grid.MOUTH_ROW
    above, below = mouth_row - vertex_grid.VERMILION_ROWS, mouth_row + vertex_grid.VERMILION_ROWS
    corner = vertex_grid.MOUTH_COLUMN
    grid_places = {
        "eye_left_0": upper[eye_row, inner],
        "eye_left_1": upper[eye_row, third[0]],
        "eye_left_2": upper[eye_row, third[1]],
        "eye_left_3": upper[eye_row, outer],
        "eye_left_4": lower[eye_row, third[1]],
        "eye_left_5": lower[eye_row, third[0]],
        "lip_outer_3": upper[above, 0],
        "lip_outer_4": upper[above, 3],
        "lip_outer_5": upper[above, 8],
        "lip_outer_6": upper[mouth_row, corner],
        "lip_outer_7": lower[below, 9],
        "lip_outer_8": lower[below, 4],
        "lip_outer_9": lower[below, 0],
        "lip_inner_2": upper[mouth_row, 0],
        "lip_inner_3": upper[mouth_row, 5],
        "lip_inner_4": upper[mouth_row, corner - 1],
        "lip_inner_5": lower[mouth_row, 5],
        "lip_inner_6": lower[mouth_row, 0],
    }
    return found | {name: int(index) for name, index in grid_places.items()}
