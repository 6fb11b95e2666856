"""ICT people: the files' frame, the statistics of the population, and its photographs."""

import concurrent.futures
import io
import multiprocessing
import pathlib
import pickle

import numpy as np
import pytest
from PIL import Image

from tfface import people, schema
from tfface.geometry import mesh, raycast
from tfface.people import ict, ict_head, photographer

SETTINGS = photographer.PhotographySettings(image_size=48, num_views=3)
MODES = 5


@pytest.fixture(scope="session")
def source(ict_facekit_dir, tmp_path_factory) -> ict.IctPeople:
    return ict.IctPeople(
        ict_facekit_dir, 40, seed=3, settings=SETTINGS, num_modes=MODES, cache_dir=tmp_path_factory.mktemp("ict")
    )


def test_vertices_are_those_of_a_literal_reader_in_the_source_frame(ict_facekit_dir):
    path = ict.data_folder(ict_facekit_dir) / ict.identity_file(7)
    literal = mesh.read_mesh(path).vertices * 10 * [1, -1, -1]
    np.testing.assert_allclose(ict.read_vertices(path), literal, atol=1e-3)


def test_frame_is_upright_towards_the_camera_and_not_mirrored(source):
    template = source.template
    at = {name: template.vertices[index] for name, index in template.landmarks.items()}
    assert set(at) == set(schema.IBUG68)
    assert at["jaw_8"][1] > at["nose_ridge_3"][1] > at["nose_ridge_0"][1], "y points down"
    assert at["nose_ridge_3"][2] < at["eye_left_0"][2] < at["jaw_0"][2], "the face looks along -z"
    # The person's own right is on the viewer's left.
    assert at["eye_right_0"][0] < at["eye_right_3"][0] < 0 < at["eye_left_0"][0] < at["eye_left_3"][0]
    assert at["jaw_0"][0] < at["lip_outer_0"][0] < 0 < at["lip_outer_6"][0] < at["jaw_16"][0]
    assert 80 < at["eye_left_3"][0] - at["eye_right_0"][0] < 110, "millimetres"
    # Turned, not mirrored: normals still point outwards.
    normals = mesh.vertex_normals(template.vertices, template.triangles)
    assert normals[template.landmarks["nose_ridge_3"], 2] < -0.5
    assert normals[template.landmarks["jaw_2"], 0] < -0.5


def test_template_is_symmetric(source):
    template = source.template
    assert template.vertices.shape == (9409, 3)
    np.testing.assert_allclose(template.vertices[template.symmetry], template.vertices * [-1, 1, 1], atol=0.05)
    assert template.symmetry[template.landmarks["eye_right_0"]] == template.landmarks["eye_left_3"]


def test_head_has_eyes_of_both_kinds_and_the_face_first(source):
    head = source.head
    np.testing.assert_array_equal(head.face_index, np.arange(9409))
    np.testing.assert_array_equal(head.template_vertices[:9409], source.template.vertices)
    for part, least in (
        (photographer.Part.SKIN, 20000),
        (photographer.Part.SCLERA, 1500),
        (photographer.Part.IRIS, 300),
    ):
        assert (head.part == part).sum() > least
    iris = head.template_vertices[head.triangles[head.part == photographer.Part.IRIS]].mean(axis=1)
    eyes = {
        side: source.template.vertices[[source.template.landmarks[f"eye_{side}_{i}"] for i in range(6)]]
        for side in ("right", "left")
    }
    for side, sign in (("right", -1), ("left", 1)):
        centre = iris[iris[:, 0] * sign > 0].mean(axis=0)
        assert np.abs(centre - eyes[side].mean(axis=0))[:2].max() < 4


def test_shapes_are_neutral_plus_modes(source, ict_facekit_dir):
    folder = ict.data_folder(ict_facekit_dir)
    neutral = ict.read_vertices(folder / ict.NEUTRAL_FILE)
    expected = neutral.astype(np.float64)
    for mode, coefficient in enumerate(source.coefficients(11)):
        expected = expected + coefficient * (ict.read_vertices(folder / ict.identity_file(mode)) - neutral)
    shape = source.shape(11)
    assert shape.dtype == np.float32
    np.testing.assert_allclose(shape, expected[:9409], atol=2e-3)


def test_coefficients_are_standard_normal_truncated_and_repeatable(ict_facekit_dir, source, tmp_path, monkeypatch):
    monkeypatch.setattr(ict.IctPeople, "TRUNCATION", 1.5)
    wide = ict.IctPeople(ict_facekit_dir, 4000, num_modes=1, cache_dir=tmp_path)
    drawn = np.concatenate([wide.coefficients(i) for i in range(4000)])
    assert np.abs(drawn).max() <= 1.5
    assert abs(drawn.mean()) < 0.04
    assert drawn.std() == pytest.approx(0.743, abs=0.02)  # Of a normal distribution cut off at 1.5.
    np.testing.assert_array_equal(source.coefficients(5), source.coefficients(5))
    assert np.abs(source.coefficients(5) - source.coefficients(6)).max() > 0.1


def test_people_with_spread_lie_as_much_farther_from_the_mean_as_each_draws(ict_facekit_dir, source, tmp_path):
    near, far = (
        ict.IctPeople(ict_facekit_dir, 400, num_modes=8, cache_dir=tmp_path, shapes=ict.Shapes(spread=spread))
        for spread in (1.0, 2.5)
    )
    factors = np.stack([far.coefficients(i) / near.coefficients(i) for i in range(400)])
    np.testing.assert_allclose(factors, factors[:, :1].repeat(8, axis=1), rtol=1e-5)  # the same person, farther out
    assert 1 <= factors.min() < 1.02
    assert 2.48 < factors.max() <= 2.5
    assert factors.mean() == pytest.approx(1.75, abs=0.07)
    with pytest.raises(ValueError, match=r"spread: expected 1\.\.3\.0, got 0\.5"):
        ict.Shapes(spread=0.5)


