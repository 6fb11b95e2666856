"""Blends photographs on the surface in two bands, and completes what none of them shows.

The low band lives on the mesh's vertices, where smooth extension needs no unwrapping, the high band on texels: colours
are blended over wide transitions, details over narrow ones, so that neither a step nor a double image is left (two
bands after Burt and Adelson, "A multiresolution spline with application to image mosaics", ACM TOG 2(4), 1983; on
surfaces after Baumberg, "Blending images for texturing 3D models", BMVC 2002).
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.linalg

from tfface.geometry import mesh
from tfface.geometry.interpolation import smoothstep
from tfface.geometry.laplacian import laplacian
from tfface.reconstruction.outputs.albedo import AlbedoModel
from tfface.reconstruction.outputs.texels import Texels

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

SMOOTHING = 6.0
"""mm: what varies over less than this is detail."""
_TRANSITION = 12.0
"""mm over which the low bands of two photographs pass into each other."""
_FAIR_WEIGHT = 0.005
"""Weight at which a photograph's own low band follows its colours half as closely as at large weights."""
_SHARPNESS = 4
"""Power of the weights between details: nearly the best photograph's alone."""
SEEN = 0.05, 0.4
"""Trust between which a texel passes from completed to photographed."""
_ISLAND = 8.0
_COMPANY = 0.1, 0.35
"""mm: a smaller patch is trusted if its surroundings are; and the share of them that has to be, at all and fully."""
_DEEP = 0.6
"""Shade below which what no photograph shows is darkened: nostrils, the inside of the mouth."""


_TENDING = 80.0
"""mm from what is seen to where skin that nobody sees has its typical colour rather than its neighbours'."""


class Membrane:
    """Smooth functions on a surface: quadratic problems with its Laplacian, cotangent weights."""

    def __init__(self, vertices: Array, triangles: Indices):
        """Measures the surface; vertices [P, 3] in mm."""
        vertices = np.asarray(vertices, np.float64)
        self.areas = np.maximum(mesh.vertex_areas(vertices, triangles), 1e-6)
        self.normals = mesh.vertex_normals(vertices, triangles)
        self.edges = mesh.edges(triangles).astype(np.int64)
        self.stiffness = _cotangents(vertices, triangles, self.edges)
        self._laplacian = laplacian(self.edges, self.stiffness, len(vertices)).tocsc()
        self._order: Indices | None = None

    def solve(self, masses: Array, targets: Array, length: float, gradients: Array | None = None) -> Array:
        """Minimises sum_v m_v |x_v - target_v|^2 / length^2 + sum_ab s_ab |x_a - x_b - g_ab|^2.

        Args:
          masses: [P], mm^2, at least 0; where all of a part's are 0, its values tend to the mean of the targets.
          targets: [P, C].
          length: mm over which values are smoothed.
          gradients: [E, C], of `edges`, first end minus second; 0 without it.

        Returns:
          [P, C].
        """
        total = max(float(masses.sum()), 1e-12)
        # Solved for x - mean: the weak anchor below then pulls towards the mean, not towards black.
        mean = masses @ targets / total
        weights = masses / length**2
        # Makes L positive definite where all masses of a part are 0; too weak to be seen elsewhere.
        anchor = 1e-7 * self.areas.mean() / length**2
        known = weights[:, None] * (targets - mean)
        if gradients is not None:
            # Derivative of sum s_ab (x_a - x_b - g_ab)^2 by x_a: s_ab g_ab on the right, with the other sign by x_b.
            pull = self.stiffness[:, None] * gradients
            for channel in range(targets.shape[1]):
                known[:, channel] += np.bincount(self.edges[:, 0], pull[:, channel], len(known))
                known[:, channel] -= np.bincount(self.edges[:, 1], pull[:, channel], len(known))
        # (L + diag(m / length^2)) x = m / length^2 target + div g, the normal equations.
        return mean + self._solved((self._laplacian + scipy.sparse.diags(weights + anchor)).tocsc(), known)

    def _solved(self, system: scipy.sparse.csc_matrix, known: Array) -> Array:
        """The solution [P, C] of a system that has the pattern of all of this surface's."""
        # Panels of several columns pay where columns are long; a surface's are short.
        factorised = functools.partial(scipy.sparse.linalg.splu, panel_size=1, options={"SymmetricMode": True})
        if self._order is None:
            solver = factorised(system, permc_spec="MMD_AT_PLUS_A")
            self._order = np.argsort(solver.perm_c)
            return solver.solve(known)
        # In the order that the first one found, which takes as long to find as a third of its factors.
        ordered = system[self._order][:, self._order].tocsc()
        solution = np.empty_like(known)
        solution[self._order] = factorised(ordered, permc_spec="NATURAL").solve(known[self._order])
        return solution


