"""A collection of scans registered on all cores: failures do not stop the others, interrupted runs continue."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tqdm

from tfface import files
from tfface.data import workers
from tfface.scans import registering, registration_report, scan_files
from tfface.scans.registering import Outcome, Plan

PLAN = "plan.json"
"""What decides the registrations of a folder."""


def register_collection(
    plan: Plan,
    scans: Sequence[scan_files.ScanFile],
    *,
    num_workers: int | None = None,
    progress: bool = True,
    retry_failed: bool = False,
) -> list[Outcome]:
    """Registers scans and writes the report.

    Each scan is finished by itself, so that the same call continues an interrupted one. What does not depend on it: the
    number of workers and the order of the scans. A scan that crashes its process is tried `registering.MAX_CRASHES`
    times; that a run was stopped from outside is held against no scan.

    Args:
      plan: how.
      scans: the collection.
      num_workers: number of processes, all cores by default.
      progress: whether to show what is done and the time left.
      retry_failed: whether scans that failed in an earlier run are registered again.

    Returns:
      What became of each scan, in their order.

    Raises:
      ValueError: if the folder was begun with another plan, or another process is at work in it.
      workers.WorkerDiedError: if a process crashed that was at work on no scan.
    """
    begin(plan)
    with files.held(plan.output, "output"):
        registering.begin_again(plan, scans, retry_failed=retry_failed)
        outcomes = _register_all(plan, scans, num_workers, progress)
        registration_report.write(plan.output, outcomes)
    return outcomes


def _register_all(
    plan: Plan, scans: Sequence[scan_files.ScanFile], num_workers: int | None, progress: bool
) -> list[Outcome]:
    by_subject = {scan.subject: outcome for scan in scans if (outcome := registering.finished(plan, scan)) is not None}
    waiting = [scan for scan in scans if scan.subject not in by_subject]
    with tqdm.tqdm(
        total=len(scans), initial=len(by_subject), desc="scans", unit="scan", disable=not progress, smoothing=0.05
    ) as bar:
        while waiting:
            try:
                with workers.pool(plan, workers=num_workers) as run:
                    for outcome in run(registering.register_file, waiting):
                        by_subject[outcome.subject] = outcome
                        failed = sum(other.status == registering.FAILED for other in by_subject.values())
                        bar.set_postfix_str(f"{failed} failed" if failed else "", refresh=False)
                        bar.update()
            except workers.WorkerDiedError as died:
                if not registering.count_crashes(plan, waiting, died.processes):
                    raise
            waiting = [scan for scan in waiting if scan.subject not in by_subject]
    return [by_subject[scan.subject] for scan in scans]


def begin(plan: Plan) -> None:
    """Notes the plan in its folder.

    Raises:
      ValueError: if the folder was begun with another plan.
    """
    plan.output.mkdir(parents=True, exist_ok=True)
    path = plan.output / PLAN
    content: dict[str, Any] = {"unit": plan.unit, "detector": plan.detector, "digest": plan.digest()}
    if not path.exists():
        files.write_json(path, content)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before != content:
        differing = sorted(name for name in content if before.get(name) != content[name])
        raise ValueError(
            f"{path}: the folder was begun with another plan (they differ in: {', '.join(differing)}); choose another "
            f"folder, or the same template and options"
        )


def read_outcomes(output: str | os.PathLike[str]) -> list[Outcome]:
    """The outcomes for the scans of a folder, by subject; also of those that a Beam pipeline registered.

    Raises:
      ValueError: naming the file, if a record is damaged.
    """
    outcomes = []
    for path in sorted((Path(output) / registering.RECORDS).glob("*.json")):
        try:
            outcomes.append(Outcome.from_json(json.loads(path.read_text(encoding="utf-8"))))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return outcomes
