"""A small symmetric face with all 68 landmarks and a few modes, and its files as other programs write them."""

import io
import json
import pickle
import struct
import sys
import types

import egg
import h5py
import numpy as np

from tfface import schema
from tfface.face import MorphableModel, find_symmetry

Y_UP = np.array([1.0, -1, -1])
COLUMNS, ROWS = 21, 25
DEVIATIONS = np.array([6.0, 4, 2.5, 1.5])


def face_model() -> MorphableModel:
    """525 vertices, 150 x 220 mm, facing -z, with the 68 landmarks of the egg; its centroid is the origin."""
    u, v = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(-1, 1, ROWS))
    nose = 22 * np.exp(-((u / 0.16) ** 2) - (np.where(v > 0.2, (v - 0.2) / 0.08, (v - 0.2) / 0.35)) ** 2)
    mean = np.stack([75 * u, 110 * v, -95 * np.sqrt(np.maximum(2.05 - u**2 - v**2, 0.02)) - nose], -1).reshape(-1, 3)
    corner = np.array([[r * COLUMNS + c for c in range(COLUMNS - 1)] for r in range(ROWS - 1)]).ravel()
    a, b, c, d = corner, corner + 1, corner + COLUMNS, corner + COLUMNS + 1
    left = (corner % COLUMNS < COLUMNS // 2)[:, None]
    first = np.where(left, np.stack([a, c, b], 1), np.stack([a, c, d], 1))  # seen from -z, normals towards the viewer
    second = np.where(left, np.stack([b, c, d], 1), np.stack([a, d, b], 1))
    triangles = np.concatenate([first, second])
    places = egg.landmark_positions()[:, :2]
    vertices = [int(np.argmin(((mean[:, :2] - place) ** 2).sum(1))) for place in places]
    rng = np.random.default_rng(5)
    waves = np.stack(
        [np.sin(rng.normal(0, 1.5, (3, 3)) @ mean.T / 60 + rng.uniform(0, 6, (3, 1))).T for _ in DEVIATIONS]
    )
    basis = np.linalg.qr(waves.reshape(len(DEVIATIONS), -1).T)[0].T.reshape(waves.shape)
    return MorphableModel(
        mean=mean - mean.mean(axis=0),
        basis=basis,
        eigenvalues=(DEVIATIONS * np.sqrt(len(mean))) ** 2,
        triangles=triangles,
        landmarks=dict(zip(schema.IBUG68, vertices, strict=True)),
        symmetry=find_symmetry(mean, triangles),
    )


def matlab_variables(model: MorphableModel) -> dict[str, np.ndarray]:
    """01_MorphableModel.mat of Basel 2009: micrometres, y up, from 1, clockwise, with the texture's variables."""
    return {
        "shapeMU": (model.mean * Y_UP * 1000).astype(np.float32).reshape(-1, 1),
        "shapePC": (model.basis * Y_UP).astype(np.float32).reshape(model.num_modes, -1).T,
        "shapeEV": (np.sqrt(model.eigenvalues) * 1000).astype(np.float32).reshape(-1, 1),
        "tl": (model.triangles + 1)[:, ::-1].astype(np.float64),
        "texMU": np.zeros((3 * model.num_vertices, 1), np.float32),
        "segbin": np.zeros((model.num_vertices, 4), np.uint8),
    }


def write_basel_2017(
    path, model: MorphableModel, names: dict[str, str], transform=None, moves=None, offset=0.0
) -> None:
    """As model2017-1_face12_nomouth.h5: mm, y up, landmarks by Basel's names in the metadata, colours beside.

    The expressions are `moves` [E, P, 3], mm, model frame, around a mean of `offset` mm along each of the file's axes;
    one small one without them.
    """
    transform = np.diag(Y_UP) if transform is None else transform
    mean = model.mean.astype(np.float64) @ transform.T
    scale = np.cbrt(abs(np.linalg.det(transform)))
    with h5py.File(path, "w") as file:
        moves = np.ones((1, *mean.shape)) if moves is None else moves
        turned = (moves @ transform.T).reshape(len(moves), -1)
        lengths = np.linalg.norm(turned, axis=1)
        file["expression/model/mean"] = np.full(mean.size, offset, np.float32)
        file["expression/model/pcaBasis"] = (turned.T / lengths).astype(np.float32)
        file["expression/model/pcaVariance"] = (lengths**2).astype(np.float32)
        for group in ("shape", "color"):
            file[f"{group}/model/mean"] = mean.ravel().astype(np.float32)
            file[f"{group}/model/pcaBasis"] = (
                (model.basis @ (transform.T / scale)).reshape(model.num_modes, -1).T.astype(np.float32)
            )
            file[f"{group}/model/pcaVariance"] = (model.eigenvalues * scale**2).astype(np.float32)
            file[f"{group}/model/noiseVariance"] = np.zeros(1, np.float32)
            file[f"{group}/representer/points"] = mean.T.astype(np.float32)
            file[f"{group}/representer/cells"] = model.triangles.T.astype(np.uint32)
            file[f"{group}/representer"].attrs["name"] = "gravis::MeshShapeRepresenter"
        marks = [{"id": name, "coordinates": mean[model.landmarks[ours]].tolist()} for name, ours in names.items()]
        marks.append({"id": "left.ear.bottom", "coordinates": mean[0].tolist()})
        text = json.dumps(marks).encode()
        file["metadata/landmarks/json"] = np.array([text], f"S{len(text)}")  # as scalismo writes a text


def flame_arrays(model: MorphableModel, num_modes: int = 303) -> dict[str, np.ndarray]:
    """FLAME's arrays, metres, y up: modes of identity, then (from 300 on) modes of expression that must not count."""
    shapedirs = np.zeros((model.num_vertices, 3, num_modes))
    shapedirs[:, :, : model.num_modes] = np.moveaxis(model.scaled_basis * Y_UP / 1000, 0, 2)
    shapedirs[:, :, 300:] = 1.0
    return {
        "v_template": model.mean.astype(np.float64) * Y_UP / 1000,
        "shapedirs": shapedirs,
        "f": model.triangles.astype(np.uint32),
    }


def python2_array(array: np.ndarray) -> bytes:
    """Opcodes that make an array, as cPickle of Python 2 wrote them: bytes are text without an encoding."""

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    array = np.ascontiguousarray(array)
    shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in array.shape) + b"t"
    end = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\n" + text(array.dtype.str[1:]) + b"K\x00K\x01\x87R(K\x03" + text("<") + b"NNN" + end * 2
    dtype += b"K\x00tb"
    raw = b"T" + struct.pack("<i", array.nbytes) + array.tobytes()
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    return made + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"


def python2_flame(arrays: dict[str, np.ndarray]) -> bytes:
    """generic_model.pkl of FLAME 2020: protocol 2, Python 2, chumpy's Ch around one array and Select around another."""
    num_modes = arrays["shapedirs"].shape[2]
    template = arrays["v_template"]

    def wrapped(name: bytes, state: bytes) -> bytes:
        return b"cchumpy." + name + b"\n)\x81}(" + state + b"ub"

    def key(name: str) -> bytes:
        return b"U" + bytes([len(name)]) + name.encode()

    empty_set = b"c__builtin__\nset\n]\x85R"
    ch = wrapped(b"ch\nCh", key("_dirty_vars") + empty_set + key("x") + python2_array(arrays["shapedirs"]))
    padded = np.concatenate([np.zeros(3), template.ravel()])
    select = wrapped(
        b"reordering\nSelect",
        key("a")
        + wrapped(b"ch\nCh", key("x") + python2_array(padded))
        + key("idxs")
        + python2_array(np.arange(3, len(padded)))
        + key("preferred_shape")
        + b"J"
        + struct.pack("<i", len(template))
        + b"K\x03\x86",
    )
    sparse = b"cscipy.sparse.csc\ncsc_matrix\n)\x81}(" + key("data") + python2_array(np.ones(2)) + b"ub"
    content = key("f") + python2_array(arrays["f"]) + key("shapedirs") + ch + key("v_template") + select
    content += key("J_regressor") + sparse + key("bs_type") + key("lrotmin")
    content += key("kintree_table") + python2_array(np.full((2, num_modes), -1))
    return b"\x80\x02}(" + content + b"u."


def chumpy_pickle(arrays: dict[str, np.ndarray], protocol: int) -> bytes:
    """The same as a Python 3 that had a package chumpy would pickle it."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    wrapped = {name: module.Ch() for name in arrays}
    for name, array in arrays.items():
        wrapped[name].x = array
    sys.modules["chumpy"], sys.modules["chumpy.ch"] = types.ModuleType("chumpy"), module
    try:
        return pickle.dumps(wrapped, protocol)
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


def npy(value) -> bytes:
    """An .npy file, of an object if need be."""
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


def eos_file(
    model: MorphableModel,
    version: int = 4,
    landmarks: dict[str, int] | None = None,
    expressions: str = "blendshapes",
) -> bytes:
    """A file of eos as cereal writes it, with a colour model and, from version 2 on, two blendshapes or components."""

    def matrix(values: np.ndarray) -> bytes:
        return struct.pack("<ii", *values.shape) + values.T.astype("<f4").tobytes()

    def pca(mean: np.ndarray, basis: np.ndarray) -> bytes:
        shapes = matrix(mean.reshape(-1, 1)) + matrix(basis.reshape(model.num_modes, -1).T)
        shapes += matrix(model.eigenvalues.reshape(-1, 1))
        return shapes + struct.pack("<Q", len(model.triangles)) + model.triangles.astype("<i4").tobytes()

    content = struct.pack("<I", version) + pca(model.mean * Y_UP, model.basis * Y_UP)
    content += pca(np.full_like(model.mean, 0.5), model.basis)
    if version >= 2 and expressions == "components":
        content += struct.pack("<Bi", 0, 0) + pca(np.full_like(model.mean, 0.5), model.basis * Y_UP)
    elif version >= 2:
        content += struct.pack("<BiQ", 0, 1, 2)
        for name in (b"angry", b"happy"):
            content += struct.pack("<Q", len(name)) + name + matrix(np.ones((3 * model.num_vertices, 1)))
    if version >= 3:
        content += struct.pack("<B", landmarks is None)
        if landmarks is not None:
            content += struct.pack("<Q", len(landmarks))
            for name, vertex in landmarks.items():
                content += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<i", vertex)
    content += struct.pack("<Q", model.num_vertices) + np.zeros((model.num_vertices, 2)).tobytes()
    return content + (struct.pack("<Q", 1) + np.zeros(3, "<i4").tobytes() if version >= 4 else b"")
