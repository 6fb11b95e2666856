"""From raw scans to a trained model, at the smallest size: what configs/scans_*.cfg do."""

import json

import in_process
import numpy as np
import pytest

import tfface
from tfface import models
from tfface.data import manifest, preparation
from tfface.face import MorphableModel, model_quality
from tfface.face.register import RegistrationSettings
from tfface.face.registration import smooth_prior
from tfface.geometry import mesh
from tfface.people import open_source, photographer
from tfface.people.anthropometric import AnthropometricPeople
from tfface.scans import collection, model_from_scans, registering, scan_files, simulate
from tfface.scans.registering import Plan
from tfface.scans.scanner_settings import ScannerSettings
from tfface.training import training_run
from tfface.training.options import TrainingOptions


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """Five people scanned and photographed, nobody knows where their faces are, and one whose scan cannot be read."""
    root = tmp_path_factory.mktemp("scans") / "capture"
    photography = photographer.PhotographySettings(image_size=32, num_views=3, supersampling=1)
    people = AnthropometricPeople(5, seed=7, settings=photography)
    scanner = ScannerSettings(size_hw=(120, 160), frames=9, voxel=4.0, truncation=12.0)
    with in_process.workers():
        simulate.simulate(people, root, simulate.Simulation("cm", settings=scanner), num_workers=1, progress=False)
    (root / "unreadable").mkdir()
    (root / "unreadable" / "scan.ply").write_bytes(b"ply\n")
    return root, people.template


@pytest.mark.usefixtures("small_encoder")
def test_raw_scans_become_a_trained_model(capture, tmp_path):
    root, template = capture
    face = mesh.Mesh(template.vertices, template.triangles, template.landmarks)
    settings = RegistrationSettings(smooth=smooth_prior.SmoothPriorSettings(modes=60, samples=300))
    plan = Plan(face, "cm", tmp_path / "model", settings=settings)
    scans = scan_files.find_scans(root)
    with in_process.workers():
        outcomes = collection.register_collection(plan, scans, num_workers=1, progress=False)
    assert [outcome.status for outcome in outcomes] == [*["registered"] * 5, "failed"], [o.fault for o in outcomes]
    built, divided = model_from_scans.build_model(plan, outcomes, modes=2)
    training, unseen = (model_from_scans.registered_shapes(plan, divided[split]) for split in ("train", "validation"))
    measures = model_quality.measure(built, training, unseen, samples=20)
    assert measures.generalisation.mean[-1] < measures.generalisation.mean[0]
    assert model_from_scans.complete_capture_folder(plan, scans, outcomes) == 5
    again = [registering.finished(plan, scan) for scan in scan_files.find_scans(root)]
    assert [outcome and outcome.to_json() for outcome in again] == [outcome.to_json() for outcome in outcomes]
    source = open_source("capture", root=str(root), image_size=32)
    assert source.left_out.keys() == {"unreadable"}
    face_model = str(plan.output / model_from_scans.FACE_MODEL)
    with in_process.workers():
        made = preparation.prepare(
            source, tmp_path / "records", preparation.Recipe(face_model=face_model), num_workers=1, progress=False
        )
    assert {split: sorted(ids) for split, ids in made.subjects.items()} == {
        split: sorted(ids) for split, ids in divided.items()
    }, "the subjects whom the 3DMM was built from are those to train on"
    best = training_run.train(
        TrainingOptions(
            records=str(tmp_path / "records"),
            output=str(tmp_path / "run"),
            encoder_weights="none",
            encoder_dtype="float32",
            encoder_output="block3_pool",
            mirror=False,
            hidden_units=8,
            batch_size=2,
            pictures=0,
            stages=("heads:1",),
        )
    )
    trained = tfface.load(best)
    assert models.FaceModel(trained).kind == "single_view"
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(line)["rigid_mm"])
    used = MorphableModel.load(tmp_path / "records" / manifest.FACE_MODEL_NAME)
    np.testing.assert_array_equal(used.basis, built.basis)
