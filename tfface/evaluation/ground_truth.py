"""What is true about the subjects of a split, without their photographs."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.data import selection

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
    """Shapes and cameras of S subjects with up to V views.

    Attributes:
      subjects: S ids, in the order of the records.
      vertices: [S, P, 3] float32, mm, model frame.
      quaternions: [S, V, 4] float32, cam_from_model.
      translations: [S, V, 3] float32, mm, cam_from_model.
      intrinsics: [S, V, 3, 3] float32, px_from_cam.
      view_mask: [S, V] float32, 1 where a view exists.
    """

    subjects: tuple[str, ...]
    vertices: Array
    quaternions: Array
    translations: Array
    intrinsics: Array
    view_mask: Array

    @classmethod
    def gather(cls, batches: Iterable[Mapping[str, Any]]) -> "GroundTruth":
        """Collects batches that hold all views of their subjects.

        Args:
          batches: by key of `schema.EXAMPLE`, [B, V, ...], as `data.pipeline.all_views` gives them.

        Raises:
          ValueError: If there is no subject.
        """
        fields = (
            schema.SUBJECT,
            schema.VERTICES,
            schema.QUATERNIONS,
            schema.TRANSLATIONS,
            schema.INTRINSICS,
            schema.VIEW_MASK,
        )
        collected: dict[str, list[npt.NDArray[Any]]] = {field.key: [] for field in fields}
        for batch in batches:
            for key, arrays in collected.items():
                arrays.append(np.asarray(batch[key]))
        if not collected[schema.SUBJECT.key]:
            raise ValueError("batches: expected at least one subject, got none")
        subjects, *arrays = (np.concatenate(arrays) for arrays in collected.values())
        names = (subject.decode() if isinstance(subject, bytes) else str(subject) for subject in subjects)
        return cls(tuple(names), *arrays)

    @property
    def yaws(self) -> Array:
        """[S, V], degrees; meaningless where no view exists."""
        return np.asarray(selection.yaws(self.quaternions))

    def every_view(self) -> npt.NDArray[np.int32]:
        """Views of predictions from each view alone: [S, V, 1], -1 where there is none."""
        places = np.arange(self.view_mask.shape[1], dtype=np.int32)
        return np.where(self.view_mask > 0, places, -1).astype(np.int32)[..., None]

    def nearest_views(self, num_views: int) -> npt.NDArray[np.int32]:
        """Views of one prediction from those whose true yaws are nearest to the targets of `selection`: [S, 1, N]."""
        return selection.nearest_views(self.yaws, self.view_mask, num_views).astype(np.int32)[:, None]
