"""What a ray sees: colours of the surfaces, and the light that they send to the camera."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.geometry import mesh, rasterise, raycast
from tfface.people.assets.wardrobe import EYE_REACH
from tfface.people.photographer import culling, framing, headwear, illumination, shadow_casters, unrolled_skin
from tfface.people.photographer.appearance import PROFILE_STEP, Appearance
from tfface.people.photographer.hair import Hair
from tfface.people.photographer.head_model import WORN, HeadModel, Part
from tfface.people.photographer.headwear import Headwear
from tfface.people.photographer.lashes import Lashes
from tfface.people.photographer.lighting import Lighting
from tfface.people.photographer.unrolled_skin import UnrolledSkin

Array = npt.NDArray[np.float32]

_NORMAL, _TEXEL, _AMBIENT, _EYE = slice(0, 3), slice(3, 5), 5, slice(6, 8)
_SHADOW_OFFSET = 0.6
"""mm above the surface at which shadow rays start: more than smooth normals leave flat triangles."""
_ABOVE = 1.3
"""Expressions may lift what casts shadows by as much above the surface as on the template, and a little more."""
# Linear RGB of wet skin, which is thin and full of blood.
_LINING, _GUMS = (0.28, 0.09, 0.08), (0.42, 0.15, 0.14)
_IRIS_RADIUS = 5.9
"""mm."""
_OPEN_RAYS = 8
"""Rays by which a pixel looks for what is around it."""
_ENCLOSURE = 60.0
"""mm, up to which something keeps the light from the inside of a mouth."""


@dataclasses.dataclass(frozen=True, eq=False)
class Spread:
    """How the samples of a pixel share out the rays by which it looks for light.

    Attributes:
      disc: [S, 2], the point of the key light's unit disc that each sample looks at for shadow.
      number: [S], of each sample in its pixel.
      count: samples of a pixel.
    """

    disc: Array
    number: npt.NDArray[np.intp]
    count: int

    def __getitem__(self, chosen: npt.NDArray[np.intp]) -> "Spread":
        """Of some of the samples."""
        return Spread(self.disc[chosen], self.number[chosen], self.count)


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A person, ready to be looked at: from anywhere, or where the head is posed by one camera.

    Attributes:
      caster: the tree of what casts shadows, source frame: the person's surface, or less where the head is posed.
      triangles: [T, 3], of the surface.
      part: [T] int8.
      attributes: [V, 8], what is interpolated over each triangle: normal, place on the canvas or in the picture of
        strands, ambient light, and offset from the eye's axis.
      appearance: the person's colours.
      cloth: [T, 3], linear RGB, colour of what is worn.
      gaze: [2], mm, (x, y) by which the pupils are off the eyes' axes.
      screen: the surface as the one camera sees it; None if rays are cast.
      clearance: [V], mm above the surface from where on it is shaded; None if that is `_SHADOW_OFFSET`.
      enclosed: [T], where expressions change how much of the surroundings the surface sees; None on a head that is
        always neutral.
      lashes: what hangs before the surface and lets most of it through; None if nothing does.
      hair: of the wardrobe's, or None.
    """

    caster: raycast.Raycaster
    triangles: npt.NDArray[np.int32]
    part: npt.NDArray[np.int8]
    attributes: Array
    appearance: Appearance
    cloth: Array
    gaze: Array
    screen: rasterise.Screen | None = None
    clearance: Array | None = None
    enclosed: npt.NDArray[np.bool_] | None = None
    lashes: Lashes | None = None
    hair: Hair | None = None

    def first_hits(self, centre: Array, directions: Array, samples: rasterise.Samples) -> raycast.Hits:
        """What samples of the picture see of the surface, [S].

        Args:
          centre: [3], mm, source frame, the camera's centre.
          directions: [S, 3], source frame, rays through the samples, of unit depth.
          samples: the points of the picture.
        """
        return self.caster.cast(centre, directions) if self.screen is None else self.screen.nearest(samples)


