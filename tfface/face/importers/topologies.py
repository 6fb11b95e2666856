"""Published vertices of landmarks, for topologies whose files bring none, and the names that Basel gives landmarks.

The tables are those of eos (github.com/patrikhuber/eos, Apache-2.0): share/ibug_to_sfm.txt, share/ibug_to_bfm.txt and
share/ibug_to_bfm2017-1_bfm_nomouth.txt, by iBUG's numbers from 1. Points of the jaw beside the chin's have no vertex of
their own: in a picture they are where the outline is.
"""

from collections.abc import Mapping

from tfface import schema

# fmt: off
_SURREY = {
    9: 33, 18: 225, 19: 229, 20: 233, 21: 2086, 22: 157, 23: 590, 24: 2091, 25: 666, 26: 662, 27: 658, 28: 2842,
    29: 379, 30: 272, 31: 114, 32: 100, 33: 2794, 34: 270, 35: 2797, 36: 537, 37: 177, 38: 172, 39: 191, 40: 181,
    41: 173, 42: 174, 43: 614, 44: 624, 45: 605, 46: 610, 47: 607, 48: 606, 49: 398, 50: 315, 51: 413, 52: 329,
    53: 825, 54: 736, 55: 812, 56: 841, 57: 693, 58: 411, 59: 264, 60: 431, 62: 416, 63: 423, 64: 828, 66: 817,
    67: 442, 68: 404,
}
_BASEL_2009 = {
    18: 38792, 20: 40087, 22: 40514, 23: 41091, 25: 41511, 27: 42825, 31: 8319, 34: 8334, 37: 2088, 40: 5959,
    43: 10603, 46: 14472, 49: 5006, 52: 8344, 55: 11714, 58: 8374, 63: 8354, 67: 8366,
}
_BASEL_2017 = {
    9: 47846, 31: 8156, 37: 2602, 40: 5830, 43: 10390, 46: 13481, 49: 5522, 50: 6026, 51: 7355, 52: 8181, 53: 9007,
    54: 10329, 55: 10857, 56: 9730, 57: 8670, 58: 8199, 59: 7726, 60: 6898, 61: 6291, 62: 7364, 63: 8190, 64: 9016,
    65: 10088, 66: 8663, 67: 8191, 68: 7719,
}
# fmt: on

BY_NUM_VERTICES: Mapping[int, tuple[str, Mapping[int, int]]] = {
    3448: ("Surrey face model", _SURREY),
    53490: ("Basel face model 2009", _BASEL_2009),
    53149: ("Basel face model 2017, bfm_nomouth", _BASEL_2017),
}
"""Name and table of each topology that is known, by its number of vertices."""

BASEL_NAMES: Mapping[str, str] = {
    "center.chin.tip": "jaw_8",
    "center.nose.tip": "nose_ridge_3",
    "right.eye.corner_outer": "eye_right_0",
    "right.eye.corner_inner": "eye_right_3",
    "left.eye.corner_inner": "eye_left_0",
    "left.eye.corner_outer": "eye_left_3",
    "right.lips.corner": "lip_outer_0",
    "center.lips.upper.outer": "lip_outer_3",
    "left.lips.corner": "lip_outer_6",
    "center.lips.lower.outer": "lip_outer_9",
    "center.lips.upper.inner": "lip_inner_2",
    "center.lips.lower.inner": "lip_inner_6",
}
"""Those of Basel's landmarks (in the metadata of the models of 2017 and 2019) that iBUG has too."""


def published_landmarks(num_vertices: int) -> dict[str, int]:
    """Vertices of the landmarks of a known topology by name of `schema.IBUG68`; empty if it is not known.

    Args:
      num_vertices: by which the topology is recognised.

    Returns:
      Vertex index by name.
    """
    _, table = BY_NUM_VERTICES.get(num_vertices, ("", {}))
    return {schema.IBUG68[number - 1]: vertex for number, vertex in table.items()}


def known_name(name: str) -> str | None:
    """The name of `schema.IBUG68` that a landmark of another program has, or None.

    Args:
      name: of `schema.IBUG68` itself, of Basel, or a number of iBUG from "1" to "68".
    """
    if name in schema.IBUG68:
        return name
    if name in BASEL_NAMES:
        return BASEL_NAMES[name]
    if name.isascii() and name.isdecimal() and len(name) <= 2 and 1 <= int(name) <= len(schema.IBUG68):
        return schema.IBUG68[int(name) - 1]
    return None
