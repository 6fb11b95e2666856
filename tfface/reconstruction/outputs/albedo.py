"""What the albedo of skin is like where nobody has seen it: a linear model in this person's tone.

The model is the package's (``assets/albedo.npz``; `tfface.build_albedo` makes it): log albedo = tone + mean + sum_k c_k
mode_k of each vertex of ICT-FaceKit's skin, c ~ N(0, 1). Photographs show albedo in some light, so that light is fitted
with it: a colour, and a direction as far as a surface without shadows tells it (two orders of spherical harmonics;
Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", SIGGRAPH 2001).
"""

import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.geometry import colours, mesh

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_PATH = Path(str(importlib.resources.files("tfface"))) / "assets" / "albedo.npz"
_DARK = 0.02
"""Linear radiance of the brightest channel below which a colour says nothing about skin."""
_DARKEST = 0.002
"""Linear radiance from which on eight bits tell a channel's logarithm; the blue of dark skin is not far above."""
_DEVIATION = 0.12
"""Of the log colours of skin from model and light: beards, brows, shadows, make-up."""
_PATCHES = 60.0
"""How many independent measurements all that is seen is worth: neighbours err together."""
_DIRECTED = 0.5
"""Deviation of the log radiance between skin that faces the light and skin at right angles to it."""
_EDGE = 0.05
_ROUNDS = 4
_HUBER = 1.5
"""Deviations from which a vertex counts less, as hair does."""


@dataclasses.dataclass(frozen=True, eq=False)
class AlbedoModel:
    """Mean and modes on the vertices of a surface.

    Attributes:
      mean: [P, 3] float32, log albedo relative to the cheeks'.
      modes: [K, P, 3] float32, scaled by their deviations.
      num_bare: How many vertices, the first ones, are face without ears, neck and scalp: neither hair nor clothes.
    """

    mean: Array
    modes: Array
    num_bare: int

    def plain(self, tone: npt.ArrayLike) -> Array:
        """Colours [P, 3], sRGB, 0..1, of the mean skin whose cheeks have a colour [3], sRGB."""
        return _encoded(np.log(np.maximum(colours.linear(np.asarray(tone, np.float32)), 1e-6)) + self.mean)

    def fitted(self, colors: Array, weights: Array, normals: Array) -> Array:
        """The skin that is most probable for what is seen of it, in the light in which that is seen.

        Iteratively reweighted least squares (Huber) with the prior c ~ N(0, 1).

        Args:
          colors: [P, 3], sRGB, 0..1, of what is seen.
          weights: [P], at least 0.
          normals: [P, 3].

        Returns:
          Colours [P, 3], sRGB, 0..1, of all of the skin.
        """
        linear = colours.linear(np.clip(colors, 0, 1))
        # Whatever else is seen, as hair and collars, says nothing about skin.
        bare = np.where(np.arange(len(weights)) < self.num_bare, weights, 0)
        seen = np.flatnonzero((bare > 0) & (linear.max(axis=1) > _DARK))
        if not len(seen):
            return self.plain(np.average(colors, axis=0, weights=weights + 1e-9))
        share = weights[seen] / weights[seen].sum()
        left = np.log(np.maximum(linear[seen], _DARKEST)) - self.mean[seen]
        count, light = len(self.modes), normals[seen]
        # Unknowns: K coefficients, a tone of each channel, and a direction of light; rows are vertices by channels.
        rows = np.zeros((len(seen), 3, count + 6), np.float32)
        rows[..., :count] = np.moveaxis(self.modes[:, seen], 0, -1)
        rows[..., count : count + 3] = np.eye(3)
        rows[..., count + 3 :] = light[:, None]
        # A tone may be anything.
        prior = np.concatenate((np.ones(count), np.full(3, 1e-4), np.full(3, _DIRECTED**-2)))
        robust = np.ones(len(seen))
        for _ in range(_ROUNDS):
            mass = np.repeat(_PATCHES * share * robust / _DEVIATION**2, 3)
            flat = rows.reshape(-1, count + 6)
            system = (flat * mass[:, None]).T @ flat + np.diag(prior)
            solution = np.linalg.solve(system, flat.T @ (mass * left.ravel()))
            misfit = np.sqrt(np.mean((left - rows @ solution) ** 2, axis=1)) / _DEVIATION
            robust = np.minimum(1, _HUBER / np.maximum(misfit, 1e-9))
        shade = normals @ solution[count + 3 :]
        # What is turned away further than nearly all that is seen is no darker than that.
        shade = np.clip(shade, *np.quantile(shade[seen], (_EDGE, 1 - _EDGE)))[:, None]
        tone = solution[count : count + 3] + shade
        return _encoded(tone + self.mean + np.tensordot(solution[:count], self.modes, 1))


def of(triangles: Indices, num_vertices: int) -> AlbedoModel | None:
    """The package's model on a surface, or None if that is neither ICT-FaceKit's face nor the skin of its head.

    Args:
      triangles: [F, 3], of the skin alone.
      num_vertices: P; vertices that the triangles do not use have the cheeks' colour.

    Raises:
      OSError: If the package's file cannot be read.
      ValueError: naming it, if it is damaged.
    """
    arrays = _file()
    digests = arrays["topologies"]
    if triangles.max() >= len(arrays["mean"]) or not (mesh.topology_digest(triangles) == digests).all(axis=1).any():
        return None
    return from_arrays(arrays, num_vertices)


def from_arrays(arrays: Mapping[str, npt.NDArray], num_vertices: int) -> AlbedoModel:
    """The model of the arrays that `tfface.people.assets.albedo` makes, on the first, or more, of its vertices."""
    given = np.concatenate((arrays["mean"][None], arrays["modes"])).astype(np.float32)[:, :num_vertices]
    whole = np.pad(given, ((0, 0), (0, num_vertices - given.shape[1]), (0, 0)))
    return AlbedoModel(whole[0], whole[1:], int(arrays["num_bare"]))


@functools.lru_cache(maxsize=1)
def _file() -> dict[str, npt.NDArray]:
    return files.read_arrays(_PATH)


def _encoded(log: Array) -> Array:
    return np.clip(colours.srgb(np.exp(log).astype(np.float32)), 0, 1)
