"""The same registration as an Apache Beam pipeline (`tfface.data.beam`), for collections beyond one machine."""

from collections.abc import Sequence

from tfface.data import beam
from tfface.scans import collection, registering, registration_report, scan_files
from tfface.scans.registering import Outcome, Plan


def register_collection(
    plan: Plan, scans: Sequence[scan_files.ScanFile], arguments: Sequence[str] = ()
) -> list[Outcome]:
    """Registers scans as `tfface.scans.collection.register_collection` does, on any Beam runner.

    Args:
      plan: how; it is sent to the workers.
      scans: the collection.
      arguments: of Beam, such as ``--runner=FlinkRunner``; by default its DirectRunner on this machine.

    Returns:
      What became of each scan, in their order.

    Raises:
      ModuleNotFoundError: if apache-beam is not installed.
      ValueError: if the folder was begun with another plan.
    """
    beam.require()
    collection.begin(plan)
    beam.run(registering.register_file, scans, plan, arguments)
    found = {outcome.subject: outcome for outcome in collection.read_outcomes(plan.output)}
    outcomes = [found[scan.subject] for scan in scans]
    registration_report.write(plan.output, outcomes)
    return outcomes
