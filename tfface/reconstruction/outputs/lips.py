"""Lips of a photograph with an open mouth: part of what it shows in their place is teeth, or the dark behind them.

The posed mesh errs by millimetres, so that what hides what on it does not tell lips from teeth; their colours do. Teeth
are whiter than the same person's cheeks in the same light, which lips never are: these are redder.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.geometry.interpolation import smoothstep
from tfface.reconstruction.outputs.sampling import Samples
from tfface.reconstruction.outputs.texels import Texels

Array = npt.NDArray[np.floating]

_OUTER = tuple(f"lip_outer_{i}" for i in range(12))
_EYES = "eye_right_0", "eye_left_3"
_BELOW_EYES = 0.4
"""Of the way from the eyes to the lips: where cheeks begin."""
_GREEN, _BLUE = (0.98, 1.05), (1.04, 1.14)
"""Share of green and of blue in red, in those of the cheeks, between which lips pass into teeth."""
_DARK = 0.5, 0.35
"""Red, in that of the cheeks, between which lips pass into the dark of the mouth; painted lips are red, too."""
_SURROUNDED = 0.05, 0.25
"""Share of such texels around a vertex from which lips are not taken, at all and fully."""
_FEWEST = 50
"""Texels of cheeks, to compare with."""


@dataclasses.dataclass(frozen=True, eq=False)
class Mouth:
    """Where lips and cheeks are on a surface.

    Attributes:
      lips: [P] float32, 1 at the lips' vertices, 0 elsewhere.
      cheeks: [P] float32, 1 at vertices of cheeks and nose, 0 elsewhere.
    """

    lips: Array
    cheeks: Array


def mouth_of(face_model: MorphableModel) -> Mouth | None:
    """The lips of a 3DMM's face, seen from the front within their outer landmarks; None if it lacks landmarks."""
    known, mean = face_model.landmarks, np.asarray(face_model.mean, np.float64)[:, :2]
    if not all(name in known for name in (*_OUTER, *_EYES)):
        return None
    outline, eyes = (mean[[known[name] for name in names]] for names in (_OUTER, _EYES))
    top = eyes[:, 1].mean()
    begin = top + _BELOW_EYES * (outline[:, 1].min() - top)
    low, high = (eyes[:, 0].min(), begin), (eyes[:, 0].max(), outline[:, 1].min())
    inside = (mean > low) & (mean < high)
    cheeks = inside[:, 0] & inside[:, 1]
    return Mouth(_within(mean, outline).astype(np.float32), cheeks.astype(np.float32))


def without_teeth(samples: Samples, texels: Texels, regions: Array, num_skin: int) -> Samples:
    """The samples of a photograph, with neither weight nor trust where it shows teeth or the dark in place of lips.

    Args:
      samples: Of the photograph.
      texels: The texels.
      regions: [T, 2], lips and cheeks of the `Mouth` of the same surface, at the texels.
      num_skin: Triangles from this number on close the mouth's opening, and show what is in it.
    """
    lip, cheek = regions.take(samples.seen, axis=0).T
    on_lips = (lip > 0) & (texels.triangle[samples.seen] < num_skin)
    on_cheeks = (cheek > 0.5) & (samples.trust > 0.5)
    if not on_lips.any() or on_cheeks.sum() < _FEWEST:
        return samples
    lips, cheeks = samples.colors[on_lips], np.median(samples.colors[on_cheeks], axis=0)
    white = whiteness(lips, cheeks)
    dark = smoothstep(*_DARK, lips[:, 0] / max(float(cheeks[0]), 1e-3))
    # As a share around each vertex: single texels neither count, nor are the rims of teeth left over.
    seen = samples.seen[on_lips]
    kept = np.ones_like(samples.trust)
    kept[on_lips] = 1 - lip[on_lips] * smoothstep(*_SURROUNDED, texels.around(np.maximum(white, dark), seen))
    return dataclasses.replace(samples, weights=samples.weights * kept, trust=samples.trust * kept)


def whiteness(colors: Array, skin: Array) -> Array:
    """How sure colours [Q, 3] are of teeth or of the white of an eye, 0..1, beside the colour [3] of the same skin."""
    green, blue = ((colors[:, channel] / np.maximum(colors[:, 0], 1e-3)) for channel in (1, 2))
    red, *others = np.maximum(skin, 1e-3)
    return smoothstep(*_GREEN, green * red / others[0]) * smoothstep(*_BLUE, blue * red / others[1])


def _within(points: Array, polygon: Array) -> npt.NDArray[np.bool_]:
    """Whether points [Q, 2] lie in a polygon [L, 2]: a line to the right crosses its outline an odd number of times."""
    x, y = points[:, :1], points[:, 1:]
    start, step = polygon, np.roll(polygon, -1, axis=0) - polygon
    beside = (start[:, 1] > y) != (start[:, 1] + step[:, 1] > y)
    slope = step[:, 0] / np.where(step[:, 1] == 0, 1, step[:, 1])
    return (beside & (x < start[:, 0] + (y - start[:, 1]) * slope)).sum(axis=1) % 2 == 1