def _cotangents(vertices: Array, triangles: Indices, edges: Indices) -> Array:
    """Weights [E] of edges: half the cotangents of the angles opposite, kept positive."""
    size = np.int64(len(vertices))
    keys = edges[:, 0] * size + edges[:, 1]
    weights = np.zeros(len(edges))
    for corner in range(3):
        a, b, c = (triangles[:, (corner + turn) % 3].astype(np.int64) for turn in range(3))
        u, v = vertices[b] - vertices[a], vertices[c] - vertices[a]
        sine = np.linalg.norm(np.cross(u, v), axis=-1)
        # cot(angle) = (u . v) / |u x v|; the edge opposite to the corner gets half of it from each of its triangles.
        cotangent = np.einsum("fk,fk->f", u, v) / np.maximum(sine, 1e-9)
        index = np.searchsorted(keys, np.minimum(b, c) * size + np.maximum(b, c))
        weights += np.bincount(index, 0.5 * np.clip(cotangent, -5, 5), len(edges))
    # Obtuse angles give negative weights, with which the maximum principle fails and colours overshoot.
    return np.clip(weights, 0.02, 10)


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """What one photograph has for the texture.

    Attributes:
      seen: [Q], the texels that it shows, each once.
      colors: [Q, 3] float32, of these, sRGB, 0..1, balanced.
      weights: [Q] float32, 0 to 1.
    """

    seen: Indices
    colors: Array
    weights: Array


def blend(
    layers: Sequence[Layer],
    trust: Array,
    texels: Texels,
    membrane: Membrane,
    shade: Array,
    symmetry: Indices | None,
    mirrored_texel: Indices | None,
    skin: AlbedoModel | None,
) -> tuple[Array, Array]:
    """Blends the photographs' colours and completes them.

    Args:
      layers: Of each photograph.
      trust: [T], of the best photograph, 0 where a texel is to be completed, up to 1.
      texels: The texels.
      membrane: Of the person's surface.
      shade: [P], how much darker each vertex is than it would be on a convex shape, 1 for not at all.
      symmetry: [P], or None.
      mirrored_texel: [T], the texel that shows each texel's mirror image, -1 where there is none; or None.
      skin: What skin is like, or None if nobody knows for this surface.

    Returns:
      The colours [T, 3] and [T] how far each is photographed, 0 (completed) to 1.
    """
    company = in_company(texels.at_vertices(trust[:, None]) / texels.share[:, None], membrane)
    photographed = smoothstep(*SEEN, trust * texels.at_texels(company)[:, 0])
    shown = np.flatnonzero(photographed)
    part = photographed[shown, None]
    blended = mixed(layers, texels, membrane, shown)
    sums = texels.at_vertices(np.concatenate((part, part * blended), axis=1), shown)
    seen = sums[:, 0] / texels.share
    # The low band of all that is photographed, completed; details are what the blend has beyond it.
    low = sums[:, 1:] / np.maximum(sums[:, :1], 1e-9)
    typical = None if skin is None else skin.fitted(low, membrane.areas * seen, membrane.normals)
    base = _complete(low, seen, membrane, symmetry, typical)
    # What no photograph shows is often a hollow. Its surroundings are lit, so it is darkened by its shade.
    base *= (seen + (1 - seen) * np.minimum(shade / _DEEP, 1))[:, None]
    smooth = texels.at_texels(base)
    detail = np.zeros_like(smooth)
    detail[shown] = part * (blended - smooth.take(shown, axis=0))
    if mirrored_texel is not None:
        # Skin without pores looks painted: completed texels take the details, not the colour, of their mirror image.
        bare = np.flatnonzero((photographed < 1) & (mirrored_texel >= 0))
        detail[bare] += (1 - photographed[bare, None]) * detail.take(mirrored_texel[bare], axis=0)
    return np.clip(smooth + detail, 0, 1), photographed