@dataclasses.dataclass(frozen=True, eq=False)
class Sitter:
    """A person before the cameras: what stays the same whatever the face does.

    Attributes:
      head: the mesh of all heads.
      unrolled: its texture.
      appearance: the person's colours.
      worn: [W, 3], mm, source frame, vertices of hair, cloth and the like.
      triangles: [T, 3], of head and worn, into their vertices one behind the other.
      part: [T] int8.
      attributes: [V + W, 8], as in `Scene`, without normals.
      cloth: [T, 3], linear RGB, colour of what is worn.
      hair: of the wardrobe's, or None.
    """

    head: HeadModel
    unrolled: UnrolledSkin
    appearance: Appearance
    worn: Array
    triangles: npt.NDArray[np.int32]
    part: npt.NDArray[np.int8]
    attributes: Array
    cloth: Array
    hair: Hair | None = None

    @classmethod
    def dressed(
        cls, head: HeadModel, unrolled: UnrolledSkin, appearance: Appearance, worn: Sequence[Headwear]
    ) -> "Sitter":
        """Puts on what a person wears, in the frame of the head's vertices."""
        texel, ambient = [unrolled.vertex_texel], [unrolled.ambient]
        triangles, part = [head.triangles], [head.part]
        cloth = [np.zeros((len(head.triangles), 3), np.float32)]
        first = len(head.template_vertices)
        for piece in worn:
            triangles.append(piece.triangles + first)
            part.append(np.full(len(piece.triangles), piece.part, np.int8))
            texel.append(piece.texel)
            ambient.append(np.full(len(piece.vertices), 0.9, np.float32))
            first += len(piece.vertices)
            cloth.append(np.broadcast_to(piece.colour, piece.triangles.shape).astype(np.float32))
        attributes = np.zeros((first, 8), np.float32)
        attributes[:, _TEXEL] = np.concatenate(texel)
        attributes[:, _AMBIENT] = np.concatenate(ambient)
        attributes[: len(head.template_vertices), _EYE] = unrolled.eye_offset
        vertices = np.concatenate([np.zeros((0, 3), np.float32), *(piece.vertices for piece in worn)])
        return cls(
            head,
            unrolled,
            appearance,
            vertices,
            np.concatenate(triangles),
            np.concatenate(part),
            attributes,
            np.concatenate(cloth),
        )

    @functools.cached_property
    def kinds(self) -> culling.Kinds:
        """Its triangles by how they are seen."""
        return culling.Kinds.of(self.triangles, self.part)

    @functools.cached_property
    def casting(self) -> npt.NDArray[np.int32]:
        """The triangles that cast shadows where the head moves, [C, 3]."""
        coarse = shadow_casters.of_head(self.head).triangles
        return np.concatenate((coarse, self.triangles[len(self.head.triangles) :]))

    @functools.cached_property
    def clearance(self) -> Array:
        """How far above the vertices [V + W], mm, these triangles begin to shade the surface of a head that moves."""
        clearance = np.full(len(self.attributes), _SHADOW_OFFSET, np.float32)
        above = shadow_casters.of_head(self.head).above
        clearance[: len(above)] += _ABOVE * above
        return clearance


def build_scene(sitter: Sitter, vertices: Array) -> Scene:
    """Builds the tree and the normals of a neutral head, once a person.

    Args:
      sitter: the person.
      vertices: [V, 3], mm, of this person's head, source frame.
    """
    surface = np.concatenate((vertices, sitter.worn))
    caster = raycast.Raycaster(surface, sitter.triangles)
    return _scene(sitter, caster, mesh.vertex_normals(surface, sitter.triangles))


def build_posed_scene(sitter: Sitter, vertices: Array, shot: framing.Shot) -> Scene:
    """Builds the normals, and the tree of what casts shadows, of what one camera sees of a posed head.

    Args:
      sitter: a person whose head has expressions.
      vertices: [V, 3], mm, of the posed head, source frame.
      shot: the camera.
    """
    surface = np.concatenate((vertices, sitter.worn))
    projected = rasterise.project(surface, shot.quaternion, shot.translation, shot.intrinsics)
    landmarks = vertices[[sitter.head.landmarks[name] for name in schema.IBUG68]]
    kept = culling.in_view(projected, sitter.kinds, landmarks, shot)
    kept = kept[sitter.part[kept] != Part.LASHES]
    triangles = sitter.kinds.corners.T
    seen = np.zeros(len(surface), bool)
    seen[sitter.kinds.corners[:, kept]] = True
    casting = sitter.casting[seen[sitter.casting].all(axis=1)]
    scene = _scene(
        sitter,
        raycast.Raycaster(*mesh.trimmed(surface, casting)),
        mesh.vertex_normals(surface, triangles[kept]),
    )
    enclosed = np.zeros(len(sitter.part), bool)
    enclosed[: len(sitter.head.triangles)] = sitter.unrolled.enclosed
    return dataclasses.replace(
        scene,
        clearance=sitter.clearance,
        screen=rasterise.Screen(projected, triangles, shot.size_hw, kept),
        enclosed=enclosed,
        lashes=Lashes.of(sitter.head, sitter.unrolled, projected, shot.size_hw),
    )


