"""Hair out of triangles whose picture of strands lets part of the light through, bent to the head of a person."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.geometry import mesh, raycast
from tfface.people.assets.wardrobe import HairStyle
from tfface.people.photographer import illumination
from tfface.people.photographer.lighting import Lighting

Array = npt.NDArray[np.float32]

_LAYERS = 4
"""Layers of hair that are looked through, from the front."""
_STEP = 0.3
"""mm behind one layer from where the next is looked for."""
_SEEN = 0.05
"""A ray ends when it lets less than this through."""


@dataclasses.dataclass(frozen=True, eq=False)
class Hair:
    """The hair of a person.

    Attributes:
      caster: its tree, source frame.
      normals: [W, 3], away from the head.
      style: what it is made of.
      colour: [3], linear RGB.
    """

    caster: raycast.Raycaster
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
        return cls(raycast.Raycaster(bent, style.triangles), normals / illumination.length(normals), style, colour)

    def shades(self, origins: Array, direction: Array) -> npt.NDArray[np.bool_]:
        """Whether dense hair lies on rays [S, 3] towards a light, [S]; direction is [S, 3]."""
        hits = self.caster.cast(origins, direction)
        return (hits.triangle >= 0) & self.style.opaque[hits.triangle]

    def over(
        self,
        colour: Array,
        opacity: Array,
        centre: Array,
        directions: Array,
        farthest: Array,
        model_from_cam: Array,
        lighting: Lighting,
    ) -> None:
        """Lays the hair over what rays see behind it, in place.

        Args:
          colour: [S, 3], linear RGB, times opacity.
          opacity: [S].
          centre: [3], mm, source frame, the camera's centre.
          directions: [S, 3], source frame, the rays, of unit depth.
          farthest: [S], in lengths of the rays, what lies behind; inf where nothing does.
          model_from_cam: [3, 3], rotation.
          lighting: the light, camera frame.
        """
        rays = np.arange(len(directions))
        travelled = np.zeros(len(directions), np.float32)
        let_through = np.ones(len(directions), np.float32)
        light = np.zeros((len(directions), 3), np.float32)
        for _ in range(_LAYERS):
            along = directions[rays]
            hits = self.caster.cast(centre + travelled[rays, None] * along, along)
            distance = travelled[rays] + hits.distance
            met = distance < farthest[rays]
            rays, distance = rays[met], distance[met]
            if not len(rays):
                break
            shown, alpha = self._strands(
                raycast.Hits(hits.triangle[met], hits.barycentric[met], distance), along[met], model_from_cam, lighting
            )
            light[rays] += (let_through[rays] * alpha)[:, None] * shown
            let_through[rays] *= 1 - alpha
            travelled[rays] = distance + np.float32(_STEP)
            rays = rays[let_through[rays] > _SEEN]
        colour *= let_through[:, None]
        colour += light
        opacity *= let_through
        opacity += 1 - let_through

    def _strands(
        self, hits: raycast.Hits, directions: Array, model_from_cam: Array, lighting: Lighting
    ) -> tuple[Array, Array]:
        """Colour [S, 3] and opacity [S] of where rays meet hair."""
        corners = self.caster.triangles[hits.triangle]
        texel = np.einsum("sc,sck->sk", hits.barycentric, self.style.texel[corners])
        side = self.style.strands.shape[0]
        column, row = np.clip(texel * side, 0, side - 1).astype(np.intp).T
        strands = self.style.strands[row, column].astype(np.float32) / 255
        brightness, alpha = 4 * strands[:, 0], strands[:, 1]
        normals = np.einsum("sc,sck->sk", hits.barycentric, self.normals[corners])
        view = -directions / illumination.length(directions)
        facing = illumination.dot(normals, view)
        normals += np.maximum(0.05 - facing, 0)[:, None] * view
        normals /= illumination.length(normals)
        ambient = np.einsum("sc,sc->s", hits.barycentric, self.style.ambient[corners])
        albedo = self.colour * np.clip(0.25 + 0.75 * brightness, 0.2, 2.5)[:, None]
        surface = albedo, 0.5 * np.minimum(brightness, 2), np.full(len(albedo), 0.5, np.float32)
        visible = np.clip(1.5 * ambient, 0.15, 1)
        return illumination.reflected(surface, normals, view, facing, ambient, visible, model_from_cam, lighting), alpha
