"""Eyeballs that stay behind their lids, however these move.

In a real face the bulge of the cornea lifts the lid that slides over it. Linear expressions do not know of it: a lid
that closes would pass through the eyeball. Here the eyeball is a sphere a little smaller than the lids leave it, and
what a target would still push into it, is laid upon it.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfface.face import Head, MorphableModel
from tfface.face.eyes import eye_shell
from tfface.reconstruction.outputs import head_parts

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_SHARE = 0.955
"""Of the radius of the eyeball without its bulge."""
_LID = 0.35
"""mm, between eyeball and lid."""
_REACH = 1.35
"""Of the radius, around the eye's centre: where lids are."""
_CLOSING = "eyeBlink", "eyesClosed"
"""Beginnings of the names of targets that close eyes."""
_LIDS = ((1, 5), (2, 4))
"""Landmarks ``eye_SIDE_NUMBER``, upper and lower, between which an eye opens."""
_MEET = 1.05
"""How much farther than the mean head's lids have to go, for them to meet."""
_OPENINGS = 0.7, 1.6
"""Of the mean head's, what eyes are believed to be open."""


def seat(head: Head, vertices: Array, targets: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Seats a head's eyeballs.

    Args:
      head: Of the 3DMM; nothing changes if it has no eyes.
      vertices: ``[V, 3]``, mm, at rest.
      targets: By name, displacements ``[V, 3]``, mm.

    Returns:
      The vertices with round eyeballs, and the targets, whose lids end upon them at weight 1.
    """
    shell, seated, moved = eye_shell(head), np.array(vertices, np.float64), dict(targets)
    if not len(shell):
        return vertices, moved
    skin = np.unique(head.triangles[head_parts.triangles_of(head, head_parts.SKIN)])
    for eye in sides(seated, shell):
        centre, radius = sphere(seated[eye][seated[eye, 2] > np.median(seated[eye, 2])])
        away = seated[eye] - centre
        length = np.linalg.norm(away, axis=1, keepdims=True)
        radius *= _SHARE
        seated[eye] = centre + away * np.minimum(radius / length, 1)
        around = skin[np.linalg.norm(seated[skin] - centre, axis=1) < _REACH * radius]
        seated[around] = _laid_upon(seated[around], centre, radius + _LID)
        for name, displacement in moved.items():
            if not displacement[around].any():
                continue
            changed = np.array(displacement)
            ends = _laid_upon(seated[around] + displacement[around], centre, radius + _LID)
            changed[around] = ends - seated[around]
            moved[name] = changed
    return seated.astype(np.float32), moved


def closing(face_model: MorphableModel, vertices: Array, targets: Mapping[str, Array]) -> dict[str, Array]:
    """Targets that close the eyes of this person.

    The 3DMM's close those of the mean head; a person whose eyes are wider open would look through a slit.

    Args:
      face_model: The 3DMM; nothing changes if it lacks landmarks of the lids.
      vertices: ``[P, 3]``, mm, of the neutral face, in the 3DMM's size.
      targets: By name, displacements, in the same size.
    """
    names = [[f"eye_{side}_{lid}" for lid in pair] for side in ("right", "left") for pair in _LIDS]
    known = face_model.landmarks
    if not all(name in known for pair in names for name in pair):
        return dict(targets)
    upper, lower = np.array([[known[name] for name in pair] for pair in names]).T
    own, mean = (np.linalg.norm(points[upper] - points[lower], axis=1).sum() for points in (vertices, face_model.mean))
    farther = np.float32(_MEET * np.clip(own / max(float(mean), 1e-6), *_OPENINGS))
    return {name: farther * moved if name.startswith(_CLOSING) else moved for name, moved in targets.items()}


def _laid_upon(points: Array, centre: Array, radius: float) -> Array:
    """Points ``[Q, 3]`` of which those within a sphere are moved onto it, away from its centre."""
    away = points - centre
    length = np.linalg.norm(away, axis=1, keepdims=True)
    return np.where(length < radius, centre + away * (radius / np.maximum(length, 1e-9)), points)


def sides(vertices: Array, shell: Indices) -> list[Indices]:
    """The shells of the two eyes."""
    left = vertices[shell, 0] > vertices[shell, 0].mean()
    return [shell[left], shell[~left]]


def sphere(points: Array) -> tuple[Array, float]:
    """Centre ``[3]`` and radius of the sphere nearest to points: |p|^2 = 2 p.c + (r^2 - |c|^2), least squares."""
    system = np.concatenate((2 * points, np.ones((len(points), 1))), axis=1)
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    return centre, float(np.sqrt(solution[3] + centre @ centre))
