"""What a measure is, and what it is given: predictions of a 3DMM beside the truth, or two meshes of any topology."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.geometry.mesh import Mesh

Values = npt.NDArray[np.float64]
Numbers = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True, eq=False)
class Poses:
    """Predicted and true cameras of the N views that each of G predictions saw.

    Attributes:
      exists: [G, N], which of the views there are; where there is none, prediction and truth are the same.
      quaternions: [G, N, 4], cam_from_model.
      translations: [G, N, 3], mm, cam_from_model.
      true_quaternions: [G, N, 4].
      true_translations: [G, N, 3], mm.
      intrinsics: [G, N, 3, 3], px_from_cam.
    """

    exists: npt.NDArray[np.bool_]
    quaternions: npt.NDArray[np.float32]
    translations: npt.NDArray[np.float32]
    true_quaternions: npt.NDArray[np.float32]
    true_translations: npt.NDArray[np.float32]
    intrinsics: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Moving:
    """Predicted and true expressions of the N views that each of G predictions saw, or of all where it saw none.

    Attributes:
      known: [G, N], of which views there is the true one.
      weights: [G, N, E], predicted; None for what knows neutral faces alone.
      true_posed: [G, N, P, 3], mm, model frame, what the views show.
    """

    known: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32] | None
    true_posed: npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """G predictions, each beside the truth about its subject, in the topology of one 3DMM.

    Attributes:
      face_model: the 3DMM.
      area: [A] vertices that vertex errors are measured on; None for all.
      predicted: [G, P, 3], mm, model frame.
      true: [G, P, 3], mm, model frame.
      poses: of the views, None where none are predicted.
      moving: the views' expressions, None for neutral people.
    """

    face_model: MorphableModel
    area: npt.NDArray[np.integer] | None
    predicted: npt.NDArray[np.floating]
    true: npt.NDArray[np.floating]
    poses: Poses | None = None
    moving: Moving | None = None


@dataclasses.dataclass(frozen=True)
class Column:
    """One figure of a measure.

    Attributes:
      name: with its unit, as in `errors.csv`.
      title: of its column in tables.
      digits: behind the point in tables.
      share: whether it is a shape's error, whose share of the mean face's is told.
    """

    name: str
    title: str
    digits: int = 2
    share: bool = False


@dataclasses.dataclass(frozen=True)
class Measure:
    """A way to compare a prediction with the truth; `tfface.evaluation.measures` lists all.

    Attributes:
      name: of the measure.
      columns: what `of_pairs` finds.
      of_pairs: [G] by name of a column; None for a measure of meshes alone.
      needs: fields of `Predictions` that a row must have, else it goes without the measure.
      needs_truth: fields of `GroundTruth` that must be known.
      costly: whether it takes so long that only rows of one prediction a subject are measured.
      lacking: why a 3DMM's shapes cannot be measured, "" if they can.
      mesh_columns: names of what `of_meshes` finds.
      of_meshes: numbers by name, None where one does not apply; None for a measure that needs the topology of a 3DMM.
      version: raised whenever the figures change, so that nothing measured before is taken for new.
    """

    name: str
    columns: tuple[Column, ...] = ()
    of_pairs: Callable[[Pairs], Mapping[str, Values]] | None = None
    needs: tuple[str, ...] = ()
    needs_truth: tuple[str, ...] = ()
    costly: bool = False
    lacking: Callable[[MorphableModel], str] = lambda _: ""
    mesh_columns: tuple[str, ...] = ()
    of_meshes: Callable[[Mesh, Mesh], Numbers] | None = None
    version: int = 1
