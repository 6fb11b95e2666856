"""The same registration as an Apache Beam pipeline, for collections beyond one machine; needs the extra ``beam``.

Files are read and written through paths, so every worker sees the scans and the output under the same name: a mounted
bucket or a network file system. Which runner and how many workers is Beam's business (``--runner``, ...).
"""

from collections.abc import Sequence

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
    try:
        import apache_beam
        from apache_beam.options import pipeline_options
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a pipeline needs apache-beam, which comes with the extra beam: pip install tfface[beam]", name=error.name
        ) from error

    collection.begin(plan)
    options = pipeline_options.PipelineOptions(list(arguments))
    with apache_beam.Pipeline(options=options) as pipeline:
        # Reshuffle lets the runner spread the scans over its workers before the heavy step.
        created = pipeline | "scans" >> apache_beam.Create(list(scans))
        _ = created | "spread" >> apache_beam.Reshuffle() | "register" >> apache_beam.Map(_register, plan)
    found = {outcome.subject: outcome for outcome in collection.read_outcomes(plan.output)}
    outcomes = [found[scan.subject] for scan in scans]
    registration_report.write(plan.output, outcomes)
    return outcomes


def _register(scan: scan_files.ScanFile, plan: Plan) -> tuple[str, str]:
    """Registers one scan; its mesh, picture and record are files."""
    outcome = registering.register_file(plan, scan)
    return outcome.subject, outcome.status
