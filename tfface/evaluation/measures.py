"""All measures. A new one is a `Measure` in a file of its own, and its name in this list."""

from collections.abc import Iterable

from tfface.evaluation import average_rmse, elastic, expressions, poses, scan_to_mesh, vertex_errors
from tfface.evaluation.measure import Column

REGISTRY = {
    module.MEASURE.name: module.MEASURE
    for module in (average_rmse, scan_to_mesh, elastic, vertex_errors, expressions, poses)
}
OF_PAIRS = tuple(name for name, measure in REGISTRY.items() if measure.of_pairs is not None)
OF_MESHES = tuple(name for name, measure in REGISTRY.items() if measure.of_meshes is not None)


def columns(names: Iterable[str]) -> list[Column]:
    """What measures of predictions find, in their order."""
    return [column for name in names for column in REGISTRY[name].columns]
