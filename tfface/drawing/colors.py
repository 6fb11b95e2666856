"""The colours of errors, the same in every picture."""

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap

MAX_ERROR = 6.0
"""mm, where the colours end."""

COLORMAP = ListedColormap(matplotlib.colormaps["turbo"](np.linspace(0.08, 0.96, 256)), "turbo, inner part")
"""Without the ends of `turbo`, so dark that shading would not be seen on them."""


def of_errors(distances: npt.ArrayLike, end: float = MAX_ERROR) -> npt.NDArray[np.float32]:
    """RGB, 0..1, [..., 3] of distances [...], in mm, on the scale from 0 to `end`."""
    return np.asarray(COLORMAP(np.asarray(distances) / end)[..., :3], np.float32)
