"""How adults vary: named measures of the head with their means, standard deviations and correlations.

Sources of means and standard deviations, rounded to half a millimetre, the latter pooled over women and men:

  NIOSH   Zhuang and Bradtmiller, "Head-and-face anthropometric survey of U.S. respirator users", Journal of
          Occupational and Environmental Hygiene 2(11), 2005 (2,543 men and 1,454 women of all ethnic groups).
  Farkas  Farkas (ed.), "Anthropometry of the Head and Face", 2nd edition, Raven Press, 1994 (young adult women and
          men); the landmarks' abbreviations (n, sn, gn ...) are Farkas'.
  chosen  No survey was found that gives the figure; it was chosen so that faces look like people's. These are
          displacements in millimetres at the place named, relative to the mean of women and men.

Correlations come from a few common factors, as in the principal components of such surveys (Zhuang et al., "Shape
analysis of 3D head scan data for U.S. respirator users", EURASIP Journal on Advances in Signal Processing, 2010: the
first component is overall size, the second trades length for breadth): within each sex

  (m_k - mean_k) / sd_k = sum_f loading_kf g_f + sqrt(1 - sum_f loading_kf^2) e_k,    g_f, e_k ~ N(0, 1).

The loadings are chosen; they stand beside the measures.
"""

import dataclasses
from collections.abc import Mapping

FACTORS = ("size", "slender", "weight", "nose", "lips", "jaw")
"""Overall size; long and narrow against short and broad; soft tissue; high and narrow against low and broad nose;
full and protruding lips; strong jaw and brow."""


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measure of the population.

    Attributes:
      name: with Farkas' landmarks where it is a distance.
      women: mean of women, mm.
      men: mean of men, mm.
      deviation: standard deviation within each sex, mm.
      source: see the head of this page.
      loadings: by factor.
    """

    name: str
    women: float
    men: float
    deviation: float
    source: str
    loadings: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean of women and men in equal numbers, mm."""
        return 0.5 * (self.women + self.men)


@dataclasses.dataclass(frozen=True)
class Distance(Measure):
    """A measure that can be taken on a mesh.

    Attributes:
      ends: the points between which it is measured (names of `HeadTemplate.points`); of a breadth a single one, which
        is measured against its mirror image.
    """

    ends: tuple[str, ...] = ()


# fmt: off
DISTANCES = (
    Distance(
        "head_length_g_op", 187.5, 197.5, 7.5, "NIOSH",
        {"size": 0.6}, ("glabella", "opisthocranion"),
    ),
    Distance(
        "head_breadth_eu_eu", 147.0, 153.0, 6.0, "NIOSH",
        {"size": 0.55, "slender": -0.5}, ("eurion",),
    ),
    Distance(
        "minimum_frontal_breadth_ft_ft", 103.0, 105.5, 5.5, "NIOSH",
        {"size": 0.5, "slender": -0.5}, ("frontotemporale",),
    ),
    Distance(
        "bizygomatic_breadth_zy_zy", 135.0, 143.5, 6.5, "NIOSH",
        {"size": 0.6, "slender": -0.5, "weight": 0.3}, ("zygion",),
    ),
    Distance(
        "bigonial_breadth_go_go", 110.0, 120.5, 9.5, "NIOSH",
        {"size": 0.45, "slender": -0.35, "weight": 0.45, "jaw": 0.35}, ("gonion",),
    ),
    Distance(
        "forehead_height_tr_n", 63.0, 67.0, 6.5, "Farkas",
        {"size": 0.2}, ("trichion", "nasion"),
    ),
    Distance(
        "nose_height_n_sn", 48.0, 52.0, 4.0, "NIOSH",
        {"size": 0.45, "slender": 0.45, "nose": 0.25}, ("nasion", "subnasale"),
    ),
    Distance(
        "lower_face_height_sn_gn", 64.5, 72.5, 4.5, "Farkas",
        {"size": 0.45, "slender": 0.4, "jaw": 0.35}, ("subnasale", "gnathion"),
    ),
    Distance(
        "upper_lip_height_sn_sto", 20.0, 22.5, 2.0, "Farkas",
        {"size": 0.3, "slender": 0.3}, ("subnasale", "stomion"),
    ),
    Distance(
        "upper_vermilion_height_ls_sto", 7.9, 7.9, 1.4, "chosen",
        {"lips": 0.75}, ("labiale_superius", "stomion"),
    ),
    Distance(
        "lower_vermilion_height_sto_li", 9.5, 9.7, 1.5, "chosen",
        {"lips": 0.75}, ("labiale_inferius", "stomion"),
    ),
    Distance(
        "mouth_breadth_ch_ch", 48.0, 51.0, 4.0, "NIOSH",
        {"size": 0.35, "lips": 0.2, "nose": -0.25}, ("cheilion",),
    ),
    Distance(
        "intercanthal_breadth_en_en", 32.0, 33.5, 2.5, "Farkas",
        {"size": 0.3, "nose": -0.3}, ("endocanthion",),
    ),
    Distance(
        "biocular_breadth_ex_ex", 88.0, 91.0, 3.0, "Farkas",
        {"size": 0.55, "slender": -0.15}, ("exocanthion",),
    ),
    Distance(
        "nose_breadth_al_al", 33.0, 36.5, 4.0, "NIOSH",
        {"size": 0.25, "nose": -0.65, "lips": 0.25}, ("alare",),
    ),
    Distance(
        "nose_protrusion_sn_prn", 20.0, 21.0, 2.5, "NIOSH",
        {"size": 0.25, "nose": 0.55}, ("subnasale", "pronasale"),
    ),
    Distance(
        "nasal_root_breadth", 16.5, 16.5, 2.0, "NIOSH",
        {"size": 0.2, "nose": -0.4}, ("nasal_root",),
    ),
)

