import dataclasses
import json

import h5py
import numpy as np
import pytest
import tensorflow as tf

from tfface.face import Expressions, Head, MorphableModel
from tfface.schema import CONVENTIONS_VERSION

GRID = np.array([[x, y, 0.1 * x * x] for y in (-1.0, 0, 1) for x in (-1.0, 0, 1)]) * 30
TRIANGLES = np.array([[0, 1, 3], [1, 4, 3], [1, 2, 5], [1, 5, 4], [3, 4, 6], [4, 7, 6], [4, 5, 8], [4, 8, 7]])
SYMMETRY = np.array([2, 1, 0, 5, 4, 3, 8, 7, 6])


def model(num_modes=3, **fields):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(27, num_modes)))[0].T.reshape(num_modes, 9, 3)
    given = {
        "mean": GRID,
        "basis": basis,
        "eigenvalues": np.array([40.0, 9, 0.25])[:num_modes],
        "triangles": TRIANGLES,
        "landmarks": {"nose_ridge_3": 4, "jaw_8": 7},
        "symmetry": SYMMETRY,
        "metadata": {"num_shapes": 12, "name": "Grün"},
    }
    return MorphableModel(**(given | fields))


def assert_same(a, b):
    for name in ("mean", "basis", "eigenvalues", "triangles", "symmetry"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert getattr(a, name).dtype == getattr(b, name).dtype
    assert a.landmarks == b.landmarks
    assert a.metadata == b.metadata


def decode_literally(face, coefficients):
    vertices = face.mean.astype(np.float64)
    for c, eigenvalue, mode in zip(coefficients, face.eigenvalues, face.basis, strict=True):
        vertices = vertices + c * np.sqrt(np.float64(eigenvalue)) * mode
    return vertices


def test_fields_have_their_types():
    face = model()
    assert (face.num_modes, face.num_vertices) == (3, 9)
    assert {face.mean.dtype, face.basis.dtype, face.eigenvalues.dtype} == {np.dtype(np.float32)}
    assert {face.triangles.dtype, face.symmetry.dtype} == {np.dtype(np.int32)}
    with pytest.raises(ValueError, match="read-only"):
        face.mean[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        face.mean = GRID


def test_the_callers_arrays_stay_writable():
    mean = GRID.astype(np.float32)
    face = model(mean=mean)
    mean[0] += 1
    assert not face.mean.flags.writeable


@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 3), (2, 5, 3)])
def test_decode_is_the_literal_sum_for_arrays_and_tensors(shape):
    face = model()
    coefficients = np.random.default_rng(1).normal(size=shape)
    expected = np.array([decode_literally(face, c) for c in coefficients.reshape(-1, 3)]).reshape(*shape[:-1], 9, 3)
    np.testing.assert_allclose(face.decode(coefficients), expected, atol=1e-5)
    np.testing.assert_allclose(face.decode(tf.constant(coefficients)), expected, atol=1e-5)
    single = coefficients.astype(np.float32)
    for decoded in (face.decode(single), face.decode(tf.constant(single)).numpy()):
        assert decoded.dtype == np.float32
        np.testing.assert_allclose(decoded, expected, atol=1e-4)


