"""What people wear below the neck: shoulders in a shirt, a pullover, a jacket, with the collar that goes with it.

A torso is lofted from the person's own neck outwards and down: level s of it lies between the neck (s = 0) and the
contour of the shoulders (s = 1), and beyond that it falls. Garments are the same loft, some millimetres above the skin,
from the neckline on. The body may look elsewhere than the head does, so the loft turns with s.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.interpolate
import scipy.ndimage

from tfface import schema
from tfface.geometry import mesh, rotation
from tfface.geometry.interpolation import smoothstep
from tfface.people.photographer import headwear, occluders
from tfface.people.photographer.head_model import HeadModel, Part
from tfface.people.photographer.headwear import Headwear

Array = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating]

_ABOVE_RIM = 10.0
"""mm above the rim of the head's skin where the body's begins, inside the neck."""
_CLIMB = 25.0
"""mm above where the body begins, up to where garments may climb to lie over the head's own skin."""
_FRONT = 0.5
"""Cosine of the azimuth up to which the neck counts as its front."""
_CLEARANCE = 7.0
"""mm more between garments and the head's own skin, whose triangles may reach through theirs."""
_LEVELS = np.concatenate((np.linspace(0, 1, 15), np.linspace(1, 2, 7)[1:]))
_BARE, _PULLOVER, _SHIRT, _POLO_NECK, _HOOD = range(5)
_KINDS = (0.04, 0.44, 0.28, 0.12, 0.12)
_JACKETS = 0.25
"""Of those who wear a shirt or a pullover."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Body:
    """Neck and shoulders of a person.

    Attributes:
      azimuth: ``[C]``, radians, 0 in front; the last column repeats the first.
      neck: ``[C]``, mm, distance of the neck's skin from its axis where the body begins.
      centre: ``[3]``, mm, source frame, of the neck there.
      chin: mm, y of the chin.
      half_width: mm, of the shoulders.
      half_depth: mm, of the chest.
      drop: mm, by how much shoulders lie below the neck.
      turn: ``[3, 3]``, what the body is turned against the head.
      flare: From x, z, mm around the neck's axis, to y, mm, of the head's own skin, which flares towards the shoulders;
        NaN beyond its rim.
    """

    azimuth: Numbers
    neck: Numbers
    centre: Numbers
    chin: float
    half_width: float
    half_depth: float
    drop: float
    turn: Numbers
    flare: scipy.interpolate.LinearNDInterpolator

    @classmethod
    def drawn(cls, head: HeadModel, vertices: Array, rng: np.random.Generator) -> "_Body":
        """The neck is the person's, shoulders and turn are drawn."""
        grid = headwear.grid_of(head)
        skin = headwear.skin_of(grid, vertices).astype(np.float64)
        heights = skin[..., 1].mean(axis=1)
        ring = skin[np.argmin(np.abs(heights - (vertices[:, 1].max() - _ABOVE_RIM)))]
        centre = (ring.min(axis=0) + ring.max(axis=0)) / 2
        azimuth = np.linspace(-np.pi, np.pi, len(ring))
        smooth = scipy.ndimage.gaussian_filter1d(_radius(ring - centre, azimuth)[:-1], 1.5, mode="wrap")
        around = vertices[np.unique(head.triangles[head.part == Part.SKIN])].astype(np.float64) - centre
        lowest = around[around[:, 1] > -_CLIMB]
        size = float(rng.normal(1, 0.08))
        return cls(
            azimuth,
            np.append(smooth, smooth[0]),
            centre,
            float(vertices[head.landmarks[schema.IBUG68[8]], 1]),
            195 * size,
            float(rng.uniform(105, 135)) * size,
            float(rng.uniform(45, 85)),
            rotation.matrix_from_yaw_pitch_roll(*np.clip(rng.normal(0, (14, 4, 3)), -35, 35)),
            scipy.interpolate.LinearNDInterpolator(lowest[:, [0, 2]], lowest[:, 1]),
        )

    @property
    def room(self) -> float:
        """mm, how high a collar may stand: most of the way to the chin."""
        return max(0.85 * float(self.centre[1] - self.chin) - 2, 0.0)

    def loft(self, levels: Numbers, above: npt.ArrayLike = 0.0) -> Numbers:
        """Points ``[L, C, 3]``, mm, at levels ``[L, C]`` of each column, so many mm above the skin."""
        s, over = np.clip(levels, 0, 1), np.clip(levels - 1, 0, 1)
        # Shoulders are square, a neck is round.
        power = 2 / (2 + 1.2 * s)
        across, ahead = np.sin(self.azimuth), -np.cos(self.azimuth)
        squared = [np.sign(one) * np.abs(one) ** power for one in (across, ahead)]
        wide = self.neck + s * (self.half_width - self.neck) + 12 * over
        deep = self.neck + s**0.8 * (self.half_depth - self.neck) + 15 * over
        # From the side of the neck to the tip of the shoulder it falls less at first, in front and behind more.
        fall = self.drop * (np.abs(across) * s**1.3 + (1 - np.abs(across)) * 1.6 * s**0.9)
        points = np.stack((wide * squared[0], fall + 320 * over, deep * squared[1] + 14 * s), axis=-1)
        # The crest of the loft has its normal up, its flanks sideways.
        flank = np.stack(np.broadcast_arrays(across, -0.9 * (1 - over), ahead), axis=-1)
        points = points + np.asarray(above, np.float64)[..., None] * flank
        turned = points @ self.turn.T
        weight = smoothstep(0, 0.6, s)[..., None]
        return self._over_skin(self.centre + points + weight * (turned - points), np.asarray(above, np.float64))

    def _over_skin(self, points: Numbers, above: Numbers) -> Numbers:
        """Points raised so that they lie over the head's own skin, which flares towards the shoulders."""
        around = points - self.centre
        flare = self.flare(around[..., 0], around[..., 2]) - above - np.where(above > 0, _CLEARANCE, 0)
        # In front the skin hardly flares, and above there is the jaw.
        behind = around[..., 2] > -_FRONT * np.hypot(around[..., 0], around[..., 2])
        around[..., 1] = np.where(behind, np.fmin(around[..., 1], flare), around[..., 1])
        return self.centre + around

    def skin(self) -> occluders.Solid:
        """The bare loft: below the head's own skin at the neck, and well below any garment at the shoulders."""
        levels = np.broadcast_to(_LEVELS[:, None], (len(_LEVELS), len(self.azimuth)))
        return _surface(self.loft(levels, -1 - 9 * smoothstep(0.3, 0.8, levels)))

    def garment(self, neckline: npt.ArrayLike, above: float) -> occluders.Solid:
        """The loft from a level ``[C]`` of each column on, with a seam that has a thickness."""
        start = np.broadcast_to(np.asarray(neckline, np.float64), self.azimuth.shape)
        levels = np.maximum(start, 0) + (2 - np.maximum(start, 0)) * (_LEVELS / 2)[:, None] ** 1.3
        heights = np.full(levels.shape, above)
        return _surface(np.concatenate((self.loft(levels[:1], np.full((1, 1), above - 3)), self.loft(levels, heights))))

    def band(self, heights: Numbers, above: Numbers) -> occluders.Solid:
        """Around the neck: ``[L, C]`` mm above where the body begins, and mm above the neck's skin."""
        radius = self.neck + above
        points = np.stack((radius * np.sin(self.azimuth), -heights, -radius * np.cos(self.azimuth)), axis=-1)
        return _surface(self.centre + points)


