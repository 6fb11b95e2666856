"""Files that are damaged, lie about themselves or want to run something: each is refused by name, and nothing runs."""

import builtins
import contextlib
import io
import os
import pathlib
import pickle
import struct
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io
import small_face

from tfface.face import export_model, import_model, importers
from tfface.face.importers import pickles

MARK = "tfface-was-here"


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def memoryless(value) -> bytes:
    """A pickle of a value, protocol 2, without its header and its end."""
    return pickle.dumps(value, 2)[2:-1]


def hostile(tmp_path) -> dict[str, bytes]:
    """Pickles that would run something, by what they name first."""
    mark = f"touch {tmp_path / MARK}"
    python = f"__import__('pathlib').Path({str(tmp_path / MARK)!r}).touch()"
    inner = pickle.dumps(Call(os.system, mark))
    array = np.array([Call(os.system, mark)], dtype=object)
    call = b"(" + memoryless(mark) + b"t"
    return {
        "posix.system": pickle.dumps(Call(os.system, mark), 0),
        "builtins.eval": pickle.dumps(Call(builtins.eval, python)),
        "__builtin__.eval": pickle.dumps(Call(builtins.eval, python), 2),
        "builtins.exec": pickle.dumps({"v_template": Call(builtins.exec, python)}),
        "builtins.getattr": pickle.dumps(Call(getattr, Call(__import__, "os"), "system"), 4),
        "os.system.__call__": b"\x80\x04\x8c\x02os\x8c\x0fsystem.__call__\x93" + call + b"R.",
        "numpy.f2py.os.system": b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93" + call + b"R.",
        "_pickle.loads": pickle.dumps(Call(pickle.loads, inner)),
        "numpy.load": b"\x80\x02cnumpy\nload\n" + call + b"R.",
        "numpy.testing._private.utils.runstring": (
            b"\x80\x02cnumpy.testing._private.utils\nrunstring\n(" + memoryless(python) + memoryless({}) + b"tR."
        ),
        "posix.system ": pickle.dumps({"shapedirs": array}),
        "subprocess.Popen": b"(isubprocess\nPopen\n.",
        "functools.partial": pickle.dumps({"f": __import__("functools").partial(os.system, mark)}),
        "posix.system  ": pickle.dumps(
            small_face.flame_arrays(small_face.face_model(), 4) | {"J": Call(os.system, mark)}
        ),
    }


def test_no_pickle_runs_anything(tmp_path):
    for name, content in hostile(tmp_path).items():
        for suffix, file in ((".pkl", content), (".npy", npy_around(content))):
            path = tmp_path / f"hostile{suffix}"
            path.write_bytes(file)
            with pytest.raises(
                ValueError, match=r"hostile\.(pkl|npy): not a readable pickle: the pickle names "
            ) as error:
                import_model(path, "flame") if suffix == ".pkl" else import_model(flame(tmp_path), landmarks=path)
            assert name.strip() in str(error.value) or "__import__" in str(error.value), name
    assert not (tmp_path / MARK).exists()


def test_the_same_pickles_do_run_when_they_are_simply_opened(tmp_path):
    """Otherwise the test above would hold nothing."""
    for name in ("posix.system", "builtins.eval", "_pickle.loads", "os.system.__call__", "numpy.f2py.os.system"):
        content = hostile(tmp_path)[name]
        pickle.loads(content)
        assert (tmp_path / MARK).exists(), name
        (tmp_path / MARK).unlink()


