"""ICT-FaceKit: meshes of one topology, a neutral one and one for each of 100 modes and 53 expressions; cm, y up.

Vertex ranges and landmarks: ICT-FaceKit (MIT licence), README, "Face Model Topology" and "Facial Landmarks"; Li et al.,
"Learning Formation of Physically-Based Face Attributes", CVPR 2020. A mode's mesh is the neutral one moved by one
standard deviation, an expression's the neutral one with that expression alone. Turned by 180 degrees about x and scaled
by ten the meshes are in model axes: nothing is mirrored.
"""

import os
import pathlib

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face.expressions import Expressions
from tfface.face.head import Head
from tfface.face.importers.raw import RawModel
from tfface.geometry import mesh
from tfface.geometry.formats import polygons

NUM_MODES = 100
NUM_FILE_VERTICES = 26719
NUM_FACE_VERTICES = 9409
"""Vertices 0..9408, the face area: the 3DMM's shape."""
NUM_SKIN_VERTICES = 11248
"""Vertices 0..11247, the skin of the whole head, face first."""
NUM_NARROW_FACE_VERTICES = 6706
"""Vertices 0..6705, the narrow face area: face without ears, neck and the top of the forehead."""
NEUTRAL_FILE = "generic_neutral_mesh.obj"

_MODEL_FROM_FILE = 10 * np.array([1, -1, -1], np.float32)

# fmt: off
_LANDMARKS = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268, 493, 1914,
    2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542, 1537,
    1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518,
    5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)
EXPRESSIONS = (
    "browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R", "cheekPuff_L",
    "cheekPuff_R", "cheekSquint_L", "cheekSquint_R", "eyeBlink_L", "eyeBlink_R", "eyeLookDown_L", "eyeLookDown_R",
    "eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L", "eyeLookOut_R", "eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L",
    "eyeSquint_R", "eyeWide_L", "eyeWide_R", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimple_L", "mouthDimple_R", "mouthFrown_L", "mouthFrown_R", "mouthFunnel", "mouthLeft",
    "mouthLowerDown_L", "mouthLowerDown_R", "mouthPress_L", "mouthPress_R", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmile_L", "mouthSmile_R",
    "mouthStretch_L", "mouthStretch_R", "mouthUpperUp_L", "mouthUpperUp_R", "noseSneer_L", "noseSneer_R",
)
# fmt: on
"""The blendshapes, as `vertex_indices.json` of ICT-FaceKit lists them; a mesh each."""
LANDMARKS = dict(zip(schema.IBUG68, _LANDMARKS, strict=True))
"""Vertex by name, for all of `schema.IBUG68`."""


REGIONS = {
    "face": (range(NUM_FACE_VERTICES),),
    "narrow": (range(NUM_NARROW_FACE_VERTICES),),
    "skin": (range(NUM_SKIN_VERTICES),),
    "mouth_socket": (range(NUM_SKIN_VERTICES, 13294),),
    "eye_sockets": (range(13294, 14062),),
    "gums": (range(14062, 17039),),
    "teeth": (range(17039, 21451),),
    "eyes": (range(21451, 24591),),
    "irises": (range(22221, 23021), range(23791, 24591)),
    "lacrimal_fluid": (range(24591, 24999),),
    "eye_blend": (range(24999, 25047),),
    "eye_occlusion": (range(25047, 25351),),
    "lashes": (range(25351, NUM_FILE_VERTICES),),
}
"""Vertices of the files by what they are (README of ICT-FaceKit). The tongue is with the gums, irises with the eyes."""


def identity_file(mode: int) -> str:
    """File name of an identity mode, 0..99."""
    return f"identity{mode:03d}.obj"


def expression_file(name: str) -> str:
    """File name of one of `EXPRESSIONS`."""
    return f"{name}.obj"


def data_folder(directory: str | os.PathLike[str]) -> pathlib.Path:
    """The folder with the meshes: `directory` itself, or FaceXModel below it if `directory` is a checkout.

    Raises:
      ValueError: if neither holds the neutral mesh.
    """
    root = pathlib.Path(directory)
    for folder in (root / "FaceXModel", root):
        if (folder / NEUTRAL_FILE).is_file():
            return folder
    raise ValueError(
        f"{root}: expected a checkout of ICT-FaceKit, or the folder that tfface.people.download fetches, with "
        f"{NEUTRAL_FILE}; it is not there"
    )