def in_company(trust: Array, membrane: Membrane, size: float = _ISLAND) -> Array:
    """Factors [P, 1] that take away the trust [P, 1] in patches of less than a size, mm, with none around."""
    return smoothstep(*_COMPANY, membrane.solve(membrane.areas, trust, size))


def mixed(layers: Sequence[Layer], texels: Texels, membrane: Membrane, shown: Indices) -> Array:
    """Colours [S, 3] of the photographs in two bands, at the texels `shown` [S]."""
    if len(layers) == 1:
        colors = np.zeros((len(texels.place), 3), np.float32)
        colors[layers[0].seen] = layers[0].colors  # both bands are its own
        return colors.take(shown, axis=0)
    lows, means = [], []
    for layer in layers:
        weight = layer.weights[:, None]
        sums = texels.at_vertices(np.concatenate((weight, weight * layer.colors), axis=1), layer.seen)
        mean_weight = sums[:, 0] / texels.share
        mean_color = sums[:, 1:] / np.maximum(sums[:, :1], 1e-9)
        # A low weight beside other photographs' is not a low weight beside smoothness.
        mass = membrane.areas * mean_weight / (mean_weight + _FAIR_WEIGHT)
        lows.append(membrane.solve(mass, mean_color, SMOOTHING))
        means.append(mean_weight)
    # Smoothed weights: low bands pass into each other over _TRANSITION, however sharp the borders of the photographs.
    spread = np.maximum(membrane.solve(membrane.areas, np.stack(means, axis=1), _TRANSITION), 1e-9)
    low = np.einsum("pn,npc->pc", spread, np.stack(lows)) / spread.sum(axis=1)[:, None]
    # Plane by plane: adding to chosen rows of a long and narrow array takes three times as long.
    *high, total = np.zeros((4, len(texels.place)), np.float32)
    for layer, own in zip(layers, lows, strict=True):
        # Means of details from slightly wrong places are blurred: nearly the best photograph's details alone.
        sharp = layer.weights**_SHARPNESS
        total[layer.seen] += sharp
        for plane, detail in zip(high, (layer.colors - texels.at_texels(own, layer.seen)).T, strict=True):
            plane[layer.seen] += sharp * detail
    details = np.stack([plane.take(shown) for plane in high], axis=1)
    return texels.at_texels(low, shown) + details / np.maximum(total.take(shown), 1e-30)[:, None]


def _complete(low: Array, seen: Array, membrane: Membrane, symmetry: Indices | None, typical: Array | None) -> Array:
    """Keeps values where they are seen; elsewhere their gradients are the other half's, or typical skin's, or 0.

    Poisson's equation with the mirrored gradients (Perez, Gangnet, Blake, "Poisson image editing", SIGGRAPH 2003). Far
    from all that is seen, here or on the other half, values tend to those of typical skin [P, 3].
    """
    a, b = membrane.edges.T
    # A gradient is known as far as both ends are seen, here or, mirrored, on the other half.
    own = np.minimum(seen[a], seen[b])[:, None]
    gradients = own * (low[a] - low[b])
    missing, unseen = 1 - own, 1 - seen
    if symmetry is not None:
        other_a, other_b = symmetry[a], symmetry[b]
        known = np.minimum(seen[other_a], seen[other_b])[:, None]
        gradients += missing * known * (low[other_a] - low[other_b])
        missing, unseen = missing * (1 - known), unseen * (1 - seen[symmetry])
    if typical is None:
        return membrane.solve(membrane.areas * seen, low, 1.0, gradients)
    gradients += missing * (typical[a] - typical[b])
    unseen /= _TENDING**2
    mean = (seen[:, None] * low + unseen[:, None] * typical) / np.maximum(seen + unseen, 1e-9)[:, None]
    return membrane.solve(membrane.areas * (seen + unseen), mean, 1.0, gradients)
