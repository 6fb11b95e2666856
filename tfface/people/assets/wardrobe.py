"""The baked assets of a head, as the photographer takes them."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

LOW = 8
"""Texels of the canvas along a cell of the skins' coarse part."""
EYE_REACH = 2.3
"""How far a picture of an eye reaches from the pupil, in radii of the iris."""


@dataclasses.dataclass(frozen=True, eq=False)
class HairStyle:
    """Hair as triangles that let light through where their picture does.

    Attributes:
      vertices: [W, 3], mm, on the template.
      triangles: [F, 3] int32.
      texel: [W, 2], places in the picture, x and y down, 0..1.
      strands: [S, S, 2] uint8, a quarter of the brightness as a share of its mean, and opacity, both over 255.
      opaque: [F], the triangles that cast shadows.
      ambient: [W], share of the surroundings that each vertex sees.
      follows, weights: [W, 12], vertices of the head, and the share of each one's displacement that hair follows.
      covered: [Ht, Wt] uint8, how much of the canvas lies under this hair, over 255.
    """

    vertices: Array
    triangles: npt.NDArray[np.int32]
    texel: Array
    strands: npt.NDArray[np.uint8]
    opaque: npt.NDArray[np.bool_]
    ambient: Array
    follows: npt.NDArray[np.int32]
    weights: Array
    covered: npt.NDArray[np.uint8]

    def on(self, template: Array, vertices: Array) -> Array:
        """Bent to the head of a person, [W, 3], mm; template and vertices are [V, 3]."""
        moved = vertices - template
        return self.vertices + np.einsum("wk,wkd->wd", self.weights, moved[self.follows], optimize=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Wardrobe:
    """Skins, brows, eyes and hair.

    Attributes:
      skins_coarse: [N, h, w, 3], logarithm of the skins' albedo without their tone, one cell for `LOW` texels.
      skins_fine: [N, Ht, Wt, 3], what that leaves.
      skins_tone: [N, 3], logarithm of the mean colour of the cheeks.
      skins_age: [N], 0 for young to 1 for old.
      brows: [B, Ht, Wt] uint8, opacity.
      eyes: [I, S, S, 3], linear RGB, from the front.
      hair: the styles.
    """

    skins_coarse: Array
    skins_fine: Array
    skins_tone: Array
    skins_age: Array
    brows: npt.NDArray[np.uint8]
    eyes: Array
    hair: tuple[HairStyle, ...]


@functools.lru_cache(maxsize=2)
def wardrobe(path: str) -> Wardrobe:
    """Reads the file that `baking.baked_file` has written, once a process."""
    with np.load(path) as stored:
        arrays = dict(stored)
    count = len({name.partition("_")[0] for name in arrays if name.startswith("hair")})
    fields = [field.name for field in dataclasses.fields(HairStyle)]
    styles = [HairStyle(**{name: arrays[f"hair{number}_{name}"] for name in fields}) for number in range(count)]
    rest = {name: array for name, array in arrays.items() if not name.startswith("hair")}
    rest["skins_fine"] = rest["skins_fine"].astype(np.float32)  # Halves in the file; slow to compute with.
    return Wardrobe(**rest, hair=tuple(styles))
