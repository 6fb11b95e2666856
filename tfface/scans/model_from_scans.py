"""The 3DMM of a collection of registered scans, and the capture folder made ready for `tfface.prepare`."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.data import manifest, splits
from tfface.face import MorphableModel, build, carrying, find_symmetry
from tfface.geometry import alignment, mesh
from tfface.people import capture_files
from tfface.scans import registering, scan_files
from tfface.scans.registering import Outcome, Plan

FACE_MODEL, SUBJECTS = manifest.FACE_MODEL_NAME, "subjects.json"


def build_model(
    plan: Plan, outcomes: Sequence[Outcome], *, seed: int = 0, modes: int = 64, mirrored: bool = False
) -> tuple[MorphableModel, Mapping[str, Sequence[str]]]:
    """Builds the 3DMM from the training split of the scans that were registered well, and writes it.

    Rigid Procrustes analysis and PCA (`tfface.face.build`). Doubtful and failed scans take no part.

    Args:
      plan: of the registration.
      outcomes: what became of the scans.
      seed: of the division of subjects (`tfface.data.splits`).
      modes: of the 3DMM, fewer if there are fewer training shapes.
      mirrored: whether every face is joined by its mirror image, which needs a symmetric template.

    Returns:
      The model and the subjects of each split.

    Raises:
      ValueError: if fewer than two faces are in the training split, or the template must be symmetric and is not.
    """
    good = sorted(outcome.subject for outcome in outcomes if outcome.status == registering.REGISTERED)
    if len(good) < 3:
        raise ValueError(f"{plan.output}: expected at least 3 well registered scans, got {len(good)}; see the report")
    divided = {split: [good[i] for i in index] for split, index in splits.split_subjects(len(good), seed=seed).items()}
    face = plan.face
    symmetry = _symmetry(plan, required=mirrored)
    shapes = registered_shapes(plan, divided["train"], mirrored=mirrored)
    if len(shapes) < 2:
        raise ValueError(f"{plan.output}: expected at least 2 faces in the training split, got {len(shapes)}")
    model = build(
        shapes,
        face.triangles,
        face.landmarks,
        symmetry,
        modes=min(modes, len(shapes) - 1),
        reference=face.vertices,
    )
    model = dataclasses.replace(model, metadata={**model.metadata, "mirrored": mirrored})
    if isinstance(plan.template, MorphableModel):
        model = carrying.with_surface_of(model, plan.template)
    model.save(plan.output / FACE_MODEL)
    files.write_json(plan.output / SUBJECTS, {"seed": seed, "mirrored": mirrored, **divided})
    return model, divided


def registered_shapes(plan: Plan, subjects: Sequence[str], *, mirrored: bool = False) -> npt.NDArray[np.float32]:
    """Registered faces of a collection, each laid rigidly on the template.

    Args:
      plan: of the registration.
      subjects: S of those that were registered.
      mirrored: whether they are followed by their mirror images.

    Returns:
      [S, P, 3], or [2 S, P, 3] with mirror images, mm, model frame.

    Raises:
      ValueError: if a mesh does not fit the template, or the template must be symmetric and is not.
    """
    shapes = np.stack([_shape(plan, subject) for subject in subjects])
    aligned = alignment.rigid(shapes, plan.face.vertices).apply(shapes).astype(np.float32)
    if not mirrored:
        return aligned
    symmetry = _symmetry(plan, required=True)
    assert symmetry is not None
    return np.concatenate((aligned, aligned[:, symmetry] * np.array([-1, 1, 1], np.float32)))


def _symmetry(plan: Plan, *, required: bool) -> npt.NDArray[np.integer] | None:
    if isinstance(plan.template, MorphableModel):
        symmetry = plan.template.symmetry
        if symmetry is None and required:
            raise ValueError("template: the 3DMM has no symmetry, so faces cannot be mirrored")
        return symmetry
    try:
        return find_symmetry(plan.face.vertices, plan.face.triangles)
    except ValueError as error:
        if required:
            raise ValueError(f"template: faces cannot be mirrored: {error}") from error
        return None


def _shape(plan: Plan, subject: str) -> npt.NDArray[np.float32]:
    neutral = registering.mesh_path(plan.output, subject, neutral=True)
    path = neutral if neutral.exists() else registering.mesh_path(plan.output, subject)
    vertices = mesh.read_mesh(path).vertices
    if vertices.shape != plan.face.vertices.shape:
        raise ValueError(f"{path}: expected {len(plan.face.vertices)} vertices, got {len(vertices)}")
    return vertices


def complete_capture_folder(plan: Plan, scans: Sequence[scan_files.ScanFile], outcomes: Sequence[Outcome]) -> int:
    """Puts `registered.ply` into the subjects' folders, and its landmarks as `registered.json`.

    With photographs and `views.json` they are then the capture folder that `tfface.prepare --people=capture` reads. The
    others get an `unregistered.json` with the reason, by which they are left out there, until they are registered well.

    Args:
      plan: of the registration.
      scans: the collection, a folder for each subject.
      outcomes: what became of them; only well registered ones are completed.

    Returns:
      How many subjects were completed.

    Raises:
      ValueError: if a scan does not lie in a folder of its subject's own.
    """
    by_subject = {outcome.subject: outcome for outcome in outcomes}
    completed = 0
    names = list(plan.face.landmarks)
    for scan in scans:
        folder = scan.path.parent
        if folder.name != scan.subject:
            raise ValueError(f"{scan.path}: expected a folder for each subject, as a capture folder has")
        outcome = by_subject[scan.subject]
        if outcome.status != registering.REGISTERED:
            marker = {"status": outcome.status, "reason": outcome.fault}
            files.write_bytes(folder / capture_files.UNREGISTERED, json.dumps(marker, indent=1).encode())
            continue
        registered = mesh.Mesh(_shape(plan, scan.subject), plan.face.triangles, plan.face.landmarks)
        mesh.write_mesh(folder / capture_files.REGISTERED, registered)
        if names:
            points = registered.landmark_points(tuple(names))
            content: dict[str, Any] = {
                name: [round(float(x), 3) for x in point] for name, point in zip(names, points, strict=True)
            }
            files.write_bytes(folder / capture_files.REGISTERED_LANDMARKS, json.dumps(content, indent=1).encode())
        (folder / capture_files.UNREGISTERED).unlink(missing_ok=True)
        completed += 1
    return completed


def read_template(path: Path) -> mesh.Mesh:
    """A template mesh with its landmarks from `<name>.json` beside it: {name of `schema.IBUG68`: vertex index}.

    Args:
      path: OBJ, PLY or GLB, mm, in the axes of the model frame.

    Raises:
      ValueError: naming the file and the fault.
    """
    face = mesh.read_mesh(path)
    landmarks = capture_files.read_json(path.with_suffix(".json"))
    if not isinstance(landmarks, Mapping) or not all(type(index) is int for index in landmarks.values()):
        raise ValueError(f"{path.with_suffix('.json')}: expected an object with a vertex index for each landmark")
    try:
        return mesh.Mesh(face.vertices, face.triangles, landmarks)
    except ValueError as error:
        raise ValueError(f"{path.with_suffix('.json')}: {error}") from error