def test_decode_of_zero_is_the_mean():
    np.testing.assert_array_equal(model().decode(np.zeros(3, np.float32)), model().mean)


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_decode_and_encode_with_unknown_batch(batch):
    face = model()
    coefficients = np.random.default_rng(2).normal(size=(batch, 3)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def there_and_back(values):
        vertices = face.decode(values)
        assert vertices.shape.as_list() == [None, 9, 3]
        return vertices, face.encode(vertices)

    vertices, back = there_and_back(coefficients)
    np.testing.assert_allclose(vertices, face.decode(coefficients), atol=1e-4)
    np.testing.assert_allclose(back, coefficients, atol=1e-4)


def test_decode_jacobian_is_that_of_finite_differences():
    coefficients = tf.constant([[0.3, -1.2, 2.0]], tf.float64)
    (exact,), (difference,) = tf.test.compute_gradient(model().decode, [coefficients], delta=1e-3)
    np.testing.assert_allclose(exact, difference, atol=1e-8)


def test_encode_is_the_least_squares_fit():
    face = model()
    vertices = np.random.default_rng(3).normal(0, 30, (4, 9, 3))
    system = face.scaled_basis.reshape(3, -1).T.astype(np.float64)
    expected = np.linalg.lstsq(system, (vertices - face.mean).reshape(4, -1).T)[0].T
    np.testing.assert_allclose(face.encode(vertices), expected, atol=1e-5)
    np.testing.assert_allclose(face.encode(tf.constant(vertices)), expected, atol=1e-5)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_is_refused(half):
    with pytest.raises(ValueError, match=f"^coefficients must be float32 or float64, got {half}"):
        model().decode(tf.zeros((2, 3), half))
    with pytest.raises(ValueError, match=r"^vertices must be float32 or float64"):
        model().encode(tf.zeros((2, 9, 3), half))


@pytest.mark.parametrize("convert", [np.asarray, tf.constant])
def test_bad_shapes_are_named(convert):
    with pytest.raises(ValueError, match=r"^coefficients must have the shape \[\.\.\., 3\], got \[2, 4\]"):
        model().decode(convert(np.zeros((2, 4))))
    with pytest.raises(ValueError, match=r"^vertices must have the shape \[\.\.\., 9, 3\], got \[3\]"):
        model().encode(convert(np.zeros(3)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": GRID[:, :2]}, "^vertices must have the shape"),
        ({"basis": np.zeros((3, 8, 3))}, r"^basis must have the shape \[K, 9, 3\], got \[3, 8, 3\]"),
        ({"basis": np.ones((3, 9, 3))}, "^basis must be orthonormal"),
        ({"basis": np.full((3, 9, 3), np.nan)}, "^basis must be orthonormal"),
        ({"eigenvalues": np.ones(2)}, r"^eigenvalues must have the shape \[3\]"),
        ({"eigenvalues": np.array([1.0, 2, 3])}, "descending order"),
        ({"eigenvalues": np.array([2.0, 1, 0])}, "^eigenvalues must be finite, positive"),
        ({"eigenvalues": np.array([2.0, np.nan, 1])}, "^eigenvalues must be finite"),
        ({"triangles": TRIANGLES + 2}, "^triangles must index 9 vertices"),
        ({"landmarks": {"jaw_0": 9}}, "^landmarks must index 9 vertices, got {'jaw_0': 9}"),
        ({"symmetry": np.arange(9)}, "^symmetry must mirror the mesh onto itself"),
        ({"symmetry": SYMMETRY[:8]}, "^symmetry must mirror the mesh onto itself"),
    ],
)
def test_bad_models_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        model(**fields)


def test_truncate_keeps_the_first_modes():
    face = model()
    short = face.truncate(2)
    assert short.num_modes == 2
    coefficients = np.array([1.0, -2, 0])
    np.testing.assert_allclose(short.decode(coefficients[:2]), face.decode(coefficients))
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"^num_modes must lie between 1 and 3, got {count}"):
            face.truncate(count)


def test_digest_tells_models_apart_and_nothing_else():
    face = model()
    assert face.digest() == model().digest() == model(metadata={}, mean=GRID.astype(np.float32)).digest()
    changed = (
        model(mean=GRID + 1e-3),
        model(eigenvalues=np.array([40.0, 9, 0.26])),
        model(basis=-face.basis),
        model(triangles=TRIANGLES[::-1]),
        model(landmarks={"nose_ridge_3": 4}),
        model(symmetry=None),
        face.truncate(2),
    )
    assert len({face.digest(), *(other.digest() for other in changed)}) == len(changed) + 1


def test_digest_never_changes():
    """It is stored in records and trained models: one that comes out otherwise makes them all unreadable."""
    face = model(1, basis=np.eye(1, 27).reshape(1, 9, 3), mean=np.round(GRID))
    assert face.digest() == "1e405f33e06c44c94e8fc1da8412798356e72d9a0caee45248e571762335cfea"


