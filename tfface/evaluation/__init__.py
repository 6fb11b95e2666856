"""How good a model is: predictions written to files, measures computed from them, tables and pictures of both.

`run` is the whole road; `predict` is the only other module that needs TensorFlow. `average_rmse`, `scan_to_mesh`,
`elastic` and `vertex_errors` each measure one shape against the truth; `mesh_folders` applies them to meshes on disk.
"""

from tfface.evaluation.average_rmse import armse

__all__ = ["armse"]
