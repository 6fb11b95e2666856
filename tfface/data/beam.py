"""Jobs as an Apache Beam pipeline, for what is too much for one machine; needs the extra ``beam``.

Files are read and written through paths, so every worker sees what goes in and what comes out under the same name: a
mounted bucket or a network file system. Which runner and how many workers is Beam's business (``--runner``, ...).
"""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Shared = TypeVar("Shared")
Job = TypeVar("Job")


def run(
    function: Callable[[Shared, Job], object], jobs: Iterable[Job], shared: Shared, arguments: Sequence[str] = ()
) -> None:
    """Calls ``function(shared, job)`` for every job; what it leaves are files. Ends when all of them are done.

    Args:
      function: of a module's top level.
      jobs: what is pickled for each call.
      shared: what is pickled once.
      arguments: of Beam, such as ``--runner=FlinkRunner``; by default its DirectRunner on this machine.

    Raises:
      ModuleNotFoundError: if apache-beam is not installed.
      RuntimeError: what Beam makes of an exception of `function`, with its text.
    """
    require()
    import apache_beam
    from apache_beam.options import pipeline_options

    options = pipeline_options.PipelineOptions(list(arguments))
    with apache_beam.Pipeline(options=options) as pipeline:
        # Reshuffle lets the runner spread the jobs over its workers before the heavy step.
        created = pipeline | "jobs" >> apache_beam.Create(list(jobs))
        _ = created | "spread" >> apache_beam.Reshuffle() | "work" >> apache_beam.Map(_call, function, shared)


def require() -> None:
    """Refuses to begin what would need Beam in the end.

    Raises:
      ModuleNotFoundError: if apache-beam is not installed.
    """
    if importlib.util.find_spec("apache_beam") is None:
        raise ModuleNotFoundError(
            "a pipeline needs apache-beam, which comes with the extra beam: pip install tfface[beam]",
            name="apache_beam",
        )


def _call(job: Job, function: Callable[[Shared, Job], object], shared: Shared) -> None:
    function(shared, job)
