"""What stands between a camera and a face beside hair and caps: glasses, masks, scarves, hands, what hands hold.

All of it is triangles in the person's frame, so that it turns with the head, casts shadows and hides what it hides.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from tfface import schema
from tfface.geometry.interpolation import smoothstep
from tfface.people.photographer import headwear
from tfface.people.photographer.head_model import HeadModel, Part
from tfface.people.photographer.headwear import Headwear

Array = npt.NDArray[np.float32]
Solid = tuple[npt.NDArray[np.floating], npt.NDArray[np.int32]]
"""Vertices [W, 3], mm, and triangles [F, 3]."""

GLASSES, MASKS, SCARVES, HELD = 0.22, 0.04, 0.06, 0.12
"""Shares of people who wear or hold them."""
_STANDS_OFF = 6.0
"""mm from the lips to a mask, which does not move with them."""
_BEFORE = 3.0
"""mm from the foremost of brows and eyes to the plane of glasses."""


def sample_occluders(head: HeadModel, vertices: Array, skin: Array, rng: np.random.Generator) -> list[Headwear]:
    """Draws what a person has before the face.

    Args:
      head: the topology.
      vertices: [V, 3], mm, source frame, of the person.
      skin: [3], linear RGB, of the person's hands.
      rng: source of randomness.

    Returns:
      Any number of pieces, mostly none.
    """
    marks = vertices[[head.landmarks[name] for name in schema.IBUG68]].astype(np.float64)
    worn = []
    if rng.random() < GLASSES:
        worn += _glasses(marks, rng)
    if rng.random() < MASKS:
        worn.append(_mask(head, vertices, rng))
    if rng.random() < SCARVES:
        worn.append(_scarf(head, vertices, rng))
    if rng.random() < HELD:
        worn += _held(marks, skin, rng)
    return worn


def colour(rng: np.random.Generator, low: float = -4.5, high: float = -0.7) -> Array:
    """Between black and bright, between grey and coloured, [3]."""
    tint = 1 + rng.uniform(0, 0.9) ** 2 * (rng.dirichlet(np.ones(3)) * 3 - 1)
    return (np.exp(rng.uniform(low, high)) * tint).astype(np.float32)


def piece(solids: list[Solid], colour: Array) -> Headwear:
    """Solids of one colour ``[3]``, linear RGB, as one piece."""
    first = np.cumsum([0, *(len(vertices) for vertices, _ in solids[:-1])])
    vertices = np.concatenate([vertices for vertices, _ in solids]).astype(np.float32)
    triangles = np.concatenate([triangles + start for (_, triangles), start in zip(solids, first, strict=True)])
    return Headwear(vertices, triangles.astype(np.int32), Part.THING, np.zeros((len(vertices), 2), np.float32), colour)


def tube(path: npt.NDArray[np.floating], radius: npt.ArrayLike, closed: bool = False, sides: int = 6) -> Solid:
    """A tube along a path [N, 3] with a radius, one or [N], mm; a closed one joins its ends, others have caps."""
    count = len(path)
    forward = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    if not closed:
        forward[0], forward[-1] = path[1] - path[0], path[-1] - path[-2]
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)
    # Any direction across will do, as long as neighbours agree.
    reference = np.eye(3)[np.argmin(np.abs(forward).mean(axis=0))]
    across = np.cross(forward, reference)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    up = np.cross(forward, across)
    turn = 2 * np.pi * np.arange(sides) / sides
    around = np.cos(turn)[:, None] * across[:, None] + np.sin(turn)[:, None] * up[:, None]
    vertices = path[:, None] + np.broadcast_to(radius, count)[:, None, None] * around
    row = np.arange(count if closed else count - 1)[:, None] * sides
    after = (np.arange(count if closed else count - 1)[:, None] + 1) % count * sides
    k, following = np.arange(sides), (np.arange(sides) + 1) % sides
    first = np.stack(np.broadcast_arrays(row + k, row + following, after + k), axis=-1)
    second = np.stack(np.broadcast_arrays(row + following, after + following, after + k), axis=-1)
    triangles = [first.reshape(-1, 3), second.reshape(-1, 3)]
    points = vertices.reshape(-1, 3)
    if not closed:
        for end, start in ((0, 0), (count - 1, (count - 1) * sides)):
            triangles.append(np.stack((np.full(sides, len(points)), start + k, start + following), axis=-1))
            points = np.concatenate((points, path[end : end + 1]))
    return points, np.concatenate(triangles).astype(np.int32)


def ellipsoid(centre: npt.NDArray[np.floating], axes: npt.NDArray[np.floating]) -> Solid:
    """An ellipsoid; the rows of `axes` [3, 3] are its half axes, mm."""
    height = np.sin(np.linspace(-1.5, 1.5, 9))
    points, triangles = tube(np.stack((height, 0 * height, 0 * height), axis=-1), np.sqrt(1 - height**2), sides=12)
    return centre + points @ axes, triangles


def _glasses(marks: npt.NDArray[np.floating], rng: np.random.Generator) -> list[Headwear]:
    """Frames, and dark lenses in a fifth of them."""
    half = np.array([rng.uniform(21, 29), rng.uniform(14, 25)])
    power = 2 / rng.uniform(2, 4.5)
    thickness = float(np.exp(rng.uniform(np.log(0.7), np.log(3.0))))
    plane, lowered = marks[[*range(17, 28), *range(36, 48)], 2].min() - _BEFORE, rng.uniform(0, 5)
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    outline = np.stack((np.cos(turn), np.sin(turn)), axis=-1)
    outline = np.sign(outline) * np.abs(outline) ** power * half
    frame, lenses, ends = [], [], []
    middle = marks[27]
    for eye, side in ((slice(36, 42), -1.0), (slice(42, 48), 1.0)):
        centre = marks[eye].mean(axis=0) + (0, lowered, 0)
        centre[0] = middle[0] + side * max(abs(centre[0] - middle[0]), half[0] + 6)
        rim = np.concatenate((centre[:2] + outline, np.full((len(outline), 1), plane)), axis=1)
        # Lenses follow the face: farther out, farther back.
        rim[:, 2] += 0.0022 * (rim[:, 0] - middle[0]) ** 2
        frame.append(tube(rim, thickness, closed=True))
        fan = np.stack((np.full(len(rim), len(rim)), np.arange(len(rim)), np.roll(np.arange(len(rim)), -1)), axis=-1)
        lenses.append((np.concatenate((rim, rim.mean(axis=0, keepdims=True))), fan.astype(np.int32)))
        outer = rim[np.argmax(side * rim[:, 0])] - (0, 0.45 * half[1], 0)
        ear = marks[0 if side < 0 else 16]
        beside = middle[0] + side * (abs(ear[0] - middle[0]) + 3)
        hinge = np.array([beside, outer[1], outer[2] + 12])
        frame.append(tube(np.stack((outer, hinge, (beside, outer[1] + 2, ear[2] + 18))), max(thickness, 1.2)))
        ends.append(centre - (side * half[0], 0.35 * half[1], 0))
    bridge = np.stack((ends[0], (ends[0] + ends[1]) / 2 - (0, 2, 0), ends[1]))
    bridge[:, 2] = plane - 1
    frame.append(tube(bridge, thickness))
    worn = [piece(frame, colour(rng))]
    if rng.random() < 0.2:
        worn.append(piece(lenses, colour(rng, -5.0, -2.5)))
    return worn


def _mask(head: HeadModel, vertices: Array, rng: np.random.Generator) -> Headwear:
    """A mask over mouth and nose."""
    grid = headwear.grid_of(head)
    marks = grid.landmarks.positions
    top = marks[[28, 30], 1].mean() + rng.uniform(-4, 10)
    azimuth = np.abs(grid.landmarks.azimuth(grid.points))
    across = (np.abs(grid.landmarks.azimuth(marks[[2, 14]])).mean() - azimuth) * 80
    depth = np.minimum(
        np.minimum(grid.points[..., 1] - top - 14 * azimuth, marks[8, 1] + 10 - grid.points[..., 1]), across
    )
    colour = np.array(((0.35, 0.55, 0.75), (0.75, 0.75, 0.74), (0.02, 0.02, 0.02))[rng.integers(3)], np.float32)
    skin = headwear.skin_of(grid, vertices)
    # It is stretched over nose, lips and chin, and does not follow what lies between them.
    x, z = grid.landmarks.axis
    radius = ((skin - (x, 0, z)) * grid.outward * (1, 0, 1)).sum(axis=-1)
    stretched = scipy.ndimage.gaussian_filter(scipy.ndimage.maximum_filter(radius, (5, 5)), 1.0) - radius
    height = headwear.lift(depth, _STANDS_OFF + np.maximum(stretched, 0), 2.0)
    return dataclasses.replace(headwear.shell(grid, skin, height, Part.CLOTH, colour), part=Part.THING)


def _scarf(head: HeadModel, vertices: Array, rng: np.random.Generator) -> Headwear:
    """A scarf around the neck, which may reach the mouth."""
    grid = headwear.grid_of(head)
    chin = grid.landmarks.positions[8, 1]
    top = chin + (rng.uniform(5, 30) if rng.random() < 0.7 else rng.uniform(-35, 5))
    wave = 5 * np.sin(3 * grid.landmarks.azimuth(grid.points) + rng.uniform(0, 6))
    heights = grid.points[..., 1]
    thick = rng.uniform(8, 26) * (0.6 + 0.4 * smoothstep(0, 30, heights - top)) + wave
    return headwear.shell(
        grid,
        headwear.skin_of(grid, vertices),
        headwear.lift(heights - top + wave, thick, 1.2),
        Part.CLOTH,
        colour(rng),
    )


def _held(marks: npt.NDArray[np.floating], skin: Array, rng: np.random.Generator) -> list[Headwear]:
    """A hand at the chin, a cheek, the mouth or the forehead; or a telephone, a cup, a microphone."""
    axis = np.array([marks[[0, 16], 0].mean(), 0.0, marks[[0, 16], 2].mean()])
    groups = ([8], [3, 4], [12, 13], [48, 4], [57], [12, 54], [19, 24, 27])
    anchors = np.stack([marks[group].mean(axis=0) for group in groups])
    anchor = anchors[rng.integers(len(anchors))]
    outward = (anchor - axis) * (1, 0, 1)
    outward /= np.linalg.norm(outward)
    if rng.random() < 0.6:
        return [piece(_hand(anchor, outward, rng), skin * np.float32(rng.uniform(0.7, 1.2)))]
    place = anchor + rng.uniform(20, 70) * outward + rng.normal(0, 12, 3)
    kind = rng.integers(3)
    if kind == 0:
        size = np.diag((rng.uniform(32, 40), rng.uniform(60, 80), 4.0))
        return [piece([_box(place, size @ _tilt(rng))], colour(rng, -5.0, -1.5))]
    if kind == 1:
        place[1] += 35
        up = np.array([0, -rng.uniform(35, 55), 0]) @ _tilt(rng)
        return [piece([tube(np.stack((place - up, place + up)), rng.uniform(30, 42), sides=16)], colour(rng))]
    down = np.array([0, 1.0, 0]) @ _tilt(rng) + 0.5 * outward
    ball = ellipsoid(place, np.eye(3) * rng.uniform(18, 28))
    return [piece([ball, tube(np.stack((place, place + 120 * down)), 12.0, sides=10)], colour(rng, -4.5, -2.0))]


def _tilt(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """A rotation by some tens of degrees, [3, 3]."""
    a, b = rng.normal(0, 0.35, 2)
    turned = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return turned @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])


def _box(centre: npt.NDArray[np.floating], half: npt.NDArray[np.floating]) -> Solid:
    """A box; the rows of `half` [3, 3] are its half edges, mm."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    # Corners of their own for each side: normals must not run over edges.
    points = (centre + corners @ half)[quads.ravel()]
    first = np.arange(6)[:, None] * 4
    triangles = np.concatenate((first + (0, 1, 2), first + (0, 2, 3)))
    return points, triangles.astype(np.int32)


