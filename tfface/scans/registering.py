"""One scan file registered: the function that a pool of processes and a Beam pipeline both run, and what it leaves."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.drawing import registration_picture
from tfface.face.morphable_model import MorphableModel
from tfface.face.register import PreparedTemplate, RegistrationSettings, prepare, register_scan
from tfface.face.registration.quality import Quality
from tfface.geometry import mesh
from tfface.photographs.detector import shared_mtcnn
from tfface.scans import face_search, scan_files

REGISTERED, DOUBTFUL, FAILED = "registered", "doubtful", "failed"
"""The outcome for a scan: good enough to build on; registered, but to be checked; not registered."""

MESHES, NEUTRAL, RECORDS, PICTURES = "meshes", "neutral", "scans", "pictures"
"""Folders of the output: registered meshes (PLY), the same without the expression that a scan shows, what became of
each scan (JSON), pictures (JPEG)."""

MAX_CRASHES = 2
"""A scan that crashed its process so often, or made it take too much memory, is not tried again by itself."""

_FAULTS = (ValueError, OSError, RuntimeError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the scans of a collection are registered; sent to every worker.

    Attributes:
      template: what they are registered to; a 3DMM is a prior as well.
      unit: of the scans.
      output: the folder.
      detector: whether a face detector proposes where the face is; otherwise the geometry alone does.
      settings: of the registration.
    """

    template: mesh.Mesh | MorphableModel
    unit: str
    output: Path
    detector: bool = False
    settings: RegistrationSettings = dataclasses.field(default_factory=RegistrationSettings)

    @property
    def face(self) -> mesh.Mesh:
        """The template as a mesh."""
        if isinstance(self.template, MorphableModel):
            return mesh.Mesh(self.template.mean, self.template.triangles, self.template.landmarks)
        return self.template

    @functools.cached_property
    def prepared(self) -> PreparedTemplate:
        """The template ready for many registrations, once a process."""
        return prepare(self.template, self.settings)

    def digest(self) -> str:
        """SHA-256 of all that decides a registration, beside the scan."""
        face = self.face
        digest = hashlib.sha256(repr((self.unit, self.detector, self.settings)).encode())
        for array in (np.ascontiguousarray(face.vertices, "<f4"), np.ascontiguousarray(face.triangles, "<i4")):
            digest.update(array.tobytes())
        if isinstance(self.template, MorphableModel):
            digest.update(self.template.digest().encode())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome for one scan.

    Attributes:
      subject: its name.
      status: `REGISTERED`, `DOUBTFUL` or `FAILED`.
      fault: what is wrong, empty if nothing is.
      notes: what was changed in the scan before.
      quality: measures, None if it failed.
      expression: weights by name of the 3DMM's expressions, those that are not 0.
      digest: of the scan, its landmarks and the plan.
    """

    subject: str
    status: str
    fault: str
    notes: tuple[str, ...]
    quality: Quality | None
    digest: str
    expression: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it; NaN, which JSON does not know, becomes null."""
        content = dataclasses.asdict(self)
        if self.quality is not None:
            measures = dataclasses.asdict(self.quality)
            content["quality"] = {name: value if np.isfinite(value) else None for name, value in measures.items()}
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Outcome":
        """The inverse of `to_json`.

        Raises:
          ValueError: if a field is missing or unknown.
        """
        try:
            measures = content["quality"]
            quality = measures and Quality(**{k: float("nan") if v is None else v for k, v in measures.items()})
            return cls(**{**content, "quality": quality, "notes": tuple(content["notes"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not what became of a scan: {error}") from error


def register_file(plan: Plan, scan: scan_files.ScanFile) -> Outcome:
    """Registers one scan and writes its mesh, its picture and, last, its record.

    Args:
      plan: how.
      scan: the files.

    Returns:
      What became of it. A fault of the scan is no exception but part of the answer.
    """
    digest = _digest(plan, scan)
    before = finished(plan, scan, digest)
    if before is not None:
        return before
    crashes, running = _crashes_path(plan, scan), _running_path(plan, scan)
    count = _number(crashes)
    if count >= MAX_CRASHES:
        fault = f"ended the process that registered it, {count} times"
        outcome = Outcome(scan.subject, FAILED, fault, (), None, digest)
    else:
        files.write_text(running, str(os.getpid()))
        outcome = _register(plan, scan, digest)
    files.write_bytes(_record_path(plan, scan), json.dumps(outcome.to_json(), indent=1).encode())
    crashes.unlink(missing_ok=True)
    running.unlink(missing_ok=True)
    return outcome


def begin_again(plan: Plan, scans: Sequence[scan_files.ScanFile], *, retry_failed: bool) -> None:
    """Forgets which process was at work on scans when an earlier run was stopped, which is no fault of theirs.

    Args:
      plan: how.
      scans: the files.
      retry_failed: whether to forget, too, what failed: those scans are registered again.
    """
    for scan in scans:
        _running_path(plan, scan).unlink(missing_ok=True)
        outcome = finished(plan, scan) if retry_failed else None
        if retry_failed:
            _crashes_path(plan, scan).unlink(missing_ok=True)
        if outcome is not None and outcome.status == FAILED:
            _record_path(plan, scan).unlink()


def count_crashes(plan: Plan, scans: Sequence[scan_files.ScanFile], processes: Sequence[int]) -> int:
    """Notes which scans crashed the processes that registered them; after `MAX_CRASHES` a scan is not tried again.

    Args:
      plan: how.
      scans: those that may have been under way.
      processes: that crashed, while the process that asked lived on.

    Returns:
      How many of the scans it was.
    """
    crashed = 0
    for scan in scans:
        if _number(_running_path(plan, scan)) in processes:
            files.write_text(_crashes_path(plan, scan), str(_number(_crashes_path(plan, scan)) + 1))
            crashed += 1
        _running_path(plan, scan).unlink(missing_ok=True)
    return crashed


def _record_path(plan: Plan, scan: scan_files.ScanFile) -> Path:
    return plan.output / RECORDS / f"{scan.subject}.json"


def _crashes_path(plan: Plan, scan: scan_files.ScanFile) -> Path:
    """Holds how often the scan crashed its process."""
    return plan.output / RECORDS / f"{scan.subject}.crashes"


def _running_path(plan: Plan, scan: scan_files.ScanFile) -> Path:
    """Holds the id of the process that is at work on the scan."""
    return plan.output / RECORDS / f"{scan.subject}.running"


def _number(path: Path) -> int:
    """The number in a file, 0 without one."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return int(text) if text.isdecimal() else 0


def finished(plan: Plan, scan: scan_files.ScanFile, digest: str | None = None) -> Outcome | None:
    """The outcome for a scan in an earlier run with the same plan and the same file, or None.

    Args:
      plan: how.
      scan: the files.
      digest: of both, if known.
    """
    path = _record_path(plan, scan)
    if not path.exists():
        return None
    try:
        outcome = Outcome.from_json(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        return None  # A record that is not whole is written again.
    same = outcome.digest == (digest or _digest(plan, scan))
    whole = outcome.status == FAILED or mesh_path(plan.output, scan.subject).exists()
    return outcome if same and whole else None


def mesh_path(output: Path, subject: str, *, neutral: bool = False) -> Path:
    """Where the registered mesh of a subject lies; the neutral one is there only if the scan shows an expression."""
    return output / (NEUTRAL if neutral else MESHES) / f"{subject}.ply"


def picture_path(output: Path, subject: str) -> Path:
    """Where the picture of a subject lies."""
    return output / PICTURES / f"{subject}.jpg"


def _register(plan: Plan, scan: scan_files.ScanFile, digest: str) -> Outcome:
    notes: tuple[str, ...] = ()
    try:
        cleaned = scan_files.read_scan(scan.path, plan.unit)
        notes = cleaned.notes
        landmarks = scan_files.read_landmarks(scan)
        proposals = []
        if plan.detector and landmarks is None:
            proposals = face_search.propose(cleaned.mesh, plan.face, shared_mtcnn())
        done = register_scan(cleaned.mesh, plan.prepared, landmarks, settings=plan.settings, proposals=proposals)
        expression = _named_expression(plan, done.expression)
        if expression:
            neutral = mesh.Mesh(done.neutral, plan.face.triangles)
            mesh.write_mesh(mesh_path(plan.output, scan.subject, neutral=True), neutral)
        else:
            mesh_path(plan.output, scan.subject, neutral=True).unlink(missing_ok=True)
        mesh.write_mesh(mesh_path(plan.output, scan.subject), mesh.Mesh(done.vertices, plan.face.triangles))
        picture = registration_picture.draw(cleaned.mesh, done.vertices, plan.face, done.matched)
        files.write_bytes(picture_path(plan.output, scan.subject), registration_picture.jpeg(picture))
    except ModuleNotFoundError:
        raise
    except _FAULTS as error:
        return Outcome(scan.subject, FAILED, str(error) or type(error).__name__, notes, None, digest)
    fault = done.quality.fault()
    status = DOUBTFUL if fault else REGISTERED
    return Outcome(scan.subject, status, fault or "", notes, done.quality, digest, expression)


def _named_expression(plan: Plan, weights: npt.NDArray[np.floating]) -> dict[str, float]:
    """Weights by name, without those that are 0."""
    expressions = plan.prepared.model.expressions
    names = () if expressions is None else expressions.names
    return {name: round(float(weight), 4) for name, weight in zip(names, weights, strict=True) if abs(weight) > 1e-3}


def _digest(plan: Plan, scan: scan_files.ScanFile) -> str:
    digest = hashlib.sha256(plan.digest().encode())
    for path in filter(None, (scan.path, scan.landmarks)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
