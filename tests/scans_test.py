"""Scans as files, the simulated scanner, and a collection from files to a 3DMM."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import scanned_people

from tfface.face import MorphableModel, arkit
from tfface.face.register import RegistrationSettings
from tfface.face.registration import smooth_prior
from tfface.face.registration.scan_surface import ScanSurface
from tfface.geometry import mesh
from tfface.people import capture_files
from tfface.scans import (
    beam,
    collection,
    model_from_scans,
    registering,
    registration_report,
    scan_files,
    scanner,
    simulate,
)
from tfface.scans.registering import Plan
from tfface.scans.scanner_settings import ScannerSettings

QUICK = RegistrationSettings(smooth=smooth_prior.SmoothPriorSettings(modes=60, samples=300))
TINY = ScannerSettings(size_hw=(120, 160), frames=9, voxel=4.0, truncation=12.0)


def _write(path: Path, scan: mesh.Mesh, scale: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.write_mesh(path, mesh.Mesh((scan.vertices * scale).astype(np.float32), scan.triangles))
    return path


@pytest.mark.parametrize("suffix", mesh.FORMATS)
@pytest.mark.parametrize("unit", ["mm", "cm", "m"])
def test_a_scan_is_read_in_every_format_and_unit(tmp_path, suffix, unit):
    scan = scanned_people.bust_of(0, fine=False)
    path = _write(tmp_path / f"scan{suffix}", scan, 1 / scanner.MM_PER_UNIT[unit])
    read = scan_files.read_scan(path, unit)
    assert read.mesh.num_vertices <= scan.num_vertices  # STL's corners are merged again
    distances = ScanSurface(scan).closest(read.mesh.vertices).distances
    assert distances.max() < 0.05
    with pytest.raises(ValueError, match=rf"scan{suffix}: read in .* it would be plausible in {unit}"):
        scan_files.read_scan(path, "m" if unit != "m" else "mm")


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _with_nan(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[next(i for i, line in enumerate(lines) if line.startswith("v "))] = "v nan 0 0"
    path.write_text("\n".join(lines))


def _without_faces(path: Path) -> None:
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("f ")))


@pytest.mark.parametrize(
    ("suffix", "spoil", "fault"),
    [
        (".ply", Path.unlink, "not found"),
        (".ply", lambda path: path.write_bytes(b""), "the file is empty"),
        (".ply", _cut, "not a readable triangle mesh"),
        (".glb", _cut, "not a readable triangle mesh"),
        (".stl", _cut, "not a readable triangle mesh"),
        (".obj", _with_nan, "1 of .* with NaN"),
        (".obj", _without_faces, "0 triangles"),
    ],
)
def test_every_bad_file_is_named_with_its_fault(tmp_path, suffix, spoil, fault):
    path = _write(tmp_path / f"scan{suffix}", scanned_people.bust_of(0, fine=False))
    spoil(path)
    with pytest.raises(ValueError, match=rf"scan{suffix}: .*{fault}"):
        scan_files.read_scan(path, "mm")


def test_cleaning_drops_stray_parts_and_turns_normals_outwards():
    scan = scanned_people.bust_of(0, fine=False)
    speck = np.array([[900.0, 0, 0], [905, 0, 0], [900, 5, 0]])
    dirty = mesh.Mesh(
        np.concatenate((scan.vertices, speck)),
        np.concatenate((scan.triangles[:, ::-1], [[scan.num_vertices + i for i in range(3)], [0, 0, 1]])),
    )
    cleaned = scan_files.clean(dirty)
    # The two eyeballs and the linings behind the lips and lids are parts of their own, and go too.
    (of_its_own,) = scan_files.clean(scan).notes
    assert cleaned.notes == (
        "1 triangles without area dropped",
        f"{int(of_its_own.split()[0]) + 1} stray parts dropped",
        "normals turned outwards",
    )
    assert np.ptp(cleaned.mesh.vertices[:, 0]) < 500
    nose = scan.vertices[scanned_people.PEOPLE.head.landmarks["nose_ridge_3"]]
    nearest = np.linalg.norm(cleaned.mesh.vertices - nose, axis=1).argmin()
    assert mesh.vertex_normals(cleaned.mesh.vertices, cleaned.mesh.triangles)[nearest, 2] < -0.5
    with pytest.raises(ValueError, match=r"at least 1000 connected triangles, got \d{3}"):
        scan_files.clean(mesh.Mesh(scan.vertices, scan.triangles[:500]))


def test_scans_are_found_in_folders_and_as_files(tmp_path):
    _write(tmp_path / "b" / "scan.obj", scanned_people.bust_of(0, fine=False))
    _write(tmp_path / "a.ply", scanned_people.bust_of(0, fine=False))
    (tmp_path / "_truth").mkdir()
    (tmp_path / "b" / "landmarks.json").write_text("{}")
    found = scan_files.find_scans(tmp_path)
    assert [(scan.subject, scan.path.name, scan.landmarks is not None) for scan in found] == [
        ("a", "a.ply", False),
        ("b", "scan.obj", True),
    ]
    _write(tmp_path / "a.stl", scanned_people.bust_of(0, fine=False))
    with pytest.raises(ValueError, match="subject 'a' has more than one scan"):
        scan_files.find_scans(tmp_path)
    with pytest.raises(ValueError, match="there is none"):
        scan_files.find_scans(tmp_path / "_truth")


def test_the_scanner_sees_the_true_surface_with_noise_and_holes():
    first = scanner.scan(scanned_people.PEOPLE, 1, settings=TINY, seed=4)
    again = scanner.scan(scanned_people.PEOPLE, 1, settings=TINY, seed=4)
    np.testing.assert_array_equal(first.mesh.vertices, again.mesh.vertices)
    assert first.unit == again.unit
    other = scanner.scan(scanned_people.PEOPLE, 1, settings=TINY, seed=4, unit="cm")
    assert other.unit == "cm"
    seen = first.scan_from_source.inverse().apply(first.mesh.vertices.astype(np.float64))
    shape = scanned_people.PEOPLE.shape(1).astype(np.float64)
    scan = mesh.Mesh(seen, first.mesh.triangles)
    nose = shape[scanned_people.PEOPLE.template.landmarks["nose_ridge_3"]]
    near = np.linalg.norm(shape - nose, axis=1) < 60
    distances = ScanSurface(scan).closest(shape[near]).distances
    assert 0.02 < np.median(distances) < 1.0
    assert len(mesh.boundary_edges(scan.triangles)) > 0
    assert mesh.vertex_normals(seen, scan.triangles)[np.linalg.norm(seen - nose, axis=1).argmin(), 2] < 0
    assert np.ptp(seen[:, 0]) > 300, "shoulders"


def test_noise_grows_with_the_square_of_the_distance():
    from tfface.geometry import raycast
    from tfface.scans import depth_camera

    wall = np.array([[-900.0, -900, 0], [900, -900, 0], [900, 900, 0], [-900, 900, 0]])
    subject = depth_camera.DepthTarget(raycast.Raycaster(wall, [[0, 1, 2], [0, 2, 3]]), np.ones(2))
    settings = ScannerSettings(size_hw=(60, 80), disparity_step=1e-4)
    spread = []
    for distance in (400.0, 800.0):
        rng = np.random.default_rng(0)
        frame = depth_camera.measure(subject, np.array([0, 0, 0, 1.0]), np.array([0, 0, distance]), settings, rng)
        spread.append(np.std(frame[frame > 0]))
    assert spread[1] / spread[0] == pytest.approx(4, rel=0.05)


def test_every_bad_scan_of_a_collection_is_reported_with_its_fault(tmp_path):
    root, one = tmp_path / "scans", scanned_people.bust_of(1, fine=False)
    for spoil in (_cut, lambda path: path.write_bytes(b"")):
        spoil(_write(root / f"file_{spoil.__name__.strip('_<>')}.ply", one))
    _with_nan(_write(root / "not_a_number.obj", one))
    _without_faces(_write(root / "points_only.obj", one))
    _write(root / "in_metres.ply", one, 1e-3)
    twin = mesh.Mesh(
        np.concatenate((one.vertices, one.vertices + [500, 0, 0])),
        np.concatenate((one.triangles, one.triangles + one.num_vertices)),
    )
    _write(root / "two_heads.ply", twin)
    _write(root / "somebody_else_s_landmarks.ply", one)
    shape, landmarks = scanned_people.PEOPLE.shape(4), scanned_people.PEOPLE.template.landmarks
    others = {name: shape[index].tolist() for name, index in landmarks.items()}
    (root / "somebody_else_s_landmarks.json").write_text(json.dumps(others))
    plan = Plan(scanned_people.template(), "mm", tmp_path / "output", settings=QUICK)
    outcomes = {scan.subject: registering.register_file(plan, scan) for scan in scan_files.find_scans(root)}
    expected = {
        "file_cut": "file_cut.ply: not a readable triangle mesh",
        "file_lambda": "file_lambda.ply: the file is empty",
        "not_a_number": "not_a_number.obj: .*1 of .* with NaN",
        "points_only": "points_only.obj: .* 0 triangles",
        "in_metres": "in_metres.ply: read in mm, the scan is 0.* mm long.* it would be plausible in m",
        "two_heads": r"scan: two faces: placements \d+ mm apart",
        "somebody_else_s_landmarks": "landmarks: expected .* are they of another subject",
    }
    assert outcomes.keys() == expected.keys()
    for subject, outcome in outcomes.items():
        assert outcome.status == registering.FAILED, subject
        assert re.search(expected[subject], outcome.fault), (subject, outcome.fault)
    assert not (plan.output / registering.MESHES).exists()


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    """Four subjects with landmarks and one broken file."""
    root = tmp_path_factory.mktemp("capture")
    for index in range(4):
        motion = scanned_people.pose(index)
        folder = root / f"person-{index}"
        _write(folder / "scan.ply", scanned_people.moved(scanned_people.bust_of(index), motion))
        shape = motion.apply(scanned_people.PEOPLE.shape(index).astype(np.float64))
        names = ("nose_ridge_3", "eye_right_0", "eye_left_3", "lip_outer_0", "lip_outer_6", "jaw_8")
        landmarks = {n: shape[scanned_people.PEOPLE.template.landmarks[n]].tolist() for n in names}
        (folder / "landmarks.json").write_text(json.dumps(landmarks))
    (root / "broken").mkdir()
    (root / "broken" / "scan.ply").write_bytes(b"ply\n")
    return root


@pytest.fixture(scope="module")
def registered(capture, tmp_path_factory):
    plan = Plan(scanned_people.template(), "mm", tmp_path_factory.mktemp("output"), settings=QUICK)
    outcomes = collection.register_collection(plan, scan_files.find_scans(capture), num_workers=1, progress=False)
    return plan, outcomes


def test_one_broken_scan_stops_no_other(registered):
    plan, outcomes = registered
    assert [outcome.subject for outcome in outcomes] == ["broken", *(f"person-{i}" for i in range(4))]
    assert [outcome.status for outcome in outcomes] == ["failed", *["registered"] * 4]
    assert "broken/scan.ply" in outcomes[0].fault
    page = (plan.output / registration_report.PAGE).read_text()
    assert page.index("broken") < page.index("person-0"), "the worst first"
    assert page.count("<img") == 4
    assert registration_report.summary(outcomes).startswith(
        "5 scans: 4 registered, 0 doubtful, 1 failed; medians: residual 0."
    )
    assert len((plan.output / registration_report.TABLE).read_text().splitlines()) == 6


def _as_json(outcomes: list[registering.Outcome]) -> list[dict]:
    """Outcomes that compare: NaN is not equal to itself."""
    return [outcome.to_json() for outcome in outcomes]


def test_what_is_finished_is_not_done_again(registered, capture):
    plan, outcomes = registered
    before = {path: path.stat().st_mtime_ns for path in (plan.output / registering.MESHES).iterdir()}
    again = collection.register_collection(plan, scan_files.find_scans(capture), progress=False)
    assert _as_json(again) == _as_json(outcomes)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert _as_json(collection.read_outcomes(plan.output)) == _as_json(outcomes)
    other = Plan(plan.template, "cm", plan.output, settings=QUICK)
    with pytest.raises(ValueError, match=r"begun with another plan \(they differ in: digest, unit"):
        collection.register_collection(other, [], progress=False)


def test_the_3dmm_of_the_registered_scans_and_a_complete_capture_folder(registered, capture):
    plan, outcomes = registered
    built, divided = model_from_scans.build_model(plan, outcomes, modes=64, mirrored=True)
    assert sorted(itertools.chain.from_iterable(divided.values())) == [f"person-{i}" for i in range(4)]
    loaded = MorphableModel.load(plan.output / model_from_scans.FACE_MODEL)
    assert loaded.digest() == built.digest()
    assert loaded.num_modes == 2 * len(divided["train"]) - 1
    # Mirrored twins make the mean symmetric.
    np.testing.assert_allclose(loaded.mean[loaded.symmetry] * [-1, 1, 1], loaded.mean, atol=0.02)
    (capture / "person-2" / capture_files.UNREGISTERED).write_text("{}")  # of an earlier run
    assert model_from_scans.complete_capture_folder(plan, scan_files.find_scans(capture), outcomes) == 4
    assert [path.parent.name for path in capture.glob("*/unregistered.json")] == ["broken"]
    marker = json.loads((capture / "broken" / capture_files.UNREGISTERED).read_text())
    assert marker == {"status": "failed", "reason": outcomes[0].fault}
    read = mesh.read_mesh(capture / "person-2" / capture_files.REGISTERED)
    truth = scanned_people.pose(2).apply(scanned_people.PEOPLE.shape(2).astype(np.float64))
    surface = ScanSurface(mesh.Mesh(truth, plan.face.triangles))
    assert surface.closest(read.vertices).distances.mean() < 1
    with pytest.raises(ValueError, match="at least 3 well registered scans, got 1"):
        model_from_scans.build_model(plan, outcomes[:2])


def test_a_template_mesh_comes_with_its_landmarks(tmp_path):
    face = scanned_people.template()
    path = _write(tmp_path / "face.obj", face)
    with pytest.raises(ValueError, match=r"face\.json: not found"):
        model_from_scans.read_template(path)
    (tmp_path / "face.json").write_text(json.dumps({"nose_ridge_3": 10**6}))
    with pytest.raises(ValueError, match=r"face\.json: .*1000000"):
        model_from_scans.read_template(path)
    (tmp_path / "face.json").write_text(json.dumps(dict(face.landmarks)))
    assert model_from_scans.read_template(path).landmarks == face.landmarks


def test_simulated_captures_are_written_with_photographs_and_truth(tmp_path):
    from tfface.people import photographer
    from tfface.people.anthropometric import AnthropometricPeople

    photography = photographer.PhotographySettings(image_size=32, num_views=3, supersampling=1)
    source = AnthropometricPeople(1, seed=2, settings=photography)
    for _ in range(2):  # The second finds everything there.
        simulate.simulate(source, tmp_path, simulate.Simulation("cm", settings=TINY), num_workers=1, progress=False)
    (subject,) = (scan.subject for scan in scan_files.find_scans(tmp_path))
    truth = mesh.read_mesh(tmp_path / simulate.TRUTH / f"{subject}.ply")
    scan = scan_files.read_scan(tmp_path / subject / "scan.ply", "cm").mesh
    assert np.median(ScanSurface(scan).closest(truth.vertices).distances) < 1.5
    views = capture_files.read_views(tmp_path / subject / capture_files.VIEWS)
    assert len(views) == 3
    from tfface.geometry import camera

    px = camera.project_array(truth.vertices, views[1].quaternion, views[1].translation, views[1].intrinsics)
    assert ((px > -16) & (px < 48)).all(), "the photographs show the truth where it is"


def test_simulated_people_make_faces_and_the_files_tell_which(tmp_path, ict_facekit_dir, tmp_path_factory):
    from tfface.people import ict, photographer

    photography = photographer.PhotographySettings(image_size=32, num_views=2, supersampling=1, expressions="sampled")
    cache = tmp_path_factory.mktemp("ict")
    source = ict.IctPeople(ict_facekit_dir, 1, seed=2, settings=photography, num_modes=5, cache_dir=cache)
    simulation = simulate.Simulation("mm", settings=TINY, seed=1)
    simulate.simulate(source, tmp_path, simulation, num_workers=1, progress=False)
    moves = source.template.expressions
    subject, truth = source.subject_id(0), tmp_path / simulate.TRUTH
    neutral, posed = (mesh.read_mesh(truth / f"{subject}{kind}.ply").vertices for kind in ("", "_posed"))
    told = json.loads((truth / f"{subject}.json").read_text())
    moved = np.linalg.norm(moves.displacement(arkit.to_expressions(told, moves.names)), axis=1)
    assert moved.max() > 2
    np.testing.assert_allclose(np.linalg.norm(posed - neutral, axis=1), moved, atol=1e-2)
    scan = ScanSurface(scan_files.read_scan(tmp_path / subject / "scan.ply", "mm").mesh)
    most = np.argsort(moved)[-200:]
    distances = [np.median(scan.closest(vertices[most]).distances) for vertices in (posed, neutral)]
    assert distances[0] < distances[1], "the scan shows the expression"
    reading = capture_files.ExpressionReading(moves)
    views = capture_files.read_views(tmp_path / subject / capture_files.VIEWS, reading)
    for view, taken in zip(views, source.views(0), strict=True):
        expected = taken.expressions if len(taken.expressions) else np.zeros(len(moves))
        np.testing.assert_allclose(view.expressions, expected, atol=1e-6)


def test_a_beam_pipeline_does_the_same(tmp_path, capture, registered):
    pytest.importorskip("apache_beam", reason="apache-beam is not installed: it is the extra beam")
    plan, outcomes = registered
    here = Plan(plan.template, plan.unit, tmp_path, settings=QUICK)
    scans = scan_files.find_scans(capture)[:2]
    done = beam.register_collection(here, scans, ["--runner=DirectRunner"])
    for one, other in zip(_as_json(done), _as_json(outcomes[:2]), strict=True):
        # Sums of another number of threads differ in the last digits of single precision.
        quality, expected = one.pop("quality") or {}, other.pop("quality") or {}
        assert quality.keys() == expected.keys()
        for name, value in expected.items():
            assert quality[name] == (value and pytest.approx(value, rel=1e-5, nan_ok=True)), name
        assert one == other
