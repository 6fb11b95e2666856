"""How good a model is: predictions written to files, measures computed from them, tables and pictures of both.

`run` is the whole road; `predict` is the only other module that needs TensorFlow. `average_rmse`, `scan_to_mesh`,
`elastic` and `vertex_errors` each measure one shape against the truth; `mesh_folders` applies them to meshes on disk.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfface.evaluation.average_rmse import armse

__all__ = ["armse"]


def __getattr__(name: str) -> Any:
    if name == "armse":  # with NumPy and SciPy, for which --help need not wait
        from tfface.evaluation.average_rmse import armse

        return armse
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