def _hand(anchor: npt.NDArray[np.floating], outward: npt.NDArray[np.floating], rng: np.random.Generator) -> list[Solid]:
    """A palm, four fingers and a thumb whose tips lie on the face, and the wrist."""
    angle = rng.normal(0, 0.7)
    side = np.cross(outward, (0, 1, 0))
    along = np.cos(angle) * np.array([0, -1.0, 0]) + np.sin(angle) * side
    across = np.cross(along, outward)
    size = rng.uniform(0.85, 1.1)
    tips = anchor + 10 * outward
    palm = tips - size * 85 * along + 22 * outward
    solids = [ellipsoid(palm, size * np.stack((46 * along, 40 * across, 15 * outward)))]
    spread = rng.uniform(0.6, 1.3)
    for number, reach in enumerate((66, 74, 70, 55)):
        root = palm + size * (30 * along + (number - 1.5) * 18 * across)
        tip = root + size * reach * (along + 0.12 * spread * (number - 1.5) * across) - 20 * outward
        knuckle = (root + tip) / 2 + rng.uniform(4, 14) * outward
        solids.append(tube(np.stack((root, knuckle, tip)), size * np.array((9.0, 8.2, 6.5)), sides=8))
    thumb = palm + size * 40 * across * rng.choice((-1, 1))
    solids.append(
        tube(np.stack((thumb - 20 * along, thumb + 15 * along, thumb + 48 * along - 6 * outward)), size * 9.5, sides=8)
    )
    solids.append(tube(np.stack((palm - 20 * along, palm - size * 130 * along + 20 * outward)), size * 27, sides=12))
    return solids