def test_a_copy_in_half_precision_has_the_digest_of_its_original_and_what_is_made_of_it_has_not(tmp_path):
    face = model()
    copy = face.in_half_precision()
    assert 0 < np.abs(copy.basis - face.basis).max() < 3e-4
    assert dataclasses.replace(copy, metadata={}).digest() != face.digest() == copy.digest()
    copy.save(tmp_path / "copy.h5")
    assert MorphableModel.load(tmp_path / "copy.h5").digest() == face.digest()
    assert copy.truncate(2).digest() not in {face.digest(), face.truncate(2).digest()}
    assert copy.in_half_precision().digest() == face.digest()


def test_metadata_that_no_file_can_hold_are_refused_at_once():
    assert model(metadata={"share": 0.5, "of": ("a", "b")}).metadata == {"share": 0.5, "of": ["a", "b"]}
    with pytest.raises(ValueError, match=r"metadata must be of JSON types: .* ndarray is not JSON serializable"):
        model(metadata={"mean": np.zeros(3)})


def test_save_and_load(tmp_path):
    for face in (model(), model(1, symmetry=None, landmarks={}, metadata={})):
        face.save(tmp_path / "model.h5")
        loaded = MorphableModel.load(tmp_path / "model.h5")
        if face.symmetry is None:
            assert loaded.symmetry is None
            face, loaded = (dataclasses.replace(m, symmetry=SYMMETRY) for m in (face, loaded))
        assert_same(loaded, face)
    assert [path.name for path in tmp_path.iterdir()] == ["model.h5"]


def test_the_file_is_what_other_programs_expect(tmp_path):
    face = model()
    face.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        np.testing.assert_array_equal(file["shape/model/mean"][:].reshape(-1, 3), face.mean)
        assert file["shape/model/pcaBasis"].shape == (27, 3)
        np.testing.assert_array_equal(file["shape/model/pcaVariance"], face.eigenvalues)
        assert file["shape/model/noiseVariance"].shape == (1,)
        np.testing.assert_array_equal(file["shape/representer/points"], face.mean.T)
        np.testing.assert_array_equal(file["shape/representer/cells"], face.triangles.T)
        assert file["shape/representer"].attrs["datasetType"] == "POLYGON_MESH"
        for group in ("version", "shape/version"):
            assert (file[group]["majorVersion"][()], file[group]["minorVersion"][()]) == (0, 9)
        marks = json.loads(file["metadata/landmarks/json"][()])
        assert [mark["id"] for mark in marks] == ["nose_ridge_3", "jaw_8"]
        np.testing.assert_array_equal([mark["coordinates"] for mark in marks], face.mean[[4, 7]])
        assert file["tfface/conventions_version"][()] == CONVENTIONS_VERSION


def write_foreign(path, face, root="shape/", scaled=False, landmarks=True):
    """A file as statismo (root "") or scalismo write it, of version 0.8 if `scaled`."""
    basis = face.basis.reshape(face.num_modes, -1).T
    with h5py.File(path, "w") as file:
        file[f"{root}model/mean"] = face.mean.reshape(-1)
        file[f"{root}model/pcaBasis"] = basis * np.sqrt(face.eigenvalues) if scaled else basis
        file[f"{root}model/pcaVariance"] = face.eigenvalues
        file[f"{root}model/noiseVariance"] = np.float32(0)
        file[f"{root}representer/points"] = face.mean.T
        file[f"{root}representer/cells"] = face.triangles.T.astype(np.uint32)
        if landmarks:
            marks = [{"id": "center.nose.tip", "coordinates": (face.mean[4] + 0.3).tolist()}]
            file["metadata/landmarks/json"] = np.bytes_(json.dumps(marks).encode() + b"\0")


