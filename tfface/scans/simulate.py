"""A capture folder of simulated scans and photographs of people whose shape is known."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tqdm

from tfface import files
from tfface.data import preparation, workers
from tfface.face import Expressions
from tfface.geometry import alignment, mesh
from tfface.people import capture_files, expression_sampler, people_source
from tfface.scans import scanner
from tfface.scans.scanner_settings import ScannerSettings

WHOLE_HEADS = ("anthropometric", "ict")
"""The sources of people (`tfface.people.SOURCES`) who need nothing else to be scanned."""
TRUTH = "_truth"
"""Folder of the true shapes, in mm and the frame of the scan; no subject of a capture folder.

`<subject>.ply` is the neutral face. Of people with expressions, `<subject>_posed.ply` is what the scan shows and
`<subject>.json` has the weights by name.
"""


@dataclasses.dataclass(frozen=True)
class Simulation:
    """How people are scanned.

    Attributes:
      unit: of the scans, one of `scanner.MM_PER_UNIT`.
      suffix: of the scan's file.
      seed: of the scanner.
      settings: of the scanner; a Structure Sensor if None.
    """

    unit: str = "mm"
    suffix: str = ".ply"
    seed: int = 0
    settings: ScannerSettings | None = None


def simulate(
    source: people_source.PeopleSource,
    root: str | os.PathLike[str],
    simulation: Simulation,
    *,
    num_workers: int | None = None,
    progress: bool = True,
) -> None:
    """Scans and photographs every subject of a source: `<root>/<subject>/scan.ply`, `images/`, `views.json`.

    People whose template has expressions make a face for the scan, and `views.json` tells that of each photograph.
    A subject that is there already is left as it is, so that an interrupted run continues.

    Args:
      source: people with full heads (`scanner.FullHeadPeople`).
      root: the capture folder, made if it does not exist.
      simulation: how they are scanned.
      num_workers: number of processes, all cores by default.
      progress: whether to show a progress bar.

    Raises:
      ValueError: if the source has no full heads.
    """
    if not hasattr(source, "head_shape"):
        raise ValueError(f"source: expected people with full heads, {source.name!r} has none")
    jobs = [
        (index, Path(root), simulation)
        for index in range(len(source))
        if not (Path(root) / TRUTH / f"{source.subject_id(index)}.ply").exists()
    ]
    with (
        tqdm.tqdm(total=len(source), initial=len(source) - len(jobs), desc="scanned", disable=not progress) as bar,
        workers.pool(source, workers=num_workers) as run,
    ):
        for _ in run(_scan_subject, jobs):
            bar.update()


def _scan_subject(source: people_source.PeopleSource, job: tuple[int, Path, Simulation]) -> None:
    index, root, how = job
    subject = source.subject_id(index)
    folder = root / subject
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (root / TRUTH).mkdir(exist_ok=True)
    moving = source.template.expressions
    weights = None
    if moving is not None:
        drawn = expression_sampler.sample_expression(np.random.default_rng([how.seed, index]))
        weights = expression_sampler.weight_vector(drawn, moving.names)
    made = scanner.scan(
        source,  # type: ignore[arg-type]
        index,
        settings=how.settings,
        seed=how.seed,
        unit=how.unit,
        expression=weights,
    )
    mesh.write_mesh(folder / f"scan{how.suffix}", made.mesh)
    mm = scanner.MM_PER_UNIT[how.unit]
    scan_mm_from_source = alignment.Transform(
        np.ones(()), made.scan_from_source.rotation, mm * made.scan_from_source.translation
    )
    _write_views(source.views(index), folder, scan_mm_from_source, moving)
    shape = np.asarray(source.shape(index), np.float64)

    def write_truth(name: str, vertices: npt.NDArray[np.floating]) -> None:
        placed = scan_mm_from_source.apply(vertices).astype(np.float32)
        mesh.write_mesh(root / TRUTH / name, mesh.Mesh(placed, source.template.triangles))

    if moving is not None and weights is not None:
        write_truth(f"{subject}_posed.ply", shape + moving.displacement(weights))
        files.write_json(root / TRUTH / f"{subject}.json", _by_name(moving, weights))
    write_truth(f"{subject}.ply", shape)  # last, as it marks the subject as finished


def _by_name(moving: Expressions, weights: npt.NDArray[np.floating]) -> dict[str, float]:
    """Weights that are not 0, by name."""
    return {name: float(weight) for name, weight in zip(moving.names, weights, strict=True) if weight}


def _write_views(
    views: list[people_source.View], folder: Path, scan_from_source: alignment.Transform, moving: Expressions | None
) -> None:
    entries: list[dict[str, Any]] = []
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
        if moving is not None:
            weights = view.expressions
            neutral = weights is not None and not len(weights)
            entries[-1][capture_files.EXPRESSIONS] = (
                None if weights is None else {} if neutral else _by_name(moving, weights)
            )
    files.write_bytes(folder / capture_files.VIEWS, json.dumps(entries, indent=1).encode())
