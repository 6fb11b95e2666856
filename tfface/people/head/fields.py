"""What each measure moves: smooth displacement fields over the template, construction frame (``skull``).

Every field is a displacement `[V, 3]` for about one millimetre of its measure; how many millimetres exactly is
calibrated in ``deformation``. Breadths and displacements are symmetric, asymmetries move both sides alike. The numbers
in the fields are places on the template, mm.
"""

from collections.abc import Callable

import numpy as np

from tfface.geometry.interpolation import smootherstep
from tfface.people.head import relief

Field = Callable[[np.ndarray], np.ndarray]


def _place(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Side (-1, 0 or 1), distance from the midline, height, depth."""
    return np.sign(points[:, 0]), np.abs(points[:, 0]), points[:, 1], points[:, 2]


def _vector(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float64)


def _bell(value: np.ndarray, centre: float, radius: float) -> np.ndarray:
    return np.exp(-(((value - centre) / radius) ** 2))


def _plateau(value: np.ndarray, rise: tuple[float, float], fall: tuple[float, float]) -> np.ndarray:
    """0 below `rise`, 1 between, 0 above `fall`."""
    return smootherstep(value, *rise) * (1.0 - smootherstep(value, *fall))


def _in_front(points: np.ndarray) -> np.ndarray:
    return smootherstep(points[:, 2], -10.0, 45.0)


def _swelling(x: float, y: float, across: float, along: float, move: tuple[float, float, float]) -> Field:
    """A soft displacement around (|x|, y) on the front; both sides mirror each other."""

    def field(points: np.ndarray) -> np.ndarray:
        side, aside, height, _ = _place(points)
        # On the midline the two halves of a swelling that overlap add up without a crease.
        beside = _bell(aside, x, across) + _bell(aside, -x, across) * (x > 0.0)
        sideways = (_bell(aside, x, across) - _bell(aside, -x, across)) * side
        weight = _bell(height, y, along) * _in_front(points)
        return _vector(move[0] * sideways * weight, move[1] * beside * weight, move[2] * beside * weight)

    return field


def _widening(reach: float, weight: Callable[[np.ndarray], np.ndarray]) -> Field:
    """Half a millimetre outwards on each side at |x| = reach, growing from the midline with the square of |x|."""

    def field(points: np.ndarray) -> np.ndarray:
        side, aside, _, _ = _place(points)
        # (|x| / reach)^2 has no slope on the midline, so no crease runs down the face; beyond the measure it is held,
        # or ears and temples would move more than the cheekbones.
        return _vector(0.5 * side * np.minimum(aside / reach, 1.1) ** 2 * weight(points), 0.0, 0.0)

    return field


def _lengthening(top: float, bottom: float) -> Field:
    """Everything below `bottom` goes down by one, everything above `top` stays."""

    def field(points: np.ndarray) -> np.ndarray:
        return _vector(0.0, -(1.0 - smootherstep(points[:, 1], bottom, top)), 0.0)

    return field


def _head_length(points: np.ndarray) -> np.ndarray:
    # Grows towards the occiput with ((40 - z) / 136)^1.5, half as much in the neck: the length of a head varies in the
    # skull behind the ears.
    back = np.clip((40.0 - points[:, 2]) / 136.0, 0.0, 1.2) ** 1.5
    return _vector(0.0, 0.0, -back * (0.45 + 0.55 * smootherstep(points[:, 1], -110.0, -10.0)))


def _head_breadth(points: np.ndarray) -> np.ndarray:
    return _widening(74.5, lambda p: smootherstep(p[:, 1], -25.0, 35.0))(points)


def _forehead_height(points: np.ndarray) -> np.ndarray:
    return _vector(0.0, smootherstep(points[:, 1], 8.0, 76.0), 0.0)


def _upper_lip_height(points: np.ndarray) -> np.ndarray:
    _, aside, height, depth = _place(points)
    weight = (
        _plateau(height, (-104.0, -72.0), (-68.0, -48.0)) * _bell(aside, 0.0, 36.0) * smootherstep(depth, 30.0, 70.0)
    )
    return _vector(0.0, -weight, 0.0)


def _vermilion(above: float) -> Field:
    """Moves a border of the vermilion away from the line between the lips, which stays."""

    def field(points: np.ndarray) -> np.ndarray:
        _, aside, height, depth = _place(points)
        # (u / 8) exp((1 - (u / 8)^2) / 2) is 0 on the line between the lips, 1 at the border of the vermilion 8 mm from
        # it, and fades beyond: the red part grows, and the lips stay closed.
        away = np.maximum((height + 68.7) * above, 0.0)
        weight = away / 8.0 * np.exp(0.5 - 0.5 * (away / 8.0) ** 2)
        # A parabola across: both borders meet in the corners of the mouth, 28 mm from the midline.
        weight = weight * np.maximum(1.0 - (aside / 28.0) ** 2, 0.0) * smootherstep(depth, 60.0, 85.0)
        return _vector(0.0, above * weight, 0.35 * weight)

    return field


def _mouth_breadth(points: np.ndarray) -> np.ndarray:
    side, aside, height, depth = _place(points)
    # In proportion to |x| up to the corners at 26 mm, so that lips stretch alike over their whole breadth; the cheeks
    # follow until 58 mm.
    weight = aside / 26.0 * _plateau(-aside, (-58.0, -26.0), (1.0, 2.0)) * _bell(height, -68.5, 17.0)
    return _vector(0.5 * side * weight * smootherstep(depth, 30.0, 70.0), 0.0, 0.0)


def _intercanthal(points: np.ndarray) -> np.ndarray:
    side, aside, height, depth = _place(points)
    # 1 at the inner corners (17 mm) and slowly less to 62 mm: the whole eye moves, and its own breadth hardly changes.
    weight = _plateau(aside, (4.0, 17.0), (17.0, 62.0)) * _bell(height, 0.0, 17.0) * smootherstep(depth, 30.0, 60.0)
    return _vector(0.5 * side * weight, 0.0, 0.0)


def _biocular(points: np.ndarray) -> np.ndarray:
    side, aside, height, depth = _place(points)
    # 0 at the inner corners, 1 at the outer ones (46 mm): the fissure alone becomes longer.
    weight = _plateau(aside, (14.0, 46.0), (46.0, 76.0)) * _bell(height, 0.0, 19.0) * smootherstep(depth, 0.0, 50.0)
    return _vector(0.5 * side * weight, 0.0, 0.0)


def _nose_breadth(points: np.ndarray) -> np.ndarray:
    side, aside, height, depth = _place(points)
    weight = _plateau(aside, (2.0, 16.0), (17.0, 31.0)) * _bell(height, -43.5, 10.0) * smootherstep(depth, 60.0, 85.0)
    return _vector(0.5 * side * weight, 0.0, 0.0)


def _nose_protrusion(points: np.ndarray) -> np.ndarray:
    _, aside, height, depth = _place(points)
    # The nose turns forward about its root; its base stays behind.
    along = np.where(height > -37.0, smootherstep(-height, -4.0, 37.0), 1.0 - smootherstep(-height, 39.0, 50.0))
    return _vector(0.0, 0.0, along * _bell(aside, 0.0, 11.5) * smootherstep(depth, 84.0, 100.0) ** 0.5)


def _nasal_root(points: np.ndarray) -> np.ndarray:
    side, aside, height, depth = _place(points)
    weight = _plateau(aside, (1.0, 7.5), (8.0, 17.0)) * _bell(height, 1.0, 13.0) * smootherstep(depth, 60.0, 80.0)
    return _vector(0.5 * side * weight, 0.0, 0.0)


def _dorsum_breadth(points: np.ndarray) -> np.ndarray:
    side, aside, height, depth = _place(points)
    weight = _plateau(aside, (1.0, 7.0), (9.0, 20.0)) * _bell(height, -20.0, 13.0) * smootherstep(depth, 60.0, 85.0)
    return _vector(side * weight, 0.0, 0.0)


def _face_depth(points: np.ndarray) -> np.ndarray:
    # ((z + 10) / 105)^1.5: from the ears forwards, most at the nose; the back of the head stays.
    ahead = np.clip((points[:, 2] + 10.0) / 105.0, 0.0, 1.15) ** 1.5
    return _vector(0.0, 0.0, ahead * smootherstep(points[:, 1], -200.0, -90.0))


def _forehead_slope(points: np.ndarray) -> np.ndarray:
    return _vector(0.0, 0.0, -smootherstep(points[:, 1], 12.0, 80.0) * smootherstep(points[:, 2], 0.0, 80.0))


def _around_eyes(points: np.ndarray) -> np.ndarray:
    """1 over lids and eyeball, fading out towards brow, nose and cheek."""
    # From the centre of the eye on the same side.
    off = points - relief.EYE_CENTRE * np.where(points[:, :1] < 0.0, [[-1.0, 1.0, 1.0]], 1.0)
    return (1.0 - smootherstep(np.hypot(off[:, 0] / 1.15, off[:, 1]), 10.0, 25.0)) * smootherstep(
        points[:, 2], 30.0, 55.0
    )


def _orbit_depth(points: np.ndarray) -> np.ndarray:
    return _vector(0.0, 0.0, -_around_eyes(points))


def _eye_height(points: np.ndarray) -> np.ndarray:
    return _vector(0.0, _around_eyes(points), 0.0)


def _fissure_height(points: np.ndarray) -> np.ndarray:
    _, aside, height, depth = _place(points)
    # A parabola over the fissure, 15 mm to each side of its middle: the corners of the eye stay.
    across = np.maximum(1.0 - ((aside - 31.4) / 15.0) ** 2, 0.0)
    # The upper lid does most of the opening.
    lids = 0.65 * _bell(height, 8.0, 6.0) - 0.35 * _bell(height, -5.0, 5.0)
    return _vector(0.0, lids * across * smootherstep(depth, 55.0, 70.0), 0.0)


def _fissure_inclination(points: np.ndarray) -> np.ndarray:
    _, aside, _, _ = _place(points)
    # Turns the fissure about its middle: up by 0.5 at the outer corner, down by as much at the inner one.
    return _vector(0.0, np.clip((aside - 31.4) / 14.5, -1.2, 1.2) * 0.5 * _around_eyes(points) ** 0.5, 0.0)


def _chin_breadth(points: np.ndarray) -> np.ndarray:
    side, aside, height, depth = _place(points)
    # |x| exp(-...) is 0 on the midline: the chin broadens and does not split.
    weight = aside / 20.0 * _bell(aside, 16.0, 16.0) * _bell(height, -107.0, 15.0) * smootherstep(depth, 25.0, 65.0)
    return _vector(side * weight, 0.0, 0.0)


def _jaw_angle(move: tuple[float, float, float]) -> Field:
    def field(points: np.ndarray) -> np.ndarray:
        _, aside, height, depth = _place(points)
        weight = _bell(height, -72.0, 22.0) * _bell(depth, 18.0, 30.0) * smootherstep(aside, 15.0, 45.0)
        return weight[:, None] * np.array(move)

    return field


def _cheek_fullness(points: np.ndarray) -> np.ndarray:
    side, aside, height, depth = _place(points)
    weight = _bell(height, -54.0, 24.0) * _bell(depth, 55.0, 36.0) * smootherstep(aside, 14.0, 40.0)
    return _vector(0.75 * side * weight, 0.0, 0.55 * weight)


def _nasolabial_fold(points: np.ndarray) -> np.ndarray:
    _, aside, height, depth = _place(points)
    # The fold runs from beside the nostril outwards and down; a ridge beside it and a groove in it.
    line = 20.0 + 0.42 * (-44.0 - height)
    weight = _plateau(height, (-76.0, -62.0), (-48.0, -38.0)) * smootherstep(depth, 40.0, 75.0)
    return _vector(0.0, 0.0, (_bell(aside - line, 7.0, 7.0) - 0.8 * _bell(aside - line, 0.0, 5.0)) * weight)


def _submental_fullness(points: np.ndarray) -> np.ndarray:
    _, aside, height, depth = _place(points)
    weight = _bell(height, -122.0, 13.0) * _bell(aside, 0.0, 36.0) * _plateau(depth, (10.0, 45.0), (66.0, 92.0))
    return _vector(0.0, -0.8 * weight, 0.6 * weight)


def _neck_breadth(points: np.ndarray) -> np.ndarray:
    side, aside, height, _ = _place(points)
    weight = (1.0 - smootherstep(height, -135.0, -75.0)) * np.minimum(aside / 52.0, 1.2)
    return _vector(0.5 * side * weight, 0.0, 0.0)


def _nose_deviation(points: np.ndarray) -> np.ndarray:
    _, aside, height, depth = _place(points)
    along = _plateau(height, (-52.0, -42.0), (-38.0, 2.0))
    return _vector(along * _bell(aside, 0.0, 13.0) * smootherstep(depth, 84.0, 104.0), 0.0, 0.0)


def _chin_deviation(points: np.ndarray) -> np.ndarray:
    return _vector((1.0 - smootherstep(points[:, 1], -112.0, -62.0)) * smootherstep(points[:, 2], 10.0, 60.0), 0.0, 0.0)


def _tilted(weight: Callable[[np.ndarray], np.ndarray], reach: float) -> Field:
    """One side up, the other down."""

    def field(points: np.ndarray) -> np.ndarray:
        return _vector(0.0, np.clip(points[:, 0] / reach, -1.2, 1.2) * weight(points), 0.0)

    return field


def _jaw_sides(points: np.ndarray) -> np.ndarray:
    weight = _bell(points[:, 1], -76.0, 26.0) * smootherstep(points[:, 2], -30.0, 10.0)
    return _vector(weight * np.clip(np.abs(points[:, 0]) / 54.0, 0.0, 1.1) ** 2, 0.0, 0.0)


def _cheek_sides(points: np.ndarray) -> np.ndarray:
    weight = np.clip(points[:, 0] / 45.0, -1.0, 1.0) * _bell(points[:, 1], -28.0, 22.0) * _in_front(points)
    return _vector(0.0, 0.0, weight)


FIELDS: dict[str, Field] = {
    "head_length_g_op": _head_length,
    "head_breadth_eu_eu": _head_breadth,
    "minimum_frontal_breadth_ft_ft": _widening(53.0, lambda p: smootherstep(p[:, 1], -12.0, 30.0) * _in_front(p)),
    "bizygomatic_breadth_zy_zy": _widening(
        69.0, lambda p: _bell(p[:, 1], -16.0, 40.0) * smootherstep(p[:, 2], -70.0, 10.0)
    ),
    "bigonial_breadth_go_go": _widening(
        54.0, lambda p: _bell(p[:, 1], -80.0, 40.0) * smootherstep(p[:, 2], -50.0, 10.0)
    ),
    "forehead_height_tr_n": _forehead_height,
    "nose_height_n_sn": _lengthening(6.0, -50.0),
    "lower_face_height_sn_gn": _lengthening(-47.0, -114.0),
    "upper_lip_height_sn_sto": _upper_lip_height,
    "upper_vermilion_height_ls_sto": _vermilion(1.0),
    "lower_vermilion_height_sto_li": _vermilion(-1.0),
    "mouth_breadth_ch_ch": _mouth_breadth,
    "intercanthal_breadth_en_en": _intercanthal,
    "biocular_breadth_ex_ex": _biocular,
    "nose_breadth_al_al": _nose_breadth,
    "nose_protrusion_sn_prn": _nose_protrusion,
    "nasal_root_breadth": _nasal_root,
    "face_depth": _face_depth,
    "forehead_slope": _forehead_slope,
    "forehead_bulge": _swelling(0.0, 42.0, 48.0, 22.0, (0.0, 0.0, 1.0)),
    "brow_ridge": _swelling(21.0, 16.0, 20.0, 8.5, (0.0, 0.0, 1.0)),
    "brow_height": _swelling(30.0, 19.0, 26.0, 9.0, (0.0, 1.0, 0.0)),
    "orbit_depth": _orbit_depth,
    "eye_height": _eye_height,
    "eye_fissure_height": _fissure_height,
    "eye_fissure_inclination": _fissure_inclination,
    "upper_lid_fold": _swelling(31.0, 12.5, 15.0, 4.5, (0.0, -0.4, 1.0)),
    "nasal_bridge_height": _swelling(0.0, 1.0, 9.5, 14.0, (0.0, 0.0, 1.0)),
    "nasal_hump": _swelling(0.0, -13.0, 8.0, 9.0, (0.0, 0.0, 1.0)),
    "nasal_dorsum_breadth": _dorsum_breadth,
    "nasal_tip_upturn": _swelling(0.0, -39.5, 11.0, 8.0, (0.0, 1.0, 0.15)),
    "nasal_tip_fullness": _swelling(7.5, -36.0, 6.0, 7.0, (1.0, 0.0, 0.3)),
    "alar_base_height": _swelling(15.5, -45.0, 8.0, 7.0, (0.0, 1.0, 0.0)),
    "midface_protrusion": _swelling(0.0, -48.0, 38.0, 28.0, (0.0, 0.0, 1.0)),
    "cheekbone_prominence": _swelling(47.0, -20.0, 19.0, 14.0, (0.5, 0.0, 0.85)),
    "cheek_fullness": _cheek_fullness,
    "nasolabial_fold": _nasolabial_fold,
    "temple_fullness": _swelling(62.0, 28.0, 14.0, 20.0, (1.0, 0.0, 0.4)),
    "philtrum_depth": _swelling(0.0, -56.0, 3.2, 7.0, (0.0, 0.0, -1.0)),
    "lip_protrusion": _swelling(0.0, -68.5, 24.0, 13.0, (0.0, 0.0, 1.0)),
    "mouth_corner_height": _swelling(26.0, -69.0, 13.0, 10.0, (0.0, 1.0, 0.0)),
    "mentolabial_depth": _swelling(0.0, -86.5, 18.0, 6.5, (0.0, 0.0, -1.0)),
    "mentolabial_height": _swelling(0.0, -87.0, 24.0, 9.0, (0.0, 1.0, 0.0)),
    "chin_protrusion": _swelling(0.0, -106.0, 28.0, 19.0, (0.0, 0.0, 1.0)),
    "chin_breadth": _chin_breadth,
    "jaw_angle_height": _jaw_angle((0.0, 1.0, 0.0)),
    "jaw_angle_depth": _jaw_angle((0.0, 0.0, -1.0)),
    "submental_fullness": _submental_fullness,
    "neck_breadth": _neck_breadth,
    "nose_deviation": _nose_deviation,
    "chin_deviation": _chin_deviation,
    "eye_level": _tilted(_around_eyes, 31.0),
    "brow_level": _tilted(lambda p: _bell(p[:, 1], 18.0, 10.0) * _in_front(p), 30.0),
    "mouth_level": _tilted(lambda p: _bell(p[:, 1], -69.0, 13.0) * _bell(p[:, 0], 0.0, 45.0) * _in_front(p), 26.0),
    "jaw_sides": _jaw_sides,
    "cheek_sides": _cheek_sides,
}
"""By name of the measure; the ears' own measures are in ``deformation``, as they move nothing else."""


def residual(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field of unit mean square: a sum of plane waves of 90 to 260 mm in random directions.

    Args:
      points: `[V, 3]`, mm.
      rng: draws the waves.

    Returns:
      `[V, 3]`, of the unit that it is scaled to.
    """
    num_waves = 24
    # A sum of many independent waves is nearly a Gaussian process (Rahimi and Recht, "Random features for large-scale
    # kernel machines", NIPS 2007). 90 mm and more: what faces of one set of measures still differ by, and no bumps.
    directions = rng.standard_normal((num_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wave_numbers = 2.0 * np.pi / rng.uniform(90.0, 260.0, num_waves)
    phases = rng.uniform(0.0, 2.0 * np.pi, num_waves)
    # E cos^2 = 1/2, so the mean square of the three coordinates together is n * 3 * (1/2) * 2 / (3 n) = 1.
    amplitudes = rng.standard_normal((num_waves, 3)) * np.sqrt(2.0 / num_waves / 3.0)
    return np.cos(points @ (directions * wave_numbers[:, None]).T + phases) @ amplitudes
