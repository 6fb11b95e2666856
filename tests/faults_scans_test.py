"""What may befall the registration of scans: crashes of its processes, and ends that come from outside."""

from pathlib import Path

import killing
import pytest
import scanned_people

from tfface.geometry import mesh
from tfface.scans import collection, registering, scan_files
from tfface.scans.scan_files import ScanFile

STOPPED = """
import pathlib, sys
import scanned_people
from tfface.scans import collection, scan_files
if __name__ == "__main__":
    scans, output = sys.argv[1:]
    plan = scanned_people.EndlessPlan(scanned_people.template(), "mm", pathlib.Path(output))
    collection.register_collection(plan, scan_files.find_scans(scans), num_workers=2, progress=False)
"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Two scans that can be read, and one that cannot."""
    root = tmp_path_factory.mktemp("scans")
    (root / "broken.ply").write_bytes(b"ply\n")
    for index in range(2):
        mesh.write_mesh(root / f"person-{index}.ply", scanned_people.bust_of(index, fine=False))
    return root


def _at_work(output: Path) -> list[int]:
    """The processes that register the two scans that can be read."""
    paths = [output / registering.RECORDS / f"person-{index}.running" for index in range(2)]
    return [int(path.read_text()) for path in paths if path.exists()]


def _register(plan: registering.Plan, scans: list[ScanFile], **how) -> dict[str, registering.Outcome]:
    outcomes = collection.register_collection(plan, scans, num_workers=1, progress=False, **how)
    return {outcome.subject: outcome for outcome in outcomes}


def test_a_scan_that_crashes_its_process_is_tried_twice_and_stops_no_other(scans, tmp_path):
    found = scan_files.find_scans(scans)[:2]
    plan = scanned_people.CrashingPlan(scanned_people.template(), "mm", tmp_path)
    outcomes = _register(plan, found)
    assert {outcome.status for outcome in outcomes.values()} == {registering.FAILED}
    assert "broken.ply" in outcomes["broken"].fault
    assert outcomes["person-0"].fault == "ended the process that registered it, 2 times"
    assert registering.finished(plan, found[1]) == outcomes["person-0"]
    assert not {path.suffix for path in (tmp_path / registering.RECORDS).iterdir()} - {".json"}
    registering.begin_again(plan, found, retry_failed=False)
    assert registering.finished(plan, found[1]) == outcomes["person-0"]
    registering.begin_again(plan, found, retry_failed=True)
    assert registering.finished(plan, found[1]) is None


def test_ends_from_outside_are_held_against_no_scan(scans, tmp_path):
    """kill -9 of the main process: the workers end with it, and no scan is the worse for it."""
    script, output = tmp_path / "stopped.py", tmp_path / "out"
    script.write_text(STOPPED)
    for _ in range(killing.KILLS):
        for path in (output / registering.RECORDS).glob("*.running"):
            path.unlink()
        with killing.running(script, scans, output) as process:
            killing.wait_until(lambda: len(_at_work(output)) == 2, process)
            workers = _at_work(output)
            killing.kill(process)
        killing.wait_until(lambda: not any(map(killing.alive, workers)))  # noqa: B023
    assert not list((output / registering.RECORDS).glob("*.crashes"))