def npy_around(content: bytes) -> bytes:
    """An .npy file of objects with a pickle of one's own in it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    return file.getvalue() + content


def flame(tmp_path) -> pathlib.Path:
    """A sound model."""
    path = tmp_path / "sound.npz"
    np.savez(path, **small_face.flame_arrays(small_face.face_model(), 4))
    return path


def test_allowed_names_lead_nowhere(tmp_path):
    """What the allow-list lets through is noted and not called, whatever it is called with."""
    for name in sorted(pickles.ALLOWED):
        module, _, attribute = name.rpartition(".")
        content = f"c{module}\n{attribute}\n(S'{MARK}'\ntR(dS'x'\nI1\nsb.".encode()
        record = pickles.load(content)
        assert type(record).__mro__[1] is pickles.Record
        assert (record.name, record.arguments, record.state) == (name, (MARK,), {"x": 1})


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "pickle exhausted before seeing STOP"),
        (b"\x80\x04N", "pickle exhausted before seeing STOP"),
        (b"\x80\x04}.more", "4 bytes follow its end"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "it remembers object 2147483647 at byte 3"),
        (b"\x80\x02\x82\x01.", "it uses EXT1 at byte 2"),
        (b"\x80\x04Pname\n.", "it uses PERSID at byte 2"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "expected 9223372036854775807 bytes"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "expected 9223372036854775807 bytes"),
        (b"\x80\x02]K\x01s.", "UnpicklingError"),
        (b"\x80\x02cchumpy.ch\nCh\n}b.", "TypeError"),
        (b"\x80\x02cchumpy.ch\nCh\n)\x81K\x01a.", "AttributeError"),
        (b"h\x05.", "Memo value not found"),
    ],
)
def test_damaged_pickles_are_named(content, fault):
    with pytest.raises(ValueError, match=f"not a readable pickle.*{fault}"):
        pickles.load(content)


def array_pickle(shape="K\x02\x85", dtype="f8", raw=b"\x00" * 16, order="<") -> bytes:
    """A dict with an array, some part of which may be wrong."""
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    kind = b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype.encode() + b"\x85R(K\x03U\x01" + order.encode() + b"tb"
    content = b"T" + struct.pack("<i", len(raw)) + raw
    return b"\x80\x02}U\x01x" + made + b"(K\x01" + shape.encode("latin1") + kind + b"\x89" + content + b"tbs."


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (array_pickle(shape="K\x03\x85"), r"x claims the shape \[3\] of float64, but has 16 bytes"),
        (array_pickle(shape="J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), "x claims the shape"),
        (array_pickle(shape="J\xfe\xff\xff\xff\x85"), "x has no shape"),
        (array_pickle(shape="N"), "x has no shape"),
        (array_pickle(dtype="O8"), "x must be an array of plain numbers"),
        (array_pickle(dtype="V8"), "x must be an array of plain numbers"),
        (array_pickle(dtype="M8"), "x must be an array of plain numbers"),
        (array_pickle(order="?"), "x must be an array of plain numbers"),
        (b"\x80\x02}U\x01xK\x01s.", "x must be an array, got int"),
        (b"\x80\x02}U\x01xcchumpy.ch\nCh\n)\x81s.", "x must be an array, got chumpy.ch.Ch"),
        (b"\x80\x02}U\x01xcnumpy\nndarray\n)Rs.", "x must be an array, got numpy.ndarray"),
        (b"\x80\x02}q\x00U\x01xcchumpy.ch\nCh\n)\x81q\x01}U\x01xh\x01sbs.", "x is wrapped more than 16 times"),
    ],
)
def test_arrays_that_lie_are_named(content, fault):
    with pytest.raises(ValueError, match=fault):
        pickles.array(pickles.load(content)["x"], "x")


def sound(tmp_path) -> dict[str, bytes]:
    """Content of a sound file of each kind."""
    face = small_face.face_model()
    scipy.io.savemat(tmp_path / "a.mat", small_face.matlab_variables(face))
    small_face.write_basel_2017(tmp_path / "a.h5", face, {"center.nose.tip": "nose_ridge_3"})
    np.savez(tmp_path / "a.npz", **small_face.flame_arrays(face, 4))
    return {
        "a.mat": (tmp_path / "a.mat").read_bytes(),
        "a.h5": (tmp_path / "a.h5").read_bytes(),
        "a.npz": (tmp_path / "a.npz").read_bytes(),
        "a.bin": small_face.eos_file(face, landmarks={"31": 3}),
        "a.pkl": small_face.python2_flame(small_face.flame_arrays(face, 4)),
    }


def test_every_cut_and_every_wrong_byte_is_a_value_error_that_names_the_file(tmp_path):
    """Cut anywhere, a file is refused; with a byte changed it is refused or read, but nothing else happens."""
    rng = np.random.default_rng(0)
    for name, content in sound(tmp_path).items():
        path = tmp_path / f"broken-{name}"
        for length in [0, 1, 5, 130, *rng.integers(0, len(content), 3).tolist()]:
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=f"broken-{name}"):
                import_model(path)
        for _ in range(6):
            changed = bytearray(content)
            for position in rng.integers(0, min(len(content), 3000), 3):
                changed[position] ^= 1 << rng.integers(0, 8)
            path.write_bytes(changed)
            with contextlib.suppress(_NamedError):
                import_named(path)


class _NamedError(Exception):
    """A refusal that names the file."""


def import_named(path: pathlib.Path) -> None:
    try:
        import_model(path)
    except ValueError as error:
        if path.name in str(error):
            raise _NamedError from error
        raise


def test_claims_are_checked_before_memory_is_taken(tmp_path):
    face = small_face.face_model()
    eos = bytearray(small_face.eos_file(face))
    eos[4:12] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    npz, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 3)})
    with zipfile.ZipFile(npz, "w") as archive:
        archive.writestr("v_template.npy", header.getvalue() + bytes(8))
    with h5py.File(tmp_path / "claims.h5", "w") as file:
        file.create_dataset("model/mean", (2**34,), "f8")
    scipy.io.savemat(
        tmp_path / "claims.mat", {name: np.zeros((2, 2)) for name in ("shapeMU", "shapePC", "shapeEV", "tl")}
    )
    mat = bytearray((tmp_path / "claims.mat").read_bytes())
    place = mat.index(struct.pack("<IIii", 5, 8, 2, 2))
    mat[place : place + 16] = struct.pack("<IIii", 5, 8, 2**31 - 1, 2)
    long = bytearray((tmp_path / "claims.mat").read_bytes())
    long[132:136] = struct.pack("<I", 2**31)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v_template.npy", header.getvalue() + bytes(1 << 24))
    files = {
        "claims.bin": (bytes(eos), "claims 4611686014132420609 numbers"),
        "claims.npz": (npz.getvalue(), "v_template claims the shape"),
        "bomb.npz": (bomb.getvalue(), "v_template claims the shape"),
        "claims.h5": ((tmp_path / "claims.h5").read_bytes(), "model/mean claims 137438953472 bytes"),
        "claims.mat": (bytes(mat), "shapeMU claims the shape"),
        "long.mat": (bytes(long), "a variable claims 2147483648 bytes"),
    }
    for name, (content, fault) in files.items():
        (tmp_path / name).write_bytes(content)
        tracemalloc.start()
        with pytest.raises(ValueError, match=f"{name}: .*{fault}"):
            import_model(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23, name
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.json", '{"chin": 3}', "'chin' is not one of the 68"),
        ("a.json", '{"jaw_8": [1, 2, 3]}', "jaw_8: expected a vertex index or"),
        ("a.json", '{"jaw_8": {"triangle": 1, "weights": [1, 1, 1]}}', "jaw_8: weights must be"),
        ("a.json", '{"jaw_8": {"triangle": 1, "weights": "abc"}}', "jaw_8: weights must be"),
        ("a.json", "[]", "expected an object"),
        ("a.json", "{", "not a JSON file"),
        ("a.npy", small_face.npy(np.zeros(3)), "got a bare array"),
        ("a.npy", b"\x93NUMPY\x09\x00", "version"),
        ("a.npy", small_face.npy(np.array([1, {}], dtype=object)), "array of one object"),
        ("a.pkl", pickle.dumps([1]), "expected a dict"),
        ("a.pkl", pickle.dumps({"lmk_face_idx": np.zeros(105, int), "lmk_b_coords": np.zeros((105, 3))}), "68 or 51"),
        ("a.pkl", pickle.dumps({"x": 1}), "expected one of full_lmk_faces_idx"),
        ("a.txt", "", "the suffix must be one of"),
    ],
)
def test_bad_landmarks_are_named(tmp_path, name, content, fault):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=f"{name}: .*{fault}"):
        import_model(flame(tmp_path), landmarks=path)


def test_what_is_missing_is_named(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"shapeMU": np.zeros((6, 1))})
    np.savez(tmp_path / "a.npz", v_template=np.zeros((3, 3)))
    (tmp_path / "a.what").write_bytes(b"what")
    (tmp_path / "a.bin").write_bytes(struct.pack("<I", 7))
    (tmp_path / "v73.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(200))
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.bin")
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(importers.MAX_FILE_BYTES + 1)  # takes no room
    for name, fault in {
        "a.mat": "the variables shapePC, shapeEV, tl are missing",
        "a.npz": "shapedirs, f are missing",
        "a.what": "its format is not recognised; name one of ict, bfm2009",
        "a.bin": "its version must be 1 to 4, got 7",
        "v73.mat": "save it with -v7",
        "empty": "expected a checkout of ICT-FaceKit",
        "pipe.bin": "expected a file",
        "large.bin": "expected a regular file of at most 4294967296 bytes",
    }.items():
        with pytest.raises(ValueError, match=fault) as error:
            import_model(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(ValueError, match="expected a folder for the format ict"):
        import_model(tmp_path / "a.bin", "ict")
    with pytest.raises(ValueError, match="format: expected one of auto"):
        import_model(tmp_path / "a.bin", "gltf")
    with pytest.raises(FileNotFoundError, match=r"b\.bin: no such 3DMM"):
        import_model(tmp_path / "b.bin")
    with pytest.raises(FileNotFoundError, match=r"b\.json: no such file of landmarks"):
        import_model(tmp_path / "a.bin", landmarks=tmp_path / "b.json")
    with pytest.raises(ValueError, match="the suffix must be one of"):
        export_model(tmp_path / "a.obj", small_face.face_model())
