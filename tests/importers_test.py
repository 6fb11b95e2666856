"""Other people's 3DMMs: unit, axes, landmarks, modes and symmetry of each format, and round trips through exports."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import scipy.io
import small_face

from tfface import schema
from tfface.face import Expressions, MorphableModel, export_model, import_model
from tfface.face.importers import conventions, ict, topologies
from tfface.face.importers.raw import Y_UP, RawModel, SurfacePoint
from tfface.geometry import mesh

needs_eos = pytest.mark.skipif(
    importlib.util.find_spec("eos") is None, reason="eos-py is not installed: pip install tfface[eos]"
)
OURS = {ours: ours for ours in schema.IBUG68}


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return small_face.face_model()


def write(path, face: MorphableModel, kind: str):
    """A file as the program that the format comes from writes it; returns its path."""
    if kind == "bfm2009":
        scipy.io.savemat(path / "01.mat", small_face.matlab_variables(face), do_compression=True)
        return path / "01.mat"
    if kind == "statismo":
        small_face.write_basel_2017(path / "basel.h5", face, topologies.BASEL_NAMES)
        return path / "basel.h5"
    if kind == "eos":
        (path / "face.bin").write_bytes(small_face.eos_file(face, landmarks={"31": face.landmarks["nose_ridge_3"]}))
        return path / "face.bin"
    arrays = small_face.flame_arrays(face)
    if kind == "flame npz":
        np.savez_compressed(path / "flame.npz", posedirs=np.zeros(3), **arrays)
        return path / "flame.npz"
    content = small_face.python2_flame(arrays) if kind == "flame 2020" else small_face.chumpy_pickle(arrays, 4)
    (path / "generic_model.pkl").write_bytes(content)
    return path / "generic_model.pkl"


def assert_same_face(found: MorphableModel, face: MorphableModel, tolerance: float = 2e-3) -> None:
    """The same distribution of shapes, up to where the origin lies and the signs of the modes."""
    np.testing.assert_array_equal(
        np.sort(found.triangles, axis=1)[np.lexsort(np.sort(found.triangles, axis=1).T)],
        np.sort(face.triangles, axis=1)[np.lexsort(np.sort(face.triangles, axis=1).T)],
    )
    np.testing.assert_allclose(found.mean - found.mean.mean(0), face.mean - face.mean.mean(0), atol=tolerance)
    np.testing.assert_allclose(found.eigenvalues, face.eigenvalues, rtol=1e-4)
    along = np.einsum("kpi,kpi->k", found.basis, face.basis)
    np.testing.assert_allclose(np.abs(along), 1, atol=1e-4)
    np.testing.assert_array_equal(found.symmetry, face.symmetry)
    normals = mesh.vertex_normals(found.mean, found.triangles)
    assert normals[face.landmarks["nose_ridge_3"], 2] < -0.5, "normals point outwards"


@pytest.mark.parametrize("kind", ["bfm2009", "statismo", "eos", "flame 2020", "flame 2023", "flame npz"])
def test_every_format_comes_to_our_conventions(tmp_path, face, kind):
    found = import_model(write(tmp_path, face, kind))
    assert_same_face(found, face)
    assert found.metadata["imported"]["unit"] == {"bfm2009": "um", "statismo": "mm", "eos": "mm"}.get(kind, "m")
    assert found.metadata["imported"]["format"] == kind.split()[0]
    expected = {
        "statismo": {name: face.landmarks[name] for name in topologies.BASEL_NAMES.values()},
        "eos": {"nose_ridge_3": face.landmarks["nose_ridge_3"]},
    }
    assert found.landmarks == expected.get(kind, {})
    np.testing.assert_allclose(found.mean, face.mean, atol=2e-3)


def expressive(face: MorphableModel, kind="blendshapes") -> MorphableModel:
    """The small face with three expressions, a region and a texture layout."""
    moves = np.random.default_rng(6).normal(0, 3, (3, face.num_vertices, 3))
    corners = np.arange(3 * len(face.triangles)).reshape(-1, 3)
    return dataclasses.replace(
        face,
        expressions=Expressions(moves, ("jawOpen", "mouthSmile_L", "mouthSmile_R"), kind),
        regions={"narrow": np.arange(200)},
        uv=np.random.default_rng(7).random((corners.size, 2)),
        uv_triangles=corners,
    )


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".bin"])
def test_expressions_make_the_round_trip_through_exports(tmp_path, face, suffix):
    moving = expressive(face)
    export_model(tmp_path / f"face{suffix}", moving)
    found = import_model(tmp_path / f"face{suffix}", landmarks=dict(face.landmarks))
    weights = np.array([0.2, 0.7, 0.4])
    np.testing.assert_allclose(
        found.expressions.displacement(weights), moving.expressions.displacement(weights), atol=2e-3
    )
    assert_same_face(found, face)
    assert (found.expressions.kind == "components") == (suffix == ".npz")
    assert (found.expressions.names == moving.expressions.names) == (suffix != ".npz")
    if suffix == ".npz":
        return
    flipped = found.triangles[0].tolist() != face.triangles[0].tolist()
    places = moving.uv[moving.uv_triangles[:, [0, 2, 1] if flipped else [0, 1, 2]]]
    np.testing.assert_allclose(found.uv[found.uv_triangles], places, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_expressions_of_basel_and_flame_come_to_our_unit_and_axes(tmp_path, face, offset):
    moves = expressive(face).expressions.deltas
    small_face.write_basel_2017(tmp_path / "basel.h5", face, topologies.BASEL_NAMES, moves=moves, offset=offset)
    found = import_model(tmp_path / "basel.h5").expressions
    assert found.names == (("mean",) if offset else ()) + ("component_000", "component_001", "component_002")
    np.testing.assert_allclose(found.deltas[-3:], moves, atol=1e-3)
    if offset:
        np.testing.assert_allclose(
            found.deltas[0], offset * np.broadcast_to(Y_UP.sum(axis=0), moves[0].shape), atol=1e-4
        )
    arrays = small_face.flame_arrays(face)
    arrays["shapedirs"][:, :, 300:] = np.moveaxis(moves @ Y_UP / 1000, 0, 2)
    np.savez(tmp_path / "flame.npz", **arrays)
    flame = import_model(tmp_path / "flame.npz").expressions
    assert (flame.kind, len(flame)) == ("components", 3)
    np.testing.assert_allclose(flame.deltas, moves, atol=1e-3)


def test_a_cut_keeps_expressions_regions_and_texture_of_what_it_keeps(tmp_path, face):
    moving = expressive(face)
    export_model(tmp_path / "face.h5", moving)
    cut = import_model(tmp_path / "face.h5", cut_mm=70)
    tip = face.mean[face.landmarks["nose_ridge_3"]]
    near = np.linalg.norm(face.mean - tip, axis=1) <= 70
    kept = np.unique(face.triangles[near[face.triangles].all(axis=1)])
    np.testing.assert_allclose(cut.expressions.deltas, moving.expressions.deltas[:, kept], atol=1e-4)
    np.testing.assert_array_equal(cut.regions["narrow"], np.flatnonzero(kept < 200))
    place = {tuple(row): uv for row, uv in zip(moving.triangles.tolist(), moving.uv_triangles, strict=True)}
    for triangle, corners in zip(kept[cut.triangles].tolist(), cut.uv_triangles, strict=True):
        np.testing.assert_array_equal(corners, place[tuple(triangle)])


def test_flame_has_no_place_for_more_modes_before_expressions(tmp_path, face):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(3 * face.num_vertices, 301)))[0].T.reshape(301, -1, 3)
    many = dataclasses.replace(expressive(face), basis=basis, eigenvalues=np.linspace(400, 1, 301))
    with pytest.raises(ValueError, match="FLAME has expressions behind 300 modes of identity, got 301"):
        export_model(tmp_path / "face.npz", many)


def test_components_of_eos_open(tmp_path, face):
    content = small_face.eos_file(face, expressions="components")
    (tmp_path / "face.bin").write_bytes(content)
    found = import_model(tmp_path / "face.bin").expressions
    assert (found.kind, len(found), found.names[0]) == ("components", 1 + face.num_modes, "mean")
    np.testing.assert_allclose(found.deltas[1:], face.scaled_basis, atol=1e-3)


def test_landmarks_that_are_given_go_before_those_of_the_file(tmp_path, face):
    path = write(tmp_path, face, "eos")
    corrected = face.landmarks | {"nose_ridge_3": face.landmarks["nose_ridge_3"] - small_face.COLUMNS}
    assert import_model(path, "eos", corrected).landmarks == corrected


def test_landmarks_from_json_with_points_in_triangles(tmp_path, face):
    path = write(tmp_path, face, "flame npz")
    triangle = 100
    given = {"jaw_8": face.landmarks["jaw_8"], "nose_ridge_3": {"triangle": triangle, "weights": [0.2, 0.7, 0.1]}}
    (tmp_path / "landmarks.json").write_text(json.dumps(given))
    found = import_model(path, landmarks=tmp_path / "landmarks.json")
    assert found.landmarks == {"jaw_8": face.landmarks["jaw_8"], "nose_ridge_3": int(face.triangles[triangle, 1])}


def embedding(face: MorphableModel, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A triangle that has each landmark for a corner, and weights that are largest there."""
    triangles = [int(np.flatnonzero((face.triangles == face.landmarks[name]).any(axis=1))[0]) for name in names]
    at = [face.triangles[t] == face.landmarks[name] for t, name in zip(triangles, names, strict=True)]
    return np.array(triangles), np.where(at, 0.98, 0.01)


