"""The subjects of a split: their ground truth, their photographs, and what models predict for them."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.data import manifest, pipeline
from tfface.data.splits import SPLITS
from tfface.evaluation import mirrored, predict
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.predict import EncodedViews
from tfface.evaluation.predictions import ChooseViews, Origin, Predictions
from tfface.face import MorphableModel
from tfface.models import FaceModel
from tfface.people import ict


@dataclasses.dataclass(frozen=True, eq=False)
class Subjects:
    """The subjects of a split, or the first of them.

    Attributes:
      records: folder of the records.
      split: of the records.
      batch_size: subjects and predictions at a time.
      limit: how many of the split; 0 for all.
      contents: the manifest.
      face_model: the 3DMM.
      truth: of the S subjects.
      mirrored: whether predictions are means over the photographs and their mirror images.
    """

    records: str
    split: str
    batch_size: int
    limit: int
    contents: manifest.Manifest
    face_model: MorphableModel
    truth: GroundTruth
    mirrored: bool = False
    _encoded: tuple[EncodedViews, EncodedViews] = dataclasses.field(
        default_factory=lambda: (EncodedViews(), EncodedViews()), repr=False
    )

    @classmethod
    def open(
        cls, records: str, split: str, *, batch_size: int = 32, limit: int = 0, mirrored: bool = False
    ) -> "Subjects":
        """Reads the ground truth of a split.

        Raises:
          ValueError: If the records are damaged, or the split is unknown or empty.
        """
        contents = manifest.read(records)
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        if not contents.subjects[split]:
            raise ValueError(f"{records}: the split {split!r} has no subjects")
        face_model = MorphableModel.load(Path(records) / manifest.FACE_MODEL_NAME)
        truth = GroundTruth.gather(_batches(records, split, batch_size, limit))
        return cls(records, split, batch_size, limit, contents, face_model, truth, mirrored)

    def batches(self, image_size: tuple[int, int] | None = None) -> Iterator[Mapping[str, Any]]:
        """All views of the subjects in order, by key of `schema.EXAMPLE`, [B, V, ...]."""
        return _batches(self.records, self.split, self.batch_size, self.limit, image_size)

    def origin(self, maker: str) -> Origin:
        """Where predictions for these subjects come from, if a model of this SHA-256, or else `maker`, makes them."""
        return Origin(maker, self.manifest_sha256, self.split, self.face_model.digest())

    def origin_of_model(self, path: str) -> Origin:
        """Where predictions come from that the model of this file makes."""
        return self.origin(files.sha256(path) + (", with mirror images" if self.mirrored else ""))

    @functools.cached_property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest of the records."""
        return files.sha256(Path(self.records) / manifest.FILE_NAME)

    @property
    def area(self) -> npt.NDArray[np.int32] | None:
        """[A], the vertices that shapes are measured on; None for all."""
        return area_of(self.contents.command["source"]["name"])[0]

    @property
    def area_name(self) -> str:
        """Of the area."""
        return area_of(self.contents.command["source"]["name"])[1]

    def predicted(
        self,
        name: str,
        path: str,
        choose: ChooseViews,
        folder: Path,
        *,
        progress: bool = True,
    ) -> Predictions:
        """Predicts with a model, or reads what the same model predicted from the same views before.

        Args:
          name: of the model.
          path: of its file.
          choose: from the model's number of views N to the views of its predictions [S, M, N].
          folder: of the files of predictions, `<name>.npz`.
          progress: whether to show a progress bar.

        Raises:
          FileNotFoundError: If the model is not there.
          ValueError: If it does not belong to the records, or mirror images are asked for and its 3DMM has none.
        """
        file, origin = folder / f"{files.name_of(name)}.npz", self.origin_of_model(path)
        held = Predictions.load_made(file, origin, self.truth.subjects, choose)
        if held is not None:
            return held
        model = predict.open_model(path, self.face_model.digest())
        opened = FaceModel(model)
        mirror = mirrored.mirror_of(opened) if self.mirrored else None  # what has none is refused before the work
        views, title = choose(opened.num_views), f"predict {name}" if progress else ""
        ask = functools.partial(
            predict.predict, model, subjects=self.truth.subjects, origin=origin, batch_size=self.batch_size
        )
        plain, images = self._encoded
        predictions = ask(self.batches(opened.image_size), views, encoded=plain, progress=title)
        if mirror is not None:
            seen = map(mirrored.image, self.batches(opened.image_size))
            title = f"{title}, mirrored" if title else ""
            predictions = mirrored.mean(
                predictions, ask(seen, views[..., ::-1], encoded=images, progress=title), mirror
            )
        predictions.save(file)
        return predictions


def area_of(source: str) -> tuple[npt.NDArray[np.int32] | None, str]:
    """Where the shapes of a source are measured: vertices [A], None for all, and a name.

    ICT-FaceKit's face area reaches over ears and neck; its narrow face area is what is compared.
    """
    if source == ict.IctPeople.name:
        return np.arange(ict.NUM_NARROW_FACE_VERTICES, dtype=np.int32), "narrow face area of ICT-FaceKit"
    return None, "all vertices of the 3DMM"


def _batches(
    records: str, split: str, batch_size: int, limit: int, image_size: tuple[int, int] | None = None
) -> Iterator[Mapping[str, Any]]:
    part = (0, limit) if limit else None
    batches = pipeline.all_views(records, split, batch_size=batch_size, image_size=image_size, subjects=part)
    return pipeline.naming_faults(batches, records, split)