def _radius(ring: Numbers, azimuth: Numbers) -> Numbers:
    """How far a ring ``[C, 3]`` around the y axis reaches from it at azimuths ``[C]``; its last point is its first."""
    angles, reach = np.arctan2(ring[:-1, 0], -ring[:-1, 2]), np.hypot(ring[:-1, 0], ring[:-1, 2])
    return np.interp(azimuth, angles, reach, period=2 * np.pi)


def sample_clothes(head: HeadModel, vertices: Array, skin: Array, rng: np.random.Generator) -> list[Headwear]:
    """Draws shoulders and what they are in.

    Args:
      head: the topology.
      vertices: [V, 3], mm, source frame, of the person.
      skin: [3], linear RGB, of the person.
      rng: source of randomness.

    Returns:
      Some pieces, the bare shoulders first.
    """
    body = _Body.drawn(head, vertices, rng)
    worn = [_cloth([body.skin()], skin, 0.0)]
    kind = int(rng.choice(len(_KINDS), p=_KINDS))
    if kind == _BARE:
        return worn
    colour = occluders.colour(rng, -4.5, -0.3)
    front = np.abs(body.azimuth)
    neckline = np.full(front.shape, rng.uniform(0.02, 0.2))
    if kind == _PULLOVER and rng.random() < 0.35:  # with a V
        neckline += rng.uniform(0.3, 0.7) * np.exp(-((front / rng.uniform(0.25, 0.45)) ** 2))
    if kind == _SHIRT:
        neckline = 0.02 + rng.uniform(0.0, 0.5) * np.exp(-((front / 0.2) ** 2))
    solids = [body.garment(neckline, 3.0)]
    if kind == _SHIRT:
        solids.append(_collar(body, rng))
    elif kind == _POLO_NECK:
        solids.append(_polo_neck(body, min(float(rng.uniform(25, 70)), body.room)))
    elif kind == _HOOD:
        solids.append(_hood(body, rng))
    worn.append(_cloth(solids, colour, _weave(rng)))
    if kind in (_PULLOVER, _SHIRT) and rng.random() < _JACKETS:
        if kind == _SHIRT and rng.random() < 0.5:
            worn.append(_cloth([_tie(body)], occluders.colour(rng, -4.0, -1.0), _weave(rng)))
        open_ = 0.12 + rng.uniform(0.9, 1.3) * np.exp(-((front / rng.uniform(0.3, 0.5)) ** 2))
        worn.append(_cloth([body.garment(open_, 9.0)], occluders.colour(rng, -5.0, -1.2), _weave(rng)))
    return worn