@pytest.mark.parametrize("kind", ["npy", "pkl", "npz"])
def test_landmarks_from_embeddings_of_flame(tmp_path, face, kind):
    triangles, weights = embedding(face, schema.LANDMARKS51)
    path = tmp_path / f"embedding.{kind}"
    if kind == "npy":
        full, full_weights = embedding(face, schema.IBUG68)
        content = {
            "full_lmk_faces_idx": full[None],
            "full_lmk_bary_coords": full_weights[None],
            "static_lmk_faces_idx": triangles,
            "static_lmk_bary_coords": weights,
        }
        path.write_bytes(small_face.npy(np.array(content, dtype=object)))
    elif kind == "pkl":
        path.write_bytes(small_face.pickle.dumps({"lmk_face_idx": triangles, "lmk_b_coords": weights}, 2))
    else:
        np.savez(path, lmk_face_idx=triangles, lmk_b_coords=weights)
    found = import_model(write(tmp_path, face, "flame 2023"), landmarks=path)
    names = schema.IBUG68 if kind == "npy" else schema.LANDMARKS51
    assert found.landmarks == {name: face.landmarks[name] for name in names}
    np.testing.assert_allclose(found.mean, face.mean, atol=2e-3)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_every_version_of_eos(tmp_path, face, version):
    landmarks = {"31": 3, "nose_ridge_0": 4, "center.chin.tip": 5, "of.another.kind": 6}
    (tmp_path / "face.bin").write_bytes(small_face.eos_file(face, version, landmarks if version == 4 else None))
    found = import_model(tmp_path / "face.bin", "eos", None)
    assert found.landmarks == ({"nose_ridge_3": 3, "nose_ridge_0": 4, "jaw_8": 5} if version == 4 else {})
    np.testing.assert_allclose(found.eigenvalues, face.eigenvalues, rtol=1e-4)