DISPLACEMENTS = (
    Measure("face_depth", -1.2, 1.2, 3.2, "chosen", {"size": 0.5}),
    Measure("forehead_slope", -1.2, 1.2, 2.8, "chosen", {"jaw": 0.3}),
    Measure("forehead_bulge", 0.4, -0.4, 1.5, "chosen", {"jaw": -0.2}),
    Measure("brow_ridge", -0.9, 0.9, 1.2, "chosen", {"jaw": 0.5}),
    Measure("brow_height", 0.6, -0.6, 1.4, "chosen", {"jaw": -0.3}),
    Measure("orbit_depth", -0.4, 0.4, 1.3, "chosen", {"nose": 0.4}),
    Measure("eye_height", 0.0, 0.0, 1.1, "chosen"),
    Measure("eye_fissure_height", 0.2, -0.2, 1.1, "chosen"),
    Measure("eye_fissure_inclination", 0.3, -0.3, 1.2, "chosen"),
    Measure("upper_lid_fold", 0.2, -0.2, 0.9, "chosen"),
    Measure("nasal_bridge_height", -0.6, 0.6, 1.8, "chosen", {"nose": 0.65}),
    Measure("nasal_hump", -0.3, 0.3, 0.9, "chosen", {"nose": 0.4}),
    Measure("nasal_dorsum_breadth", -0.1, 0.1, 0.8, "chosen", {"nose": -0.4}),
    Measure("nasal_tip_upturn", 0.5, -0.5, 1.6, "chosen", {"nose": -0.2}),
    Measure("nasal_tip_fullness", -0.1, 0.1, 0.9, "chosen", {"nose": -0.4}),
    Measure("alar_base_height", 0.0, 0.0, 0.9, "chosen"),
    Measure("midface_protrusion", 0.0, 0.0, 1.8, "chosen", {"lips": 0.35}),
    Measure("cheekbone_prominence", 0.1, -0.1, 1.7, "chosen", {"weight": 0.2}),
    Measure("cheek_fullness", 0.3, -0.3, 2.4, "chosen", {"weight": 0.75}),
    Measure("nasolabial_fold", -0.1, 0.1, 0.7, "chosen", {"weight": 0.3}),
    Measure("temple_fullness", 0.1, -0.1, 1.3, "chosen", {"weight": 0.35}),
    Measure("philtrum_depth", -0.1, 0.1, 0.35, "chosen"),
    Measure("lip_protrusion", 0.1, -0.1, 1.7, "chosen", {"lips": 0.7}),
    Measure("mouth_corner_height", 0.0, 0.0, 1.0, "chosen"),
    Measure("mentolabial_depth", -0.2, 0.2, 1.1, "chosen", {"jaw": 0.3}),
    Measure("mentolabial_height", 0.0, 0.0, 1.3, "chosen"),
    Measure("chin_protrusion", -0.6, 0.6, 2.6, "chosen", {"jaw": 0.5, "lips": -0.25}),
    Measure("chin_breadth", -1.0, 1.0, 1.8, "chosen", {"jaw": 0.4}),
    Measure("jaw_angle_height", 0.5, -0.5, 3.5, "chosen", {"jaw": -0.35}),
    Measure("jaw_angle_depth", 0.0, 0.0, 2.5, "chosen"),
    Measure("submental_fullness", 0.0, 0.0, 2.6, "chosen", {"weight": 0.7}),
    Measure("neck_breadth", -4.0, 4.0, 3.5, "chosen", {"weight": 0.5, "jaw": 0.2}),
    Measure("ear_length", -1.5, 1.5, 3.5, "chosen", {"size": 0.3}),
    Measure("ear_protrusion", -0.8, 0.8, 2.5, "chosen"),
)

ASYMMETRIES = (
    Measure("nose_deviation", 0.0, 0.0, 0.8, "chosen"),
    Measure("chin_deviation", 0.0, 0.0, 1.1, "chosen"),
    Measure("eye_level", 0.0, 0.0, 0.5, "chosen"),
    Measure("brow_level", 0.0, 0.0, 0.6, "chosen"),
    Measure("mouth_level", 0.0, 0.0, 0.6, "chosen"),
    Measure("jaw_sides", 0.0, 0.0, 0.9, "chosen"),
    Measure("cheek_sides", 0.0, 0.0, 0.7, "chosen"),
)
# fmt: on

MEASURES = DISTANCES + DISPLACEMENTS + ASYMMETRIES
NUM_RESIDUALS = 28
"""Smooth random fields that stand for everything that is not named, so that the covariance has a long tail."""
NUM_ASYMMETRIC_RESIDUALS = 8
RESIDUAL_DEVIATION = 0.45
"""mm, standard deviation of each residual field at a typical vertex; half of it for asymmetric ones. Chosen."""
