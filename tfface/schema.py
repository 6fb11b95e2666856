"""The conventions of tfface, as code: every key, shape, dtype, unit, range and frame that crosses a module's border.

This page is the only place that explains them; docstrings elsewhere name a frame and do not explain it again.

Lengths are millimetres, angles in arguments and reports are degrees.

Frames
  model   x right, y down, z away from the viewer, as seen in a frontal photograph. The face looks along -z.
          The origin is the centroid of the template's face region.
  camera  OpenCV: x right, y down, z forward. ``x_cam = R(q) x_model + t``. A frontal view has R = I and
          t = (0, 0, distance).
  pixel   (0, 0) is the outer corner of the top-left pixel, centres lie at +0.5. Sizes are (height, width), points
          are (x, y).

Transforms are named to_from (``px_from_cam``, ``cam_from_model``), so that they compose by eye.

Rotations are unit quaternions in tensorflow-graphics order (x, y, z, w), with w >= 0 where stored. Yaw, pitch and roll
are defined by ``R = Rz(roll) Rx(pitch) Ry(yaw)``; yaw is the head's turn about its own vertical axis. In the picture,
``yaw = -45`` turns the nose to the viewer's right and shows the RIGHT side of the person's face (the right ear);
``yaw = +45`` turns the nose to the viewer's left and shows the LEFT side.

Coefficients count standard deviations: ``vertices = mean + sum_k c_k sqrt(eigenvalue_k) basis_k``, with an orthonormal
basis and eigenvalues in mm^2. They are a person's; expression is a view's: ``posed = vertices + sum_e w_e delta_e``,
with weights 0..1 and deltas in mm for named blendshapes, and weights in standard deviations for components of an
analysis. ``vertices`` always means the neutral shape of the identity, ``posed`` what a view shows.

Tensors have their batch dimensions first; a dimension of views stands as ``[batch, views, ...]``. In shapes, B is the
batch, N the number of views, P the number of vertices, K the number of modes, E the number of expressions, F the
number of triangles, Q the
number of points that are looked for.
"""

import dataclasses

CONVENTIONS_VERSION = 1
"""Raised whenever a convention above changes; stored in every 3DMM, record set and model."""

SELECTED_YAWS = (-45.0, 0.0, 45.0)
"""The yaw, in degrees, that each of the three views of section 4.2 should come closest to."""

MIN_DEPTH = 1.0
"""mm. A point at or behind the camera has no projection; depth is clamped to this bound inside ``project``."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One tensor that crosses a border: its key and what it means."""

    key: str
    shape: tuple[int | str, ...]
    dtype: str
    unit: str
    frame: str
    doc: str


IMAGES = Field("images", ("B", "N", "H", "W", 3), "float32", "0..255, RGB", "pixel", "Crops, the face filling them.")
INTRINSICS = Field("intrinsics", ("B", "N", 3, 3), "float32", "px", "px_from_cam", "K of each crop, zero skew.")
VIEW_MASK = Field("view_mask", ("B", "N"), "float32", "0 or 1", "-", "1 where a view exists, 0 where it is padding.")
VERTICES = Field("vertices", ("B", "P", 3), "float32", "mm", "model", "The face's shape.")
QUATERNIONS = Field("quaternions", ("B", "N", 4), "float32", "unit", "cam_from_model", "Rotation of each view.")
TRANSLATIONS = Field("translations", ("B", "N", 3), "float32", "mm", "cam_from_model", "Translation of each view.")
COEFFICIENTS = Field("coefficients", ("B", "K"), "float32", "standard deviations", "3DMM", "Shape coefficients.")
EXPRESSIONS = Field("expressions", ("B", "N", "E"), "float32", "weights", "3DMM", "Expression of each view; 0 unknown.")
EXPRESSIONS_KNOWN = Field("expressions_known", ("B", "N"), "float32", "0 or 1", "-", "1 where a view's are known.")
POSED = Field("posed", ("B", "N", "P", 3), "float32", "mm", "model", "What each view shows; neutral where unknown.")
DELTA_ROTATIONS = Field(
    "delta_rotations", ("B", 4), "float32", "unit", "model", "Turns the 3DMM's deltas to the subject."
)
POINTS = Field("points", ("B", "N", "Q", 2), "float32", "px", "pixel", "Points of the posed surface, hidden ones too.")
DEVIATIONS = Field("deviations", ("B", "N", "Q"), "float32", "px", "pixel", "Of each point, along each axis; above 0.")
FEATURES = Field(
    "features", ("B", "N", "h", "w", "c"), "float32", "-", "-", "What the encoder says of a view, where it is cut."
)
DETAIL = Field(
    "detail", ("B", "N", "h", "w", "c"), "float32", "-", "-", "What an earlier block of the encoder says of a view."
)
SUBJECT = Field("subject", ("B",), "string", "-", "-", "Subject id; a mirrored subject keeps its id.")

MODEL_OUTPUTS = (COEFFICIENTS, VERTICES, QUATERNIONS, TRANSLATIONS, EXPRESSIONS, POSED, POINTS, DEVIATIONS)
"""What a model says, as a dict by key; one without a head for it has no such key."""
EXAMPLE = (SUBJECT, IMAGES, INTRINSICS, VIEW_MASK, VERTICES, QUATERNIONS, TRANSLATIONS)
"""What the pipeline yields, as a dict by key."""
EXAMPLE_EXPRESSIONS = (EXPRESSIONS, EXPRESSIONS_KNOWN, POSED, DELTA_ROTATIONS)
"""What it yields besides, from records with expressions."""

IBUG68 = tuple(
    [f"jaw_{i}" for i in range(17)]
    + [f"brow_right_{i}" for i in range(5)]
    + [f"brow_left_{i}" for i in range(5)]
    + [f"nose_ridge_{i}" for i in range(4)]
    + [f"nose_base_{i}" for i in range(5)]
    + [f"eye_right_{i}" for i in range(6)]
    + [f"eye_left_{i}" for i in range(6)]
    + [f"lip_outer_{i}" for i in range(12)]
    + [f"lip_inner_{i}" for i in range(8)]
)
"""Names of the 68 iBUG / Multi-PIE landmarks in their order; left and right are the person's own."""

LANDMARKS51 = IBUG68[17:]
"""The 51 landmarks without the jaw, in the order that ARMSE uses (index 13 is the tip of the nose)."""

NOSE_TIP = "nose_ridge_3"
EYE_OUTER_RIGHT, EYE_OUTER_LEFT = "eye_right_0", "eye_left_3"