@needs_eos
def test_eos_itself_agrees_about_its_format(tmp_path, face):
    """Truth is what eos-py writes and reads: a file of its own in, and a file of ours out."""
    import eos

    basis = np.asfortranarray((face.basis * small_face.Y_UP).reshape(face.num_modes, -1).T)
    mean = (face.mean * small_face.Y_UP).reshape(-1, 1)
    morphable = eos.morphablemodel
    shape = morphable.PcaModel(mean, basis, face.eigenvalues.reshape(-1, 1), face.triangles.tolist())
    smile = morphable.Blendshape()
    smile.name, smile.deformation = "smile", mean
    numbers = {str(i): face.landmarks[name] for i, name in enumerate(schema.IBUG68, start=1)}
    texture = [[0.25, 0.5]] * face.num_vertices
    variants = {
        "plain.bin": morphable.MorphableModel(shape, morphable.PcaModel(), numbers, [], []),
        "pca.bin": morphable.MorphableModel(shape, shape, shape, numbers, texture, face.triangles.tolist()),
        "blend.bin": morphable.MorphableModel(shape, [smile, smile], morphable.PcaModel(), numbers, texture, []),
    }
    for name, model in variants.items():
        morphable.save_model(model, str(tmp_path / name))
        found = import_model(tmp_path / name)
        assert_same_face(found, face)
        assert found.landmarks == face.landmarks
    assert found.expressions.names == ("smile", "smile#1")
    np.testing.assert_allclose(found.expressions.deltas, np.stack([face.mean] * 2), atol=2e-3)
    moving = expressive(face)
    export_model(tmp_path / "ours.bin", moving)
    theirs = morphable.load_model(str(tmp_path / "ours.bin"))
    shapes = theirs.get_expression_model()
    assert tuple(shape.name for shape in shapes) == moving.expressions.names
    jaw = np.asarray(shapes[0].deformation).reshape(-1, 3) * small_face.Y_UP
    np.testing.assert_allclose(jaw, moving.expressions.deltas[0], atol=1e-4)
    assert theirs.get_landmark_definitions() == numbers
    sample = np.asarray(theirs.get_shape_model().draw_sample([1.0, -2.0])).reshape(-1, 3) * small_face.Y_UP
    np.testing.assert_allclose(sample, face.decode(np.array([1.0, -2.0, 0, 0])), atol=2e-3)
    assert theirs.get_shape_model().get_triangle_list() == face.triangles.tolist()


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".bin", ".mat"])
def test_round_trip_through_exports(tmp_path, face, suffix):
    landmarks = export_model(tmp_path / f"face{suffix}", face)
    found = import_model(tmp_path / f"face{suffix}", landmarks=landmarks)
    assert_same_face(found, face)
    assert found.landmarks == face.landmarks
    np.testing.assert_allclose(found.mean, face.mean, atol=2e-3)
    assert (landmarks is None) == (suffix in (".h5", ".bin"))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == sorted([suffix] + [".json"] * (landmarks is not None))