def _collar(body: _Body, rng: np.random.Generator) -> occluders.Solid:
    """Of a shirt: it stands around the neck and folds over, open in front."""
    height, fold = min(rng.uniform(22, 36), body.room), rng.uniform(26, 42)
    gap = rng.uniform(0.08, 0.5)
    # Columns in front are left out; the others are spread over what is left.
    columns = gap + (2 * np.pi - 2 * gap) * np.linspace(0, 1, len(body.azimuth)) - np.pi
    azimuth = np.mod(columns + 2 * np.pi, 2 * np.pi) - np.pi
    neck = np.interp(azimuth, body.azimuth, body.neck)
    turned = dataclasses.replace(body, azimuth=azimuth, neck=neck)
    points = 1 - smoothstep(0, 1.2, np.pi - np.abs(columns))  # how near a column is to the opening
    lowered = 12 * points
    heights = np.stack((0 * azimuth - 4, height - lowered, height + 2 - lowered, height - fold - lowered - 10 * points))
    above = np.stack((0 * azimuth + 5, 4 + 3 * points, 8 + 3 * points, 17 + 12 * points))
    return turned.band(heights, above)


def _polo_neck(body: _Body, height: float) -> occluders.Solid:
    """A tube around the neck, folded over once."""
    level = np.array([-6.0, height, height + 2, 0.4 * height])[:, None]
    return body.band(level + 0 * body.azimuth, np.array([4.0, 3.0, 8.0, 11.0])[:, None] + 0 * body.azimuth)


def _hood(body: _Body, rng: np.random.Generator) -> occluders.Solid:
    """It lies around the neck, thicker behind."""
    behind = smoothstep(0.6, 2.6, np.abs(body.azimuth))
    thick = min(10, 0.4 * body.room) + rng.uniform(14, 26) * behind
    turn = np.linspace(-0.5 * np.pi, 1.4 * np.pi, 10)[:, None]
    return body.band(6 + thick * np.sin(turn), 6 + thick * (1 + np.cos(turn)))


def _tie(body: _Body) -> occluders.Solid:
    """Down the front, with a knot."""
    columns = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]) * 16
    levels = np.linspace(0.03, 1.4, 8)[:, None]
    half = np.array([1.0, 0.75, 0.55, 0.65, 0.8, 0.95, 1.1, 1.2])[:, None]
    strip = dataclasses.replace(
        body, azimuth=np.zeros(5), neck=np.full(5, np.interp(0.0, body.azimuth, body.neck))
    ).loft(levels + 0 * columns, 7.0 + 3 * (levels < 0.1) + 0 * columns)
    return _surface(strip + (half * columns)[..., None] * body.turn[:, 0])


def _surface(points: Numbers) -> occluders.Solid:
    """Triangles between the rows and columns of points ``[L, C, 3]``."""
    triangles = mesh.grid_triangles(np.arange(points[..., 0].size).reshape(points.shape[:2]))
    return points.reshape(-1, 3), triangles.astype(np.int32)


def _weave(rng: np.random.Generator) -> float:
    """Threads a mm; 0 for plain cloth."""
    return float(rng.uniform(0.8, 3.0)) if rng.random() < 0.4 else 0.0


def _cloth(solids: list[occluders.Solid], colour: Array, weave: float) -> Headwear:
    """A garment, plain or with threads: the picture of hair's strands, finer or coarser, again and again mirrored."""
    made = occluders.piece(solids, colour)
    strands = headwear.strands()
    if not weave:
        row, column = np.unravel_index(np.argmin(np.abs(strands - 1)), strands.shape)
        texel = np.full((len(made.vertices), 2), (column, row), np.float32)
        return dataclasses.replace(made, part=Part.CLOTH, texel=texel)
    size = np.array(strands.shape[::-1]) - 1.0
    place = np.mod(made.vertices[:, :2] * (weave, 0.25 * weave), 2 * size)
    texel = np.minimum(place, 2 * size - place).astype(np.float32)
    return dataclasses.replace(made, part=Part.CLOTH, texel=texel)
