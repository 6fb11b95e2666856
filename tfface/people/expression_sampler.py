"""Which expressions people show in photographs: recipes of named blendshapes, drawn anew for each photograph.

Names are ICT-FaceKit's (Apple ARKit's with `_L` and `_R`); README of ICT-FaceKit, "Expression Shapes", gives the FACS
unit of each. A recipe gives a range to every shape that takes part; weights are drawn uniformly inside it. Combinations
follow Ekman and Friesen's "Facial Action Coding System" (1978) and, for talking mouths, Oculus' visemes.

| share | what |
| ---: | --- |
| 33 % | neutral: every weight is 0 |
| 24 % | smiles: closed, open, laughing, on one side |
| 18 % | talking: nine visemes |
| 8 % | eyes: closed, half closed, squinting, wide open, a wink |
| 6 % | brows: raised, one raised, knit, worried |
| 8 % | surprise, disgust, anger, sadness, fear, pouting, puffed cheeks, the jaw to one side |
| 3 % | a few shapes at random |

Half of the expressions are weaker than their recipe, by a factor down to 0.3. Left and right differ by 8 % (standard
deviation), and in a tenth of the expressions much more. In one of eight the eyes are caught closed, whatever else the
face does. Where the eyes look depends on the camera, and is the photographer's business.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfface.face.arkit import SIDED, canonical_names

Recipe = Mapping[str, tuple[float, float]]

NEUTRAL_SHARE = 0.33

# A name without side stands for both sides where the shape has sides.
_SMILES: Sequence[Recipe] = (
    {
        "mouthSmile": (0.3, 0.9),
        "mouthDimple": (0.0, 0.3),
        "cheekSquint": (0.1, 0.6),
        "eyeSquint": (0.0, 0.4),
        "mouthPress": (0.0, 0.3),
    },
    {
        "mouthSmile": (0.5, 1.0),
        "mouthUpperUp": (0.1, 0.5),
        "mouthLowerDown": (0.1, 0.5),
        "jawOpen": (0.0, 0.12),
        "cheekSquint": (0.2, 0.8),
        "eyeSquint": (0.1, 0.5),
    },
    {
        "mouthSmile": (0.6, 1.0),
        "jawOpen": (0.12, 0.4),
        "mouthUpperUp": (0.2, 0.6),
        "mouthLowerDown": (0.2, 0.5),
        "cheekSquint": (0.4, 0.9),
        "eyeSquint": (0.3, 0.8),
        "noseSneer": (0.0, 0.25),
    },
)
_SMIRK: Recipe = {"mouthSmile": (0.4, 0.9), "mouthDimple": (0.0, 0.5), "cheekSquint": (0.1, 0.4)}
_VISEMES: Sequence[Recipe] = (
    {"jawOpen": (0.2, 0.5), "mouthLowerDown": (0.0, 0.3), "mouthUpperUp": (0.0, 0.2)},  # aa
    {
        "jawOpen": (0.08, 0.25),
        "mouthStretch": (0.2, 0.5),
        "mouthLowerDown": (0.1, 0.4),
        "mouthUpperUp": (0.1, 0.3),
    },  # E
    {"jawOpen": (0.03, 0.12), "mouthSmile": (0.2, 0.5), "mouthStretch": (0.1, 0.4), "mouthLowerDown": (0.2, 0.4)},  # I
    {"jawOpen": (0.15, 0.4), "mouthFunnel": (0.3, 0.8), "mouthPucker": (0.0, 0.3)},  # O
    {"jawOpen": (0.05, 0.2), "mouthPucker": (0.4, 0.9), "mouthFunnel": (0.1, 0.5)},  # U
    {"mouthPress": (0.2, 0.7), "mouthRollLower": (0.05, 0.3), "mouthRollUpper": (0.05, 0.3)},  # PP
    {"jawOpen": (0.02, 0.08), "mouthRollLower": (0.1, 0.4), "mouthUpperUp": (0.2, 0.4)},  # FF
    {"jawOpen": (0.05, 0.15), "mouthFunnel": (0.3, 0.6), "mouthShrugUpper": (0.1, 0.3)},  # CH
    {
        "jawOpen": (0.04, 0.12),
        "mouthStretch": (0.1, 0.3),
        "mouthLowerDown": (0.1, 0.4),
        "mouthUpperUp": (0.1, 0.3),
    },  # SS
)
_BLINK: Recipe = {"eyeBlink": (0.92, 1.0), "eyeSquint": (0.4, 0.7)}
_EYES: Sequence[Recipe] = (
    _BLINK,
    {"eyeBlink": (0.25, 0.7)},
    {"eyeSquint": (0.5, 1.0), "cheekSquint": (0.2, 0.7), "browDown": (0.0, 0.5)},
    {"eyeWide": (0.4, 1.0), "browInnerUp": (0.0, 0.4), "browOuterUp": (0.0, 0.4)},
)
_WINK: Recipe = {"eyeBlink": (0.92, 1.0), "eyeSquint": (0.4, 0.8), "cheekSquint": (0.4, 0.8), "mouthSmile": (0.0, 0.5)}
_BROWS: Sequence[Recipe] = (
    {"browInnerUp": (0.3, 1.0), "browOuterUp": (0.3, 1.0), "eyeWide": (0.0, 0.4)},
    {"browDown": (0.4, 1.0), "eyeSquint": (0.0, 0.4), "noseSneer": (0.0, 0.2)},
    {"browInnerUp": (0.4, 1.0), "browDown": (0.0, 0.3), "mouthFrown": (0.0, 0.4)},
)
_ONE_BROW: Recipe = {"browOuterUp": (0.4, 1.0), "browInnerUp": (0.1, 0.6), "eyeWide": (0.0, 0.3)}
_FEELINGS: Sequence[Recipe] = (
    {  # surprise
        "browInnerUp": (0.5, 1.0),
        "browOuterUp": (0.5, 1.0),
        "eyeWide": (0.3, 0.9),
        "jawOpen": (0.2, 0.65),
        "mouthFunnel": (0.0, 0.3),
    },
    {  # disgust
        "noseSneer": (0.4, 1.0),
        "mouthUpperUp": (0.2, 0.7),
        "browDown": (0.3, 0.7),
        "eyeSquint": (0.2, 0.6),
        "mouthShrugLower": (0.0, 0.4),
    },
    {"browDown": (0.6, 1.0), "noseSneer": (0.1, 0.5), "eyeSquint": (0.1, 0.5), "mouthPress": (0.2, 0.6)},  # anger
    {  # anger that shows its teeth
        "browDown": (0.5, 1.0),
        "noseSneer": (0.2, 0.7),
        "mouthUpperUp": (0.2, 0.6),
        "mouthLowerDown": (0.2, 0.7),
        "mouthStretch": (0.1, 0.4),
        "jawOpen": (0.0, 0.2),
    },
    {"browInnerUp": (0.4, 0.9), "mouthFrown": (0.4, 1.0), "mouthShrugLower": (0.1, 0.5)},  # sadness
    {"browInnerUp": (0.4, 1.0), "eyeWide": (0.3, 0.9), "mouthStretch": (0.3, 0.8), "jawOpen": (0.03, 0.2)},  # fear
    {"mouthPucker": (0.4, 1.0), "mouthShrugLower": (0.1, 0.5), "browDown": (0.0, 0.4)},  # pouting
    {"cheekPuff": (0.3, 1.0), "mouthPress": (0.1, 0.4)},
    {"jawLeft": (0.2, 0.8), "mouthLeft": (0.0, 0.4)},
    {"jawRight": (0.2, 0.8), "mouthRight": (0.0, 0.4)},
)
_RANDOM: Sequence[str] = (
    "browDown",
    "browInnerUp",
    "browOuterUp",
    "cheekPuff",
    "cheekSquint",
    "eyeSquint",
    "eyeWide",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthDimple",
    "mouthFrown",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDown",
    "mouthPress",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmile",
    "mouthStretch",
    "mouthUpperUp",
    "noseSneer",
)
_OPPOSED = (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"), ("mouthPress", "jawOpen"), ("eyeWide", "eyeSquint"))

RECIPES: Sequence[Sequence[Recipe]] = (_SMILES, _VISEMES, _EYES, _BROWS, _FEELINGS)
"""What both sides of a face do, by kind: smiles, visemes, eyes, brows, feelings."""
_SHARES = np.array([0.24, 0.18, 0.08, 0.06, 0.08, 0.03]) / 0.67
ONE_SIDED = (_SMIRK, None, _WINK, _ONE_BROW, None)
"""What a kind has beside its recipes that only one side of the face does."""


def sample_expression(rng: np.random.Generator) -> dict[str, float]:
    """Draws the expression of one photograph.

    Args:
      rng: source of randomness.

    Returns:
      Weight, 0..1, by ICT-FaceKit's name, of the shapes that take part; `weight_vector` puts them in order.
    """
    if rng.random() < NEUTRAL_SHARE:
        return {}
    kind = int(rng.choice(len(_SHARES), p=_SHARES))
    if kind == len(RECIPES):
        drawn = _random(rng)
    else:
        one_sided = ONE_SIDED[kind]
        number = int(rng.integers(len(RECIPES[kind]) + (one_sided is not None)))
        if one_sided is not None and number == len(RECIPES[kind]):
            drawn = _drawn(one_sided, rng, sides=str(rng.choice(("L", "R"))))
        else:
            drawn = _drawn(RECIPES[kind][number], rng, sides="LR")
    if rng.random() < 0.125:
        drawn |= _drawn(_BLINK, rng, sides="LR")
    elif rng.random() < 0.5 and not any(name.startswith("eyeBlink") for name in drawn):
        factor = rng.uniform(0.3, 1.0)  # An eye that closes by half is another expression, not a weaker one.
        drawn = {name: factor * weight for name, weight in drawn.items()}
    return {name: float(np.clip(weight, 0, 1)) for name, weight in drawn.items() if weight > 0}


def _drawn(recipe: Recipe, rng: np.random.Generator, sides: str) -> dict[str, float]:
    """Weights of a recipe, on the sides of the face that take part."""
    drawn = {}
    lean = rng.normal(0, 0.08)
    if rng.random() < 0.1:
        lean = rng.uniform(-0.5, 0.5)
    for name, (low, high) in recipe.items():
        weight = rng.uniform(low, high)
        if name in SIDED:
            eyelid = name == "eyeBlink"  # Lids close together, or one of them does.
            for side in sides:
                drawn[f"{name}_{side}"] = weight * (1 if eyelid else 1 + (lean if side == "L" else -lean))
        else:
            drawn[name] = weight
    return drawn


def _random(rng: np.random.Generator) -> dict[str, float]:
    """Three to six shapes, most of them weak, without those that work against each other."""
    chosen = {str(name): (0.0, 1.0) for name in rng.choice(_RANDOM, rng.integers(3, 7), replace=False)}
    for kept, dropped in _OPPOSED:
        if kept in chosen:
            chosen.pop(dropped, None)
    drawn = _drawn(chosen, rng, sides="LR")
    return {name: weight**1.5 * (0.5 if name == "jawOpen" else 0.8) for name, weight in drawn.items()}


def weight_vector(drawn: Mapping[str, float], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Weights in the order of a 3DMM's blendshapes.

    Args:
      drawn: weight by ICT-FaceKit's name. Shapes that the 3DMM lacks are left out.
      names: of the 3DMM's E blendshapes, as in ICT-FaceKit or in ARKit.

    Returns:
      [E] float32. A shape of both sides gets the mean of the sides' weights.
    """
    canonical = [canonical_names(name) for name in names]
    return np.array([sum(drawn.get(one, 0.0) for one in ones) / len(ones) for ones in canonical], np.float32)
