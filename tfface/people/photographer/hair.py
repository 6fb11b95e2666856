"""Hair out of triangles whose picture of strands lets part of the light through, bent to the head of a person."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.geometry import mesh, rasterise, raycast
from tfface.people.assets.wardrobe import HairStyle
from tfface.people.photographer import illumination
from tfface.people.photographer.framing import Shot
from tfface.people.photographer.lighting import Lighting

Array = npt.NDArray[np.float32]

_LAYERS = 4
"""Layers of hair that are looked through, from the front."""
_STEP = 0.3
"""mm between two layers; what is closer is one."""
_SEEN = 0.05
"""A ray ends when it lets less than this through."""


@dataclasses.dataclass(frozen=True, eq=False)
class Hair:
    """The hair of a person.

    Attributes:
      caster: the tree of what of it casts shadows, source frame; None if nothing does.
      vertices: [W, 3], mm, source frame.
      normals: [W, 3], away from the head.
      style: what it is made of.
      colour: [3], linear RGB.
    """

    caster: raycast.Raycaster | None
    vertices: Array
    normals: Array
    style: HairStyle
    colour: Array

    @classmethod
    def of(cls, style: HairStyle, volume: float, template: Array, vertices: Array, colour: Array) -> "Hair":
        """Puts a style on a person, lifted by `volume` mm; template and vertices are [V, 3], mm."""
        bent = style.on(template, vertices)
        normals = mesh.vertex_normals(bent, style.triangles)
        away = bent - vertices.mean(axis=0)
        away /= illumination.length(away)
        normals = np.where(illumination.dot(normals, away) < 0, np.float32(-1), np.float32(1))[:, None] * normals
        bent = bent + volume * away
        # Hair is no surface: what it shows of the light is smoother than its cards.
        normals = normals + 0.7 * away
        opaque = mesh.trimmed(bent, style.triangles[style.opaque])
        caster = raycast.Raycaster(*opaque) if len(opaque[1]) else None
        return cls(caster, bent, normals / illumination.length(normals), style, colour)

    def shades(self, origins: Array, direction: Array) -> npt.NDArray[np.bool_]:
        """Whether dense hair lies on rays [S, 3] towards a light, [S]; direction is [S, 3]."""
        return np.zeros(len(origins), bool) if self.caster is None else self.caster.occluded(origins, direction)

    def before(self, shot: Shot) -> "SeenHair":
        """The hair as a camera sees it."""
        projected = rasterise.project(self.vertices, shot.quaternion, shot.translation, shot.intrinsics)
        return SeenHair(self, rasterise.Screen(projected, self.style.triangles, shot.size_hw))


@dataclasses.dataclass(frozen=True, eq=False)
class SeenHair:
    """The hair of a person before one camera.

    Attributes:
      hair: the hair.
      screen: its triangles.
    """

    hair: Hair
    screen: rasterise.Screen

    def over(
        self,
        colour: Array,
        opacity: Array,
        farthest: Array,
        samples: rasterise.Samples,
        directions: Array,
        model_from_cam: Array,
        lighting: Lighting,
    ) -> None:
        """Lays the hair over what samples see behind it, in place.

        Args:
          colour: [S, 3], linear RGB, times opacity.
          opacity: [S].
          farthest: [S], mm, depth of what lies behind; inf where nothing does.
          samples: the points of the picture.
          directions: [S, 3], source frame, the rays through them.
          model_from_cam: [3, 3], rotation.
          lighting: the light, camera frame.
        """
        style = self.hair.style
        met = self.screen.fragments(samples)
        chosen, layer = _layers(met, np.flatnonzero(met.depth < farthest[met.sample]))
        met = met[chosen]
        corners = style.triangles[met.triangle]
        brightness, alpha = self._strands(met, corners)
        let_through = np.ones(len(samples), np.float32)
        before = np.empty(len(alpha), np.float32)  # What is let through by the layers before each.
        for number in range(_LAYERS):
            mine = np.flatnonzero(layer == number)
            reached = let_through[met.sample[mine]]
            before[mine] = np.where(reached > _SEEN, reached, 0)
            let_through[met.sample[mine]] = reached - before[mine] * alpha[mine]
        seen = np.flatnonzero(before)
        sample = met.sample[seen]
        shown = self._shown(
            brightness[seen], met.barycentric[seen], corners[seen], directions[sample], model_from_cam, lighting
        )
        colour *= let_through[:, None]
        light = (before[seen] * alpha[seen])[:, None] * shown
        for number in range(_LAYERS):
            mine = np.flatnonzero(layer[seen] == number)
            colour[sample[mine]] += light[mine]
        opacity *= let_through
        opacity += 1 - let_through

    def _strands(self, met: rasterise.Fragments, corners: npt.NDArray[np.int32]) -> tuple[Array, Array]:
        """Brightness [N] and opacity [N] of fragments of triangles with some corners [N, 3]."""
        texel = np.einsum("sc,sck->sk", met.barycentric, self.hair.style.texel[corners])
        side = self.hair.style.strands.shape[0]
        column, row = np.clip(texel * side, 0, side - 1).astype(np.intp).T
        strands = self.hair.style.strands[row, column].astype(np.float32) / 255
        return 4 * strands[:, 0], strands[:, 1]

    def _shown(
        self,
        brightness: Array,
        barycentric: Array,
        corners: npt.NDArray[np.int32],
        directions: Array,
        model_from_cam: Array,
        lighting: Lighting,
    ) -> Array:
        """Colour [N, 3] of fragments of triangles with some corners [N, 3], seen along directions [N, 3]."""
        normals = np.einsum("sc,sck->sk", barycentric, self.hair.normals[corners])
        view = -directions / illumination.length(directions)
        facing = illumination.dot(normals, view)
        normals += np.maximum(0.05 - facing, 0)[:, None] * view
        normals /= illumination.length(normals)
        ambient = np.einsum("sc,sc->s", barycentric, self.hair.style.ambient[corners])
        albedo = self.hair.colour * np.clip(0.25 + 0.75 * brightness, 0.2, 2.5)[:, None]
        surface = albedo, np.float32(0.5) * np.minimum(brightness, np.float32(2)), np.full(len(albedo), 0.5, np.float32)
        visible = np.clip(1.5 * ambient, 0.15, 1)
        return illumination.reflected(surface, normals, view, facing, ambient, visible, model_from_cam, lighting)


def _layers(
    met: rasterise.Fragments, chosen: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Of chosen fragments the first `_LAYERS` of each sample, front to back, and which layer each one is, [N]."""
    # One key for both: the bits of floats above 0 are ordered as the floats are.
    keys = met.sample[chosen].astype(np.int64) << 32 | met.depth[chosen].view(np.int32)
    chosen = chosen[np.argsort(keys, kind="stable")]
    sample, depth = met.sample[chosen], met.depth[chosen]
    other = np.ones(len(chosen), bool)
    other[1:] = sample[1:] != sample[:-1]
    apart = other.copy()
    apart[1:] |= depth[1:] - depth[:-1] > _STEP
    chosen, other = chosen[apart], other[apart]
    number = np.arange(len(chosen))
    layer = number - np.maximum.accumulate(np.where(other, number, 0))
    kept = layer < _LAYERS
    return chosen[kept], layer[kept]