def _scene(sitter: Sitter, caster: raycast.Raycaster, normals: Array) -> Scene:
    """The scene of a sitter with normals [V + W, 3]."""
    attributes, ahead = sitter.attributes.copy(), np.zeros(2, np.float32)
    attributes[:, _NORMAL] = normals
    return Scene(
        caster,
        sitter.triangles,
        sitter.part,
        attributes,
        sitter.appearance,
        sitter.cloth,
        ahead,
        hair=sitter.hair,
    )


def shade(
    scene: Scene,
    hits: raycast.Hits,
    centre: Array,
    directions: Array,
    model_from_cam: Array,
    lighting: Lighting,
    spread: Spread,
) -> Array:
    """Colour of what rays meet.

    Args:
      scene: the person.
      hits: [S], where the rays meet the person; each of them does.
      centre: [3], mm, source frame, the camera's centre.
      directions: [S, 3], source frame, the rays.
      model_from_cam: [3, 3], rotation.
      lighting: the light, camera frame.
      spread: how the rays share out what a pixel looks at.

    Returns:
      [S, 3], linear RGB.
    """
    corners = scene.triangles[hits.triangle]
    values = np.einsum("sc,sck->sk", hits.barycentric, scene.attributes[corners])
    part = scene.part[hits.triangle]
    points = centre + hits.distance[:, None] * directions
    view = -directions / illumination.length(directions)
    normals = values[:, _NORMAL] / illumination.length(values[:, _NORMAL])
    facing = illumination.dot(normals, view)
    # Headwear is seen from both sides; on skin, a smooth normal may turn away where the surface does not.
    inside_out = np.isin(part, WORN) & (facing < 0)
    normals[inside_out] *= -1
    facing = np.where(inside_out, -facing, facing)
    surface = albedo, *_ = _surface(scene, part, values, hits.triangle)
    ambient = values[:, _AMBIENT]
    clearance = np.full((len(points), 1), _SHADOW_OFFSET, np.float32)
    if scene.clearance is not None:
        clearance = np.einsum("sc,sc->s", hits.barycentric, scene.clearance[corners])[:, None]
    if scene.enclosed is not None:
        closed = np.flatnonzero(scene.enclosed[hits.triangle])
        origins = points[closed] + 0.5 * clearance[closed] * normals[closed]
        ambient[closed] = _open_share(scene.caster, origins, normals[closed], spread[closed])
    # What shows the inside of the head, through a nostril or between the lips, is dark.
    inside = np.flatnonzero(facing < -0.25)
    albedo[inside], ambient[inside] = albedo[inside] * 0.2, 0.1
    # Interpolated normals may turn away at silhouettes: they are bent back until n . v is at least 0.02.
    normals += np.maximum(0.02 - facing, 0)[:, None] * view
    key = (model_from_cam @ lighting.key).astype(np.float32)
    cosine = normals @ key
    visible = np.ones(len(points), np.float32)
    if lighting.shadows:
        lit = np.flatnonzero(cosine > -illumination.WRAP[0])
        origins = points[lit] + clearance[lit] * normals[lit]
        visible[lit] = _key_visible(scene, origins, key, lighting.key_radius * spread.disc[lit])
    return illumination.reflected(surface, normals, view, facing, ambient, visible, model_from_cam, lighting)


