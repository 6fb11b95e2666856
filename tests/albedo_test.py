"""The albedo of skin that nobody has seen."""

import numpy as np
import pytest

from tfface.face import import_model
from tfface.geometry import colours, mesh
from tfface.people.assets import albedo as skins
from tfface.reconstruction.outputs import albedo

NUM_VERTICES = 400


@pytest.fixture(scope="module")
def model() -> albedo.AlbedoModel:
    rng = np.random.default_rng(3)
    mean, modes = rng.normal(0, 0.2, (NUM_VERTICES, 3)), rng.normal(0, 0.1, (4, NUM_VERTICES, 3))
    return albedo.AlbedoModel(mean.astype(np.float32), modes.astype(np.float32), num_bare=NUM_VERTICES)


def normals() -> np.ndarray:
    found = np.random.default_rng(4).normal(size=(NUM_VERTICES, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def shown(
    model: albedo.AlbedoModel, coefficients: np.ndarray, light: np.ndarray, tone: tuple[float, ...] = (0.3, 0.2, 0.15)
) -> np.ndarray:
    """sRGB of skin, so dark that nothing is clipped."""
    tone = np.log(tone) + (normals() @ light)[:, None]
    return colours.srgb(np.exp(tone + model.mean + np.tensordot(coefficients, model.modes, 1)).astype(np.float32))


@pytest.mark.parametrize("tone", [(0.3, 0.2, 0.15), (0.1, 0.025, 0.01)])
def test_skin_is_found_from_the_part_that_is_seen(model, tone):
    coefficients, light = np.array([1.0, -0.5, 0.3, 0.8]), np.array([0.1, -0.2, -0.3])
    truth = shown(model, coefficients, light, tone)
    weights = np.where(np.arange(NUM_VERTICES) < 250, 1.0, 0.0)
    found = model.fitted(np.where(weights[:, None] > 0, truth, 0), weights, normals())
    mean_alone = np.abs(model.plain(np.median(truth[:250], axis=0)) - truth)[250:].mean()
    # The light of what is turned to it or away from it most is that of the brightest and darkest that is seen.
    assert np.abs(found - truth)[250:].mean() < min(0.02, mean_alone / 2)


def test_hair_and_shine_do_not_count_as_skin(model):
    truth = shown(model, np.zeros(4), np.zeros(3))
    weights = np.ones(NUM_VERTICES)
    hairy = truth.copy()
    hairy[:60] = 0.15
    spoiled = np.abs(model.fitted(hairy, weights, normals()) - truth)[60:]
    assert spoiled.mean() < 0.02
    # Vertices beyond the bare face are left out altogether.
    bare = albedo.AlbedoModel(model.mean, model.modes, num_bare=300)
    collar = truth.copy()
    collar[300:] = (0.9, 0.1, 0.1)
    np.testing.assert_array_equal(bare.fitted(collar, weights, normals()), bare.fitted(truth, weights, normals()))


@pytest.mark.parametrize("color", [0.0, 0.4, 1.0])
def test_colours_stay_colours_whatever_is_seen(model, color):
    for weights in (np.zeros(NUM_VERTICES), np.eye(NUM_VERTICES)[7], np.ones(NUM_VERTICES)):
        found = model.fitted(np.full((NUM_VERTICES, 3), color), weights, normals())
        assert found.shape == (NUM_VERTICES, 3)
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1


def test_a_surface_of_another_topology_has_no_model():
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    assert albedo.of(triangles, 4) is None
    same = mesh.topology_digest(triangles)
    np.testing.assert_array_equal(same, mesh.topology_digest(triangles[::-1, [1, 2, 0]]))
    assert (same != mesh.topology_digest(np.array([[0, 1, 2], [1, 3, 0]]))).any()


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    damaged = tmp_path / "albedo.npz"
    damaged.write_bytes(albedo._PATH.read_bytes()[:300_000])
    monkeypatch.setattr(albedo, "_PATH", damaged)
    albedo._file.cache_clear()
    with pytest.raises(ValueError, match=r"albedo\.npz: not an archive of arrays"):
        albedo.of(np.array([[0, 1, 2]]), 3)


def test_the_package_knows_ict_facekits_face_and_head(ict_facekit_dir):
    face = import_model(ict_facekit_dir)
    on_face = albedo.of(face.triangles, len(face.mean))
    skin = face.head.triangles[(face.head.triangles < 11248).all(axis=1)]
    on_head = albedo.of(skin, face.head.num_vertices)
    np.testing.assert_array_equal(on_head.mean[: len(face.mean)], on_face.mean)
    lips = face.mean[[face.landmarks["lip_outer_3"], face.landmarks["lip_outer_9"]]].mean(axis=0)
    red, green, _ = on_face.plain((0.8, 0.6, 0.5))[np.linalg.norm(face.mean - lips, axis=1).argmin()]
    cheeks = skins.tones(on_head.mean[None, :11248], face)[0]
    assert red / green > 1.1 * 0.8 / 0.6
    np.testing.assert_allclose(cheeks, 0, atol=0.01)
    assert albedo.of(face.triangles[:-1], len(face.mean)) is None


def test_modes_are_the_principal_components_of_skins(ict_facekit_dir):
    face = import_model(ict_facekit_dir)
    rng = np.random.default_rng(0)
    logs = np.log(0.3) + rng.normal(size=(5, 1, 1)) * rng.normal(0, 0.1, (11248, 3))
    made = skins.of_skins(logs, face, num_modes=2)
    assert made["explained"][0] == pytest.approx(1, abs=1e-3)
    relative = logs - skins.tones(logs, face)[:, None]
    deviation = np.sqrt(((relative - relative.mean(axis=0)) ** 2).sum(axis=0) / 4)
    np.testing.assert_allclose(np.abs(made["modes"][0]), deviation, atol=2e-3)
