"""Statismo's HDF5 as other programs write it: the Basel face models of 2017 and 2019, and any model of scalismo.

The unit is told by the size, and the axes by the landmarks where they are enough, since the format has no word for
either; the Basel models are millimetres, y up (Gerig et al., "Morphable Face Models - An Open Framework", FG 2018).
A group of expressions becomes components; colours are not read.
"""

import numpy as np

from tfface.face import statismo
from tfface.face.importers import topologies
from tfface.face.importers.raw import RawModel


def from_content(content: statismo.Content) -> RawModel:
    """The model of a file of another program, as `statismo.read` found it."""
    named = {topologies.known_name(name): int(vertex) for name, vertex in content.landmarks.items()}
    landmarks = {name: vertex for name, vertex in named.items() if name is not None}
    if not (content.eigenvalues >= 0).all():
        raise ValueError("pcaVariance must not be negative")
    return RawModel(
        mean=content.mean,
        modes=content.basis * np.sqrt(content.eigenvalues)[:, None, None],
        triangles=content.triangles,
        landmarks=topologies.published_landmarks(len(content.mean)) | landmarks,
        notes={"format": "statismo"},
        expressions=content.expressions,
    )