def _surface(
    scene: Scene, part: npt.NDArray[np.int8], values: Array, triangle: npt.NDArray[np.int32]
) -> tuple[Array, Array, Array]:
    """Albedo [S, 3], strength of the highlight [S] and roughness [S]."""
    look = scene.appearance
    painted = sample_bilinear(look.canvas, values[:, _TEXEL])
    albedo, gloss = painted[:, :3], painted[:, 3] * np.float32(look.gloss)
    roughness = np.full(len(part), look.roughness, np.float32)
    eye = np.flatnonzero((part == Part.SCLERA) | (part == Part.IRIS))
    if len(eye):
        radius = np.hypot(*(values[eye, _EYE] - scene.gaze).T) / PROFILE_STEP
        albedo[eye] = look.eye_profile[np.minimum(radius.astype(np.intp), len(look.eye_profile) - 1)]
        if look.eye_picture is not None:
            side = look.eye_picture.shape[0]
            place = (values[eye, _EYE] - scene.gaze) / np.float32(2 * EYE_REACH * _IRIS_RADIUS) + np.float32(0.5)
            albedo[eye] = sample_bilinear(look.eye_picture, place * side)
        gloss[eye], roughness[eye] = 1.5, 0.12
    inner = part == Part.INNER
    albedo[inner], gloss[inner] = (0.10, 0.02, 0.02), 0.2
    if scene.enclosed is not None:
        for kind, colour, shine in ((Part.INNER, _LINING, 0.5), (Part.GUMS, _GUMS, 1.2), (Part.TEETH, look.teeth, 1.5)):
            mine = np.flatnonzero(part == kind)
            albedo[mine], gloss[mine], roughness[mine] = colour, shine, 0.25
    for kind in (Part.HAIR, Part.CLOTH):
        mine = np.flatnonzero(part == kind)
        if len(mine):
            column, row = values[mine, _TEXEL].T.astype(np.intp)
            albedo[mine] = scene.cloth[triangle[mine]] * headwear.strands()[row, column][:, None]
            gloss[mine], roughness[mine] = 0.5, 0.45 if kind == Part.HAIR else 0.8
    mine = np.flatnonzero(part == Part.THING)
    albedo[mine], gloss[mine], roughness[mine] = scene.cloth[triangle[mine]], 0.6, 0.35
    return albedo, gloss, roughness


def sample_bilinear(image: Array, xy: Array) -> Array:
    """Values [S, C] of an image [H, W, C] at xy [S, 2], texels' centres at +0.5; outside, its border is repeated."""
    height, width = image.shape[:2]
    x = np.clip(xy[:, 0] - 0.5, 0, width - 1.001)
    y = np.clip(xy[:, 1] - 0.5, 0, height - 1.001)
    column, row = x.astype(np.intp), y.astype(np.intp)
    right, down = (x - column)[:, None].astype(np.float32), (y - row)[:, None].astype(np.float32)
    flat = image.reshape(height * width, -1)
    index = row * width + column
    top = flat[index] + right * (flat[index + 1] - flat[index])
    bottom = flat[index + width] + right * (flat[index + width + 1] - flat[index + width])
    return top + down * (bottom - top)


def _key_visible(scene: Scene, origins: Array, key: Array, disc: Array) -> Array:
    """1 where the key light reaches points [S, 3], 0 in its shadow, [S]; `disc` is [S, 2], the point of the light."""
    across = np.cross(key, (0.0, 1.0, 0.0) if abs(key[1]) < 0.9 else (1.0, 0.0, 0.0))
    across /= np.linalg.norm(across)
    axes = np.stack((across, np.cross(key, across))).astype(np.float32)
    towards = key + disc @ axes
    visible = ~scene.caster.occluded(origins, towards)
    if scene.hair is not None:
        lit = np.flatnonzero(visible)
        visible[lit] = ~scene.hair.shades(origins[lit], towards[lit])
    return visible.astype(np.float32)


def _open_share(caster: raycast.Raycaster, origins: Array, normals: Array, spread: Spread) -> Array:
    """Share of the surroundings that points see past lips, lids and teeth, weighted by the cosine, [S].

    A few rays a pixel, dealt out to its samples and turned from one sample to the next, so that their mean is smooth.
    """
    turn = np.arctan2(spread.disc[:, 1], spread.disc[:, 0])[:, None]
    cos, sin = np.cos(turn), np.sin(turn)
    dealt = spread.number[:, None] + spread.count * np.arange(max(1, _OPEN_RAYS // spread.count))
    x, y, z = np.moveaxis(unrolled_skin.sphere_points(_OPEN_RAYS).astype(np.float32)[dealt % _OPEN_RAYS], -1, 0)
    # Normal + point of the unit sphere is distributed as the cosine about the normal.
    turned = np.stack((cos * x - sin * y, sin * x + cos * y, z), axis=-1)
    directions = normals[:, None, :] + np.float32(0.98) * turned
    blocked = caster.occluded(origins[:, None, :], directions, _ENCLOSURE)
    return (1 - blocked.mean(axis=1)).astype(np.float32)