def test_landmarks_tell_the_axes_of_a_statismo_file(tmp_path, face):
    """Any of the 24 ways to lay axes, any of the four units."""
    turned = np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]])  # a rotation: of determinant 1
    small_face.write_basel_2017(tmp_path / "turned.h5", face, OURS, 0.1 * turned)
    found = import_model(tmp_path / "turned.h5")
    assert_same_face(found, face)
    assert found.metadata["imported"] == {"format": "statismo", "unit": "cm"}


def test_the_mirror_image_of_a_face_is_refused(tmp_path, face):
    """Right and left confused, as in a file whose axes are left-handed, cannot be mended by a rotation."""
    small_face.write_basel_2017(tmp_path / "mirrored.h5", face, OURS, np.diag([-1.0, -1, -1]))
    with pytest.raises(ValueError, match=r"mirrored.h5: its landmarks say that the nose does not point at the viewer"):
        import_model(tmp_path / "mirrored.h5")
    flame = write(tmp_path, face, "flame npz")
    swapped = {
        name: face.landmarks[name.replace("right", "LEFT").replace("left", "right").replace("LEFT", "left")]
        for name in schema.IBUG68
    }
    with pytest.raises(ValueError, match=r"flame.npz: its landmarks say .* right and left confused"):
        import_model(flame, landmarks=swapped)


def test_a_cut_keeps_the_distribution_of_what_it_keeps(tmp_path, face):
    path = write(tmp_path, face, "statismo")
    whole, cut = import_model(path), import_model(path, cut_mm=70)
    tip = whole.mean[whole.landmarks["nose_ridge_3"]]
    near = np.linalg.norm(whole.mean - tip, axis=1) <= 70
    kept = np.unique(whole.triangles[near[whole.triangles].all(axis=1)])
    assert cut.num_vertices == len(kept) < whole.num_vertices
    covariance = [np.einsum("k,kpi,kqj->piqj", m.eigenvalues, m.basis, m.basis) for m in (whole, cut)]
    np.testing.assert_allclose(covariance[1], covariance[0][kept][:, :, kept], atol=1e-2)
    shift = whole.mean[kept] - cut.mean
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-4)
    assert cut.symmetry is not None
    cut.save(tmp_path / "own.h5")
    smaller = import_model(tmp_path / "own.h5", cut_mm=50)
    assert smaller.num_vertices < cut.num_vertices
    np.testing.assert_array_equal(import_model(tmp_path / "own.h5").basis, cut.basis)