@pytest.mark.parametrize("root", ["shape/", ""])
@pytest.mark.parametrize("scaled", [False, True])
def test_files_of_other_programs_open(tmp_path, root, scaled):
    face = model()
    write_foreign(tmp_path / "bfm.h5", face, root, scaled)
    loaded = MorphableModel.load(tmp_path / "bfm.h5")
    np.testing.assert_allclose(loaded.decode(np.array([1.0, -2, 3])), face.decode(np.array([1.0, -2, 3])), atol=1e-4)
    np.testing.assert_array_equal(loaded.triangles, TRIANGLES)
    assert loaded.landmarks == {"center.nose.tip": 4}
    np.testing.assert_array_equal(loaded.symmetry, SYMMETRY)


def expressive():
    rng = np.random.default_rng(8)
    moves = rng.normal(0, 3, (3, 12, 3)).astype(np.float32)
    moves[1, :9] = 0  # one that moves the eyes of the head alone
    names = ("jawOpen", "eyeLookUp_L", "mouthSmile_L")
    face = model(expressions=Expressions(moves[:, :9], names), regions={"narrow": [1, 4], "nose/tip": [4]})
    uv, corners = rng.random((5, 2)), rng.integers(0, 5, TRIANGLES.shape)
    head = Head(
        mean=np.concatenate((face.mean, rng.normal(0, 30, (3, 3)))),
        scaled_basis=np.concatenate((face.scaled_basis, rng.normal(0, 2, (3, 3, 3))), axis=1),
        triangles=np.concatenate((TRIANGLES, [[9, 10, 11]])),
        face_index=np.arange(9),
        expressions=Expressions(moves, names),
        regions={"eyes": [9, 10, 11]},
        uv=rng.random((3, 2)),
        uv_triangles=np.zeros((len(TRIANGLES) + 1, 3), int),
    )
    return dataclasses.replace(face, uv=uv, uv_triangles=corners, head=head)


def test_expressions_regions_texture_layout_and_head_are_kept_to_the_last_bit(tmp_path):
    face = expressive()
    face.save(tmp_path / "model.h5")
    loaded = MorphableModel.load(tmp_path / "model.h5")
    assert loaded.digest() == face.digest()
    for ours, theirs in ((face, loaded), (face.head, loaded.head)):
        assert theirs.expressions.names == ours.expressions.names
        assert theirs.expressions.kind == "blendshapes"
        np.testing.assert_array_equal(theirs.expressions.deltas, ours.expressions.deltas)
        assert list(theirs.regions) == list(ours.regions)
        for name, indices in ours.regions.items():
            np.testing.assert_array_equal(theirs.regions[name], indices)
        np.testing.assert_array_equal(theirs.uv, ours.uv)
        np.testing.assert_array_equal(theirs.uv_triangles, ours.uv_triangles)
    for name in ("mean", "scaled_basis", "triangles", "face_index"):
        np.testing.assert_array_equal(getattr(loaded.head, name), getattr(face.head, name))


def test_other_programs_find_the_expressions_where_basel_has_them(tmp_path):
    face = expressive()
    face.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        group = file["expression/model"]
        np.testing.assert_array_equal(group["mean"], np.zeros(27))
        deltas = (group["pcaBasis"][:] * np.sqrt(group["pcaVariance"][:])).T.reshape(3, 9, 3)
        np.testing.assert_allclose(deltas, face.expressions.deltas, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(group["pcaBasis"], axis=0), 1, atol=1e-6)
        np.testing.assert_array_equal(file["expression/representer/cells"], face.triangles.T)
        assert file["catalog/MorphableModel.expression/modelPath"][()] == b"/expression"


@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_expressions_of_other_programs_open(tmp_path, offset):
    face, moves = model(), expressive().expressions.deltas[::2]
    write_foreign(tmp_path / "bfm.h5", face)
    with h5py.File(tmp_path / "bfm.h5", "r+") as file:
        lengths = np.linalg.norm(moves.reshape(2, -1), axis=1)
        file["expression/model/mean"] = np.full(27, offset)
        file["expression/model/pcaBasis"] = moves.reshape(2, -1).T / lengths
        file["expression/model/pcaVariance"] = lengths**2
    expressions = MorphableModel.load(tmp_path / "bfm.h5").expressions
    assert expressions.kind == "components"
    assert expressions.names[-2:] == ("component_000", "component_001")
    np.testing.assert_allclose(expressions.deltas[-2:], moves, atol=1e-5)
    assert (expressions.names[0] == "mean") == (offset != 0)
    if offset:
        np.testing.assert_allclose(expressions.deltas[0], offset, atol=1e-6)