def read_vertices(path: pathlib.Path) -> npt.NDArray[np.float32]:
    """Vertices of one of the model's OBJ files, [26719, 3] float32, mm, model axes.

    Raises:
      ValueError: if the file has another number of vertices.
    """
    content = path.read_bytes()
    start, end = content.find(b"\nv "), content.rfind(b"\nv ")
    end = content.find(b"\n", end + 1)
    values = np.array(content[start:end].replace(b"\nv ", b" ").split(), np.float32) if start >= 0 else np.zeros(0)
    if values.size != 3 * NUM_FILE_VERTICES:
        raise ValueError(f"{path}: expected {NUM_FILE_VERTICES} vertices of three numbers, got {values.size} numbers")
    return (values.reshape(-1, 3) * _MODEL_FROM_FILE).astype(np.float32)


def face_triangles(triangles: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Those triangles of the whole mesh [F, 3] that make up the face area, without one of the neck's.

    The face area's polygons come first. One triangle of the neck's joins three of its vertices, with no mirror image.
    """
    return triangles[: np.argmax((triangles >= NUM_FACE_VERTICES).any(axis=1))]


def head_of_files(
    folder: pathlib.Path,
    neutral: npt.NDArray[np.float32],
    modes: npt.NDArray[np.float32],
    expressions: Expressions | None,
) -> Head:
    """The whole mesh as a head, with the regions and the texture layout of the neutral file.

    Args:
      folder: of `data_folder`.
      neutral: [26719, 3], mm, model axes, in the order of the files.
      modes: [K, 26719, 3], mm, displacement by one standard deviation of each.
      expressions: of the 26,719 vertices.
    """
    uv, uv_triangles = _texture_layout(folder / NEUTRAL_FILE)
    return Head(
        mean=neutral,
        scaled_basis=modes,
        triangles=mesh.read_mesh(folder / NEUTRAL_FILE).triangles,
        face_index=np.arange(NUM_FACE_VERTICES),
        expressions=expressions,
        regions={name: np.concatenate([np.asarray(part) for part in parts]) for name, parts in REGIONS.items()},
        uv=uv,
        uv_triangles=uv_triangles,
    )


def _texture_layout(path: pathlib.Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Places in the texture [U, 2], v up, and the corners in them [T, 3], cut as by `mesh.read_mesh`."""
    places, corners, counts = [], [], []
    for line in path.read_text("ascii").splitlines():
        keyword, *fields = line.split() or ("",)
        if keyword == "vt":
            places.append((float(fields[0]), float(fields[1])))
        elif keyword == "f":
            corners += [int(field.split("/")[1]) - 1 for field in fields]
            counts.append(len(fields))
    triangles = polygons.fan(np.array(corners), np.array(counts))
    return np.array(places, np.float32), triangles.astype(np.int32)


def read(path: pathlib.Path, num_modes: int = NUM_MODES) -> RawModel:
    """Reads the face area, and the whole mesh as its head, with the expressions if their files are there.

    It takes half a minute for all of the modes and expressions, each of which is a mesh. Gaze moves the lids alone: the
    eyeballs of the files stand still.

    Args:
      path: a checkout, or its folder FaceXModel.
      num_modes: how many of the modes.

    Raises:
      ValueError: naming the file and the fault.
    """
    folder = data_folder(path)
    paths = [folder / identity_file(mode) for mode in range(num_modes)]
    missing = [file.name for file in paths if not file.is_file()]
    if missing:
        raise ValueError(f"{len(missing)} of {num_modes} modes are missing, {missing[0]} is the first")
    shapes = [folder / expression_file(name) for name in EXPRESSIONS]
    missing = [file.name for file in shapes if not file.is_file()]
    if 0 < len(missing) < len(shapes):
        raise ValueError(f"{len(missing)} of {len(shapes)} expressions are missing, {missing[0]} is the first")
    neutral = read_vertices(folder / NEUTRAL_FILE)
    modes = np.stack([read_vertices(file) - neutral for file in paths])
    expressions = None
    if not missing:
        expressions = Expressions(np.stack([read_vertices(file) - neutral for file in shapes]), EXPRESSIONS)
    head = head_of_files(folder, neutral, modes, expressions)
    triangles = face_triangles(head.triangles)
    assert head.uv_triangles is not None
    return RawModel(
        mean=neutral[:NUM_FACE_VERTICES],
        modes=modes[:, :NUM_FACE_VERTICES],
        triangles=triangles,
        landmarks=dict(LANDMARKS),
        model_from_file=np.eye(3),
        notes={"format": "ict"},
        expressions=None if expressions is None else expressions.at(slice(NUM_FACE_VERTICES)),
        regions={"narrow": np.arange(NUM_NARROW_FACE_VERTICES)},
        uv=head.uv,
        uv_triangles=head.uv_triangles[: len(triangles)],
        head=head,
    )
