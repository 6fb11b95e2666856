"""Names of expressions: Apple's 52 of ARKit, and the further targets that avatars in web pages are driven by.

A target is a weighted sum of the expressions that a 3DMM has under names of its own, so that one displacement of the
vertices stands for it. Sources: Apple's documentation of ARFaceAnchor.BlendShapeLocation; the fifteen visemes of the
Oculus lip sync; the five further names that the TalkingHead library asks for.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Recipe = Mapping[str, float]

ARKIT = (
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawRight",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthLeft",
    "mouthRight",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
"""Apple's names in Apple's order; left and right are the person's own."""

_BOTH = "Left", "Right"


def _both(base: str, share: float) -> Recipe:
    return {f"{base}{side}": share for side in _BOTH}


FURTHER: Mapping[str, Recipe] = {
    "mouthOpen": {"jawOpen": 0.5},
    "mouthSmile": _both("mouthSmile", 0.8),
    "eyesClosed": _both("eyeBlink", 1.0),
    "eyesLookUp": _both("eyeLookUp", 1.0),
    "eyesLookDown": _both("eyeLookDown", 1.0),
    "viseme_sil": {},
    "viseme_PP": {**_both("mouthPress", 0.4), "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    "viseme_FF": {"jawOpen": 0.05, "mouthRollLower": 0.6, **_both("mouthUpperUp", 0.3), "mouthShrugUpper": 0.2},
    "viseme_TH": {"jawOpen": 0.15, **_both("mouthLowerDown", 0.25)},
    "viseme_DD": {"jawOpen": 0.12, **_both("mouthLowerDown", 0.3), "mouthShrugUpper": 0.1},
    "viseme_kk": {"jawOpen": 0.2, **_both("mouthStretch", 0.15)},
    "viseme_CH": {"jawOpen": 0.08, "mouthFunnel": 0.5, **_both("mouthUpperUp", 0.15)},
    "viseme_SS": {"jawOpen": 0.03, **_both("mouthStretch", 0.35), **_both("mouthLowerDown", 0.2)},
    "viseme_nn": {"jawOpen": 0.1, **_both("mouthLowerDown", 0.2)},
    "viseme_RR": {"jawOpen": 0.1, "mouthFunnel": 0.35, "mouthPucker": 0.15},
    "viseme_aa": {"jawOpen": 0.5, **_both("mouthLowerDown", 0.15)},
    "viseme_E": {"jawOpen": 0.25, **_both("mouthStretch", 0.3), **_both("mouthSmile", 0.15)},
    "viseme_I": {"jawOpen": 0.12, **_both("mouthSmile", 0.35)},
    "viseme_O": {"jawOpen": 0.35, "mouthFunnel": 0.5, "mouthPucker": 0.2},
    "viseme_U": {"jawOpen": 0.12, "mouthPucker": 0.65, "mouthFunnel": 0.25},
}
"""Further targets as sums of ARKit's."""


def recipes(names: Sequence[str]) -> dict[str, Recipe]:
    """ARKit's targets, and then the further ones, that expressions of some names can make.

    A side may be written `_L` and `_R` or `Left` and `Right`; where ARKit has one target for both, as `cheekPuff`, it
    is the sum of the two.

    Args:
      names: Of the expressions of a 3DMM.

    Returns:
      By name of the target, weights by name of the 3DMM's expression; what cannot be made is left out. Without any
      expression of ARKit's names there is nothing.
    """
    given = {canonical_names(name): name for name in names}
    found: dict[str, Recipe] = {}
    for target in ARKIT:
        wanted = canonical_names(target)
        parts = (wanted,) if wanted in given else tuple((one,) for one in wanted)
        if given.keys() >= set(parts):
            found[target] = {given[part]: 1.0 for part in parts}
    if not found:
        return {}
    further = {}
    for target, recipe in FURTHER.items():
        if found.keys() >= recipe.keys():
            weights: dict[str, float] = {}
            for part, share in recipe.items():
                for name, weight in found[part].items():
                    weights[name] = weights.get(name, 0.0) + share * weight
            further[target] = weights
    return {**found, **further}


def missing(names: Sequence[str]) -> tuple[str, ...]:
    """Which of ARKit's names expressions of some names cannot make."""
    made = recipes(names)
    return tuple(target for target in ARKIT if target not in made)


def weights_of_targets(names: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Names ``[T]`` of all targets that can be made, and their weights ``[T, E]`` of the 3DMM's expressions."""
    made = recipes(names)
    index = {name: number for number, name in enumerate(names)}
    weights = np.zeros((len(made), len(names)), np.float32)
    for row, recipe in zip(weights, made.values(), strict=True):
        for name, weight in recipe.items():
            row[index[name]] = weight
    return tuple(made), weights


def from_expressions(names: Sequence[str], weights: npt.ArrayLike) -> dict[str, float]:
    """ARKit's weights of the weights ``[E]`` of a 3DMM's expressions; of two joined halves, their mean."""
    values = dict(zip(names, np.asarray(weights, np.float64).tolist(), strict=True))
    made = recipes(names)
    return {name: float(np.mean([values[part] for part in made[name]])) for name in ARKIT if name in made}


def to_expressions(given: Mapping[str, float], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """The weights ``[E]`` of a 3DMM's expressions of some that are told by its own names or by ARKit's; others are 0.

    Raises:
      ValueError: If a name is neither, or tells what another has told.
    """
    made, index = recipes(names), {name: number for number, name in enumerate(names)}
    weights = np.zeros(len(names), np.float32)
    told: dict[str, str] = {}
    for name, weight in given.items():
        parts = (name,) if name in index else tuple(made[name]) if name in ARKIT and name in made else ()
        if not parts:
            raise ValueError(f"{name!r} is neither an expression of the 3DMM nor one of ARKit's that it has")
        for part in parts:
            if part in told:
                raise ValueError(f"{name!r} tells what {told[part]!r} has told")
            told[part] = name
            weights[index[part]] = weight
    return weights


_WITHOUT_SIDES = ("jaw", "mouth")  # jawLeft moves the whole jaw to the left.
SIDED = frozenset(
    {target.removesuffix(side) for target in ARKIT for side in _BOTH if target.endswith(side)}
    | {"browInnerUp", "cheekPuff"}
) - set(_WITHOUT_SIDES)
"""What each side of a face can do by itself; ARKit joins the two sides of the last two."""


@functools.cache
def canonical_names(name: str) -> tuple[str, ...]:
    """ICT-FaceKit's names of an expression that is named as there or as in ARKit, which joins some sides.

    Args:
      name: Such as `eyeBlink_L`, `eyeBlinkLeft`, `browInnerUp` or `jawOpen`.

    Returns:
      One name, or both sides' of what has no sides in ARKit.
    """
    for ending, side in (("Left", "_L"), ("Right", "_R")):
        if name.endswith(ending) and (stem := name.removesuffix(ending)) not in _WITHOUT_SIDES:
            return (stem + side,)
    return (f"{name}_L", f"{name}_R") if name in SIDED else (name,)