def test_a_foreign_model_without_landmarks_or_symmetry_opens(tmp_path):
    lopsided = np.random.default_rng(0).normal(0, 30, (9, 3))
    face = model(mean=lopsided, triangles=TRIANGLES[:5], symmetry=None)
    write_foreign(tmp_path / "bfm.h5", face, landmarks=False)
    loaded = MorphableModel.load(tmp_path / "bfm.h5")
    assert loaded.symmetry is None
    assert loaded.landmarks == {}


def rewrite(path, name, value=None):
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shape/model/mean", None, "the dataset /shape/model/mean is missing"),
        ("shape/model/pcaBasis", None, "the dataset /shape/model/pcaBasis is missing"),
        ("shape/representer/cells", None, "the dataset /shape/representer/cells is missing"),
        ("tfface/landmarks", None, "the dataset tfface/landmarks is missing"),
        ("tfface/landmarks", "not json", "not a 3DMM in the layout of statismo"),
        ("tfface/conventions_version", CONVENTIONS_VERSION + 1, f"follows version {CONVENTIONS_VERSION + 1}"),
        ("tfface/symmetry", np.arange(9), "symmetry must mirror the mesh onto itself"),
        ("shape/model/pcaVariance", np.ones(2), r"must have the shape \[3 P, K\]"),
        ("shape/model/pcaBasis", np.ones((27, 3)), "neither length 1 nor the square root of pcaVariance"),
        ("shape/model/pcaBasis", np.ones(27), "must be a matrix"),
        ("shape/representer/cells", TRIANGLES, r"must have the shape \[3, F\]"),
        ("shape/model/mean", np.full(27, np.nan), "mean must be finite"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, name, value, message):
    path = tmp_path / "model.h5"
    model().save(path)
    rewrite(path, name, value)
    with pytest.raises(ValueError, match=f"model.h5: .*{message}"):
        MorphableModel.load(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tfface/expressions/deltas", None, "face and head must both have expressions"),
        ("tfface/expressions/names", '["a"]', "names must be 3 different texts"),
        ("tfface/expressions/names", "5", "not iterable"),
        ("tfface/expressions/kind", "visemes", "kind must be one of"),
        ("tfface/regions/indices", np.arange(5), "must hold as many indices as sizes says"),
        ("tfface/regions/sizes", '["a"]', "not a 3DMM in the layout of statismo"),
        ("tfface/uv", None, "uv and uv_triangles must be given together"),
        ("tfface/head/scaled_basis", np.zeros((3, 12, 3)), r"head\.scaled_basis: its vertices of the face are"),
        ("tfface/head/face_index", None, "the dataset tfface/head/face_index is missing"),
    ],
)
def test_what_is_wrong_with_expressions_and_head_is_named(tmp_path, name, value, message):
    path = tmp_path / "model.h5"
    expressive().save(path)
    rewrite(path, name, value)
    with pytest.raises(ValueError, match=rf"model\.h5: .*{message}"):
        MorphableModel.load(path)


def test_damaged_and_missing_files(tmp_path):
    path = tmp_path / "model.h5"
    model().save(path)
    whole = path.read_bytes()
    for content in (b"", b"not HDF5 at all", whole[: len(whole) // 2], whole[:-100]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.h5: not a readable HDF5 file"):
            MorphableModel.load(path)
    with pytest.raises(FileNotFoundError, match=r"no\.h5: no such 3DMM"):
        MorphableModel.load(tmp_path / "no.h5")
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"model\.h5: .*the dataset /model/mean is missing"):
        MorphableModel.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.h5"
    model().save(path)
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        model(mean=GRID * 2).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
