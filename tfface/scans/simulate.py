"""A capture folder of simulated scans and photographs of people whose shape is known."""

import json
import os
from pathlib import Path

import numpy as np
import tqdm

from tfface import files
from tfface.data import preparation, workers
from tfface.geometry import alignment, mesh
from tfface.people import capture_files, people_source
from tfface.scans import scanner
from tfface.scans.scanner_settings import ScannerSettings

TRUTH = "_truth"
"""Folder of the true shapes, `<subject>.ply`, mm, in the frame of the scan; no subject of a capture folder."""


def simulate(
    source: people_source.PeopleSource,
    root: str | os.PathLike[str],
    *,
    unit: str = "mm",
    seed: int = 0,
    suffix: str = ".ply",
    settings: ScannerSettings | None = None,
    photographs: bool = True,
    num_workers: int | None = None,
    progress: bool = True,
) -> None:
    """Scans and photographs every subject of a source: `<root>/<subject>/scan.ply`, `images/`, `views.json`.

    A subject that is there already is left as it is, so a killed run goes on.

    Args:
      source: people with full heads (`scanner.FullHeadPeople`).
      root: the capture folder, made if it does not exist.
      unit: of the scans, one of `scanner.MM_PER_UNIT`.
      seed: of the scanner.
      suffix: of the scan's file.
      settings: of the scanner.
      photographs: whether to take them.
      num_workers: number of processes, all cores by default.
      progress: whether to show a progress bar.

    Raises:
      ValueError: if the source has no full heads.
    """
    if not hasattr(source, "head_shape"):
        raise ValueError(f"source: expected people with full heads, {source.name!r} has none")
    jobs = [
        (index, Path(root), unit, seed, suffix, settings, photographs)
        for index in range(len(source))
        if not (Path(root) / TRUTH / f"{source.subject_id(index)}.ply").exists()
    ]
    with (
        tqdm.tqdm(total=len(source), initial=len(source) - len(jobs), desc="scanned", disable=not progress) as bar,
        workers.pool(source, workers=num_workers) as run,
    ):
        for _ in run(_scan_subject, jobs):
            bar.update()


def _scan_subject(
    source: people_source.PeopleSource, job: tuple[int, Path, str, int, str, ScannerSettings | None, bool]
) -> None:
    index, root, unit, seed, suffix, settings, photographs = job
    subject = source.subject_id(index)
    folder = root / subject
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (root / TRUTH).mkdir(exist_ok=True)
    made = scanner.scan(source, index, settings=settings, seed=seed, unit=unit)  # type: ignore[arg-type]
    mesh.write_mesh(folder / f"scan{suffix}", made.mesh)
    mm = scanner.MM_PER_UNIT[unit]
    scan_mm_from_source = alignment.Transform(
        np.ones(()), made.scan_from_source.rotation, mm * made.scan_from_source.translation
    )
    if photographs:
        _write_views(source.views(index), folder, scan_mm_from_source)
    truth = scan_mm_from_source.apply(np.asarray(source.shape(index), np.float64))
    # Last, as it marks the subject as finished.
    mesh.write_mesh(root / TRUTH / f"{subject}.ply", mesh.Mesh(truth.astype(np.float32), source.template.triangles))


def _write_views(views: list[people_source.View], folder: Path, scan_from_source: alignment.Transform) -> None:
    entries = []
    for number, view in enumerate(views):
        suffix = "png" if view.image.startswith(b"\x89PNG") else "jpg"
        name = f"images/{number:02d}.{suffix}"
        files.write_bytes(folder / name, view.image)
        placed = preparation.align_to_model(view, scan_from_source)
        entries.append(
            {
                "image": name,
                "intrinsics": np.asarray(view.intrinsics, np.float64).tolist(),
                "quaternion": np.asarray(placed.quaternion, np.float64).tolist(),
                "translation": np.asarray(placed.translation, np.float64).tolist(),
            }
        )
    files.write_bytes(folder / capture_files.VIEWS, json.dumps(entries, indent=1).encode())
