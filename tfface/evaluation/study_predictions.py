"""What the models of the study predict, each from the views that the single view model chooses for it."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.evaluation import study_rows, view_selection
from tfface.evaluation.predictions import Predictions
from tfface.evaluation.study_rows import ShapeRow
from tfface.evaluation.subjects import Subjects

Views = npt.NDArray[np.int32]


@dataclasses.dataclass(frozen=True, eq=False)
class StudyPredictions:
    """Predictions by model.

    Attributes:
      single: name of the single view model that chose the views.
      by_model: of each model, in the order they were given.
      ranked: [S, M, N], the sets of N views nearest to `schema.SELECTED_YAWS`, the nearest first.
      frontal: [S, 1], the views of the least estimated yaw.
    """

    single: str
    by_model: Mapping[str, Predictions]
    ranked: Views
    frontal: Views

    @classmethod
    def make(
        cls,
        paths: Mapping[str, str],
        averaged: Collection[str],
        subjects: Subjects,
        folder: Path,
        *,
        progress: bool = True,
    ) -> "StudyPredictions":
        """Predicts with every model what has not been predicted before.

        Args:
          paths: of the models by name; the first must be a single view model.
          averaged: names of the multi view models that predict from several sets of views.
          subjects: whom to predict.
          folder: of the files of predictions.
          progress: whether to show progress bars.

        Raises:
          ValueError: If the first model takes several views, or a model does not belong to the records.
        """
        single = next(iter(paths))
        every_view = subjects.truth.every_view()
        by_model: dict[str, Predictions] = {}

        def first(num_views: int) -> Views:
            if num_views != 1:
                raise ValueError(
                    f"models: the first, {single}, must be a single view model, which chooses the views of the others; "
                    f"it takes {num_views} views"
                )
            return every_view

        by_model[single] = subjects.predicted(single, paths[single], first, folder, progress=progress)
        yaws, exists = view_selection.estimated_yaws(by_model[single])

        def chosen(count: int) -> Callable[[int], Views]:
            def choose(num_views: int) -> Views:
                return every_view if num_views == 1 else view_selection.ranked_views(yaws, exists, num_views, count)

            return choose

        for name, path in paths.items():
            if name != single:
                choose = chosen(study_rows.AVERAGED_PREDICTIONS if name in averaged else 1)
                by_model[name] = subjects.predicted(name, path, choose, folder, progress=progress)
        ranked = view_selection.ranked_views(yaws, exists, len(schema.SELECTED_YAWS), study_rows.AVERAGED_PREDICTIONS)
        return cls(single, by_model, ranked, view_selection.nearest_views(yaws, exists, 1)[:, 0])

    def with_poses(self, row: ShapeRow) -> Predictions:
        """A row as one prediction a subject, with the single view model's poses of the nearest views if it has none."""
        if row.poses is not None:
            return row.poses
        views = self.ranked[:, 0]
        seen = self.by_model[self.single].of_views(views)
        assert seen.quaternions is not None
        assert seen.translations is not None
        return dataclasses.replace(
            seen,
            views=views[:, None],
            coefficients=row.coefficients[:, None],
            quaternions=seen.quaternions[:, None, :, 0],
            translations=seen.translations[:, None, :, 0],
        )
