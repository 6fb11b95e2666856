"""The throat of a photograph: part of what it shows there is a collar, which is no skin of the person.

The neck of a mesh is seldom the person's: what covers it is not on the mesh, so that colours have to tell. Skin of a
throat is lighter or darker than the same person's cheeks, but of nearly their hue.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.geometry.interpolation import smoothstep
from tfface.reconstruction.outputs.sampling import Samples
from tfface.reconstruction.outputs.texels import Texels

Array = npt.NDArray[np.floating]

_CHIN, _ANGLES = "jaw_8", ("jaw_4", "jaw_12")
_BELOW = 6.0, 18.0
"""mm below the jaw, between which the throat begins."""
_HUE = 0.16, 0.30
"""Differences of the logarithms of colours, without their mean, between which skin passes into cloth."""
_LIGHT = 0.22, 0.40
"""The same, of their mean, for what is lighter than cheeks."""
_DARK = 1.2, 1.7
"""The same for what is darker; throats are often in shadow."""
_FLOOR = 0.02
"""Added to colours before their logarithm: what is black has no hue."""
_SURROUNDED = 0.15, 0.45
"""Share of such texels around a vertex from which the throat is not taken, at all and fully."""
_FEWEST = 50
"""Texels of cheeks, to compare with."""


def throat_of(face_model: MorphableModel, vertices: Array) -> Array | None:
    """``[P]`` float32: 1 at vertices ``[P, 3]`` of the throat, 0 above the jaw; None if the 3DMM lacks its landmarks.

    The jaw rises from the chin to its angles, and so does what a collar covers beside the neck.

    Args:
      face_model: The 3DMM.
      vertices: Of its mean face or its mean head, mm, model frame, in which y points down.
    """
    if not {_CHIN, *_ANGLES} <= set(face_model.landmarks):
        return None
    chin = face_model.mean[face_model.landmarks[_CHIN]]
    angle = face_model.mean[[face_model.landmarks[name] for name in _ANGLES]].mean(axis=0)
    share = np.clip((vertices[:, 2] - chin[2]) / max(float(angle[2] - chin[2]), 1.0), 0, 1)
    jaw = chin[1] + share * (angle[1] - chin[1])
    return smoothstep(*_BELOW, vertices[:, 1] - jaw).astype(np.float32)


def without_clothes(samples: Samples, texels: Texels, regions: Array) -> Samples:
    """The samples of a photograph, with neither weight nor trust where it shows cloth in place of the throat.

    Args:
      samples: Of the photograph.
      texels: The texels.
      regions: ``[T, 2]``, throat (`throat_of`) and cheeks (`lips.Mouth`) of the same surface, at the texels.
    """
    throat, cheek = regions.take(samples.seen, axis=0).T
    below, on_cheeks = throat > 0, (cheek > 0.5) & (samples.trust > 0.5)
    if not below.any() or on_cheeks.sum() < _FEWEST:
        return samples
    skin = np.median(samples.colors[on_cheeks], axis=0)
    difference = np.log(samples.colors[below] + _FLOOR) - np.log(skin + _FLOOR)
    lighter = difference.mean(axis=1, keepdims=True)
    hue = np.abs(difference - lighter).max(axis=1)
    cloth = np.maximum(smoothstep(*_HUE, hue), smoothstep(*_LIGHT, lighter[:, 0]))
    cloth = np.maximum(cloth, smoothstep(*_DARK, -lighter[:, 0]))
    kept = np.ones_like(samples.trust)
    kept[below] = 1 - throat[below] * smoothstep(*_SURROUNDED, texels.around(cloth, samples.seen[below]))
    return dataclasses.replace(samples, weights=samples.weights * kept, trust=samples.trust * kept)