def test_cache_is_written_once_and_used(ict_facekit_dir, tmp_path, monkeypatch):
    first = ict.IctPeople(ict_facekit_dir, 3, num_modes=2, cache_dir=tmp_path)
    [cached] = tmp_path.iterdir()
    stamp = cached.stat().st_mtime_ns

    def forbidden(path: pathlib.Path) -> np.ndarray:
        raise AssertionError(f"{path} was parsed again")

    monkeypatch.setattr(ict_head, "read_vertices", forbidden)
    second = ict.IctPeople(ict_facekit_dir, 3, num_modes=2, cache_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [cached.name]
    assert cached.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(first.shape(1), second.shape(1))


def test_photographs_show_the_shape_they_come_with(source):
    """Edges of the pictures lie where shape and camera put the edges of head and eyes, and nowhere beside."""
    bald = photographer.PhotographySettings(image_size=96, num_views=3, hair_probability=0, occluder_probability=0)
    head, shifts = source.head, range(-3, 4)
    scores = np.zeros((len(shifts), len(shifts)))
    for index in range(3):
        vertices = source._deformed(index, len(head.template_vertices))
        caster = raycast.Raycaster(vertices, head.triangles)
        for view in photographer.photograph(head, vertices, bald, np.random.default_rng(index)):
            picture = np.asarray(Image.open(io.BytesIO(view.image)), np.float32).mean(axis=-1)
            steepness = np.hypot(*np.gradient(picture))
            hit = raycast.raster(caster, view.quaternion, view.translation, view.intrinsics, (96, 96)).triangle
            part = np.where(hit >= 0, np.minimum(head.part[hit], photographer.Part.SCLERA), -1)
            edge = np.hypot(*np.gradient(part.astype(np.float32))) > 0
            edge[:4] = edge[-4:] = edge[:, :4] = edge[:, -4:] = False
            rows, columns = np.nonzero(edge)
            for i, down in enumerate(shifts):
                for j, right in enumerate(shifts):
                    scores[i, j] += steepness[rows + down, columns + right].mean()
    assert np.unravel_index(scores.argmax(), scores.shape) == (3, 3), scores.round(1)
    assert scores[3, 3] > 1.3 * scores[[0, 0, 6, 6], [0, 6, 0, 6]].max()


def test_eyes_and_mouth_have_no_holes(source):
    """No ray passes between the lips or beside an eyeball and out of the back of the head."""
    head = source.head
    for index in range(4):
        vertices = source._deformed(index, len(head.template_vertices))
        caster = raycast.Raycaster(vertices, head.triangles)
        for prefix in ("eye_right_", "eye_left_", "lip_outer_"):
            ring = vertices[[head.landmarks[name] for name in schema.IBUG68 if name.startswith(prefix)]]
            (left, top), (right, bottom) = ring[:, :2].min(axis=0), ring[:, :2].max(axis=0)
            x, y = np.linspace(left, right, 120), np.linspace(top, bottom, 120)
            grid = np.stack(np.broadcast_arrays(x[None], y[:, None], -500.0), axis=-1)
            for slant in ((0, 0, 1), (0, 0.2, 1), (0.2, -0.2, 1)):
                hits = caster.cast(grid - 400 * np.array([*slant[:2], 0]), np.array(slant, float))
                assert (hits.triangle >= 0).all(), prefix
                assert np.median(hits.distance) < 450


def test_source_follows_the_interface_and_is_the_same_in_every_process(source):
    assert isinstance(source, people.PeopleSource)
    assert (source.name, len(source), source.subject_id(7)) == ("ict", 40, "ict-3-000007")
    assert len(pickle.dumps(source)) < 4000
    here = source.views(4)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(source.views, 4).result()
    assert [view.image for view in here] == [view.image for view in there]
    for ours, theirs in zip(here, there, strict=True):
        np.testing.assert_array_equal(ours.translation, theirs.translation)
    assert here[0].image != source.views(5)[0].image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_subjects": 0}, "num_subjects: expected"),
        ({"num_subjects": 5, "num_modes": 101}, "num_modes: expected"),
    ],
)
def test_options_are_checked(ict_facekit_dir, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        ict.IctPeople(ict_facekit_dir, cache_dir=tmp_path, **change)


def test_index_is_checked(source):
    for index in (-1, 40):
        with pytest.raises(ValueError, match=r"index: expected 0\.\.39"):
            source.shape(index)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="expected a checkout of ICT-FaceKit"):
        ict.IctPeople(tmp_path, 3, cache_dir=tmp_path)
    (tmp_path / ict.NEUTRAL_FILE).write_bytes(b"# mesh\nv 0 0 0\nv 1 0 0\nvt 0 0\nf 1 2 1\n")
    with pytest.raises(ValueError, match=r"identity000\.obj: expected an OBJ file"):
        ict.IctPeople(tmp_path, 3, num_modes=1, cache_dir=tmp_path)
    (tmp_path / ict.identity_file(0)).write_bytes(b"no mesh")
    with pytest.raises(ValueError, match="expected 26719 vertices of three numbers, got 6 numbers"):
        ict.IctPeople(tmp_path, 3, num_modes=1, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="name: expected a source of people"):
        people.open_source("nobody")