def test_principal_components_of_correlated_modes():
    rng = np.random.default_rng(0)
    modes = rng.normal(size=(6, 10, 3))
    modes[3] = 0
    modes[5] = modes[0] - modes[1]  # four directions in six modes
    basis, eigenvalues, mixing = conventions.principal_components(modes)
    assert len(basis) == 4
    np.testing.assert_allclose(np.tensordot(mixing, modes, 1), basis * np.sqrt(eigenvalues)[:, None, None], atol=1e-9)
    flat, expected = basis.reshape(4, -1), modes.reshape(6, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(flat.T @ (eigenvalues[:, None] * flat), expected.T @ expected, atol=1e-9)
    orthogonal = np.linalg.qr(rng.normal(size=(30, 3)))[0].T.reshape(3, 10, 3) * np.array([1.0, 3, 2])[:, None, None]
    basis, eigenvalues, mixing = conventions.principal_components(orthogonal)
    np.testing.assert_array_equal(mixing, np.eye(3)[[1, 2, 0]])
    np.testing.assert_allclose(eigenvalues, [9, 4, 1])
    np.testing.assert_allclose(basis, orthogonal[[1, 2, 0]] / np.array([3.0, 2, 1])[:, None, None], atol=1e-12)
    with pytest.raises(ValueError, match="none does"):
        conventions.principal_components(np.zeros((2, 4, 3)))


@pytest.mark.parametrize("scale", [1e-5, 1.0 / 3, 50.0])
def test_what_is_no_face_in_any_unit_is_refused(face, scale):
    raw = RawModel(face.mean * scale * 1e-4, face.basis, face.triangles, {}, Y_UP)
    with pytest.raises(ValueError, match=r"longest side is .* no face of 60 to 600 mm in any of mm, cm, m, um"):
        conventions.to_model(raw)


def test_landmarks_must_lie_on_the_model(face):
    for landmark, fault in (
        (face.num_vertices, "vertex 525 is none of the 525"),
        (SurfacePoint(10**6, (1, 0, 0)), "none of the"),
    ):
        with pytest.raises(ValueError, match=fault):
            conventions.to_model(RawModel(face.mean, face.basis, face.triangles, {"jaw_8": landmark}, Y_UP))
    with pytest.raises(ValueError, match="'chin' is not one of"):
        conventions.to_model(RawModel(face.mean, face.basis, face.triangles, {"chin": 1}, Y_UP))


def test_published_tables_are_of_the_right_topologies():
    for number, (_, table) in topologies.BY_NUM_VERTICES.items():
        landmarks = topologies.published_landmarks(number)
        assert len(set(landmarks.values())) == len(landmarks) == len(table)
        assert max(landmarks.values()) < number
    assert topologies.published_landmarks(3448)["nose_ridge_3"] == 114
    assert topologies.published_landmarks(5023) == {}
    assert [topologies.known_name(name) for name in ("37", "69", "0", "x")] == ["eye_right_0", None, None, None]


def test_ict_is_the_face_area_with_its_population(ict_facekit_dir):
    raw = ict.read(ict_facekit_dir, num_modes=4)
    folder = ict.data_folder(ict_facekit_dir)
    found = conventions.to_model(raw)
    assert (found.num_vertices, found.num_modes) == (9409, 4)
    assert set(found.landmarks) == set(schema.IBUG68)
    assert found.symmetry is not None
    expected = np.einsum("kpi,kqj->piqj", raw.modes[:, :40], raw.modes[:, :40])
    covariance = np.einsum("k,kpi,kqj->piqj", found.eigenvalues, found.basis[:, :40], found.basis[:, :40])
    np.testing.assert_allclose(covariance, expected, atol=1e-3)
    assert found.metadata["imported"] == {"format": "ict", "unit": "mm"}
    index = json.loads((folder / "vertex_indices.json").read_text())
    assert list(found.expressions.names) == index["expressions"]
    jaw = ict.read_vertices(folder / "jawOpen.obj") - ict.read_vertices(folder / ict.NEUTRAL_FILE)
    row = found.expressions.names.index("jawOpen")
    np.testing.assert_allclose(found.expressions.deltas[row], jaw[:9409], atol=1e-4)
    np.testing.assert_allclose(found.head.expressions.deltas[row], jaw, atol=1e-4)
    assert (found.head.num_vertices, len(found.regions["narrow"])) == (26719, 6706)
    covered = np.unique(np.concatenate([found.head.regions[name] for name in found.head.regions]))
    assert len(covered) == 26719
    assert found.uv[found.uv_triangles].min() >= 0
    assert found.uv[found.uv_triangles].max() <= 1, "the face has a square of its own"
    whole = ict.read_vertices(folder / ict.identity_file(2)) - ict.read_vertices(folder / ict.NEUTRAL_FILE)
    coefficients = found.encode(found.mean + whole[:9409])
    np.testing.assert_allclose(found.head.decode(coefficients) - found.head.mean, whole, atol=0.01)
