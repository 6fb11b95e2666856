"""Measures the reliability of a single view model's estimates on records whose people it was not trained on."""

import numpy as np
from tqdm import tqdm

from tfface import schema
from tfface.evaluation.subjects import Subjects
from tfface.fitting import Reliability, reliability
from tfface.reconstruction.loaded_model import LoadedModel
from tfface.reconstruction.predictor import Crop
from tfface.reconstruction.test_time_augmentation import with_test_time_augmentation

TOLD = (1, 3, 5, 8)
"""Numbers of photographs for which it is told what they explain."""


def measure(
    model: str, records: str, split: str, *, limit: int = 0, batch_size: int = 32, progress: bool = True
) -> Reliability:
    """Asks a model for every photograph, as `tfface.reconstruct` would.

    Args:
      model: Path of a single view model.
      records: Folder of records with its 3DMM.
      split: Of the records; none that it was trained on.
      limit: How many people; 0 for all.
      batch_size: Crops at a time.
      progress: Whether to show a progress bar.

    Raises:
      FileNotFoundError: If the model is not there.
      ValueError: If it is none of a single view, or of another 3DMM than the records, or nobody has two photographs.
    """
    loaded = LoadedModel(model, batch_size)
    if loaded.num_views != 1:
        raise ValueError(f"{model}: takes {loaded.num_views} photographs, expected a single view model")
    subjects = Subjects.open(records, split, batch_size=batch_size, limit=limit)
    if subjects.face_model.digest() != loaded.face_model.digest():
        raise ValueError(f"{records}: of another 3DMM than the model {model}")
    asked = with_test_time_augmentation(loaded)
    said: list[np.ndarray] = []
    doubted: list[np.ndarray] = []
    with tqdm(total=len(subjects.truth.subjects), desc="photographs", unit="person", disable=not progress) as bar:
        for batch in subjects.batches():
            images, cameras, there = (batch[key.key] for key in (schema.IMAGES, schema.INTRINSICS, schema.VIEW_MASK))
            images, there = np.asarray(images).astype(np.uint8), np.asarray(there) > 0
            crops = [[Crop(*pair)] for pair in zip(images[there], np.asarray(cameras)[there], strict=True)]
            estimates = np.full((*there.shape, loaded.face_model.num_modes), np.nan)
            answers = asked.predict(crops)
            estimates[there] = [one.coefficients for one in answers]
            said.append(estimates)
            deviations = [one.deviations[0] for one in answers if one.deviations is not None]
            if deviations:
                doubts = np.full(there.shape, np.nan)
                doubts[there] = reliability.doubts(deviations, loaded.size)
                doubted.append(doubts)
            bar.update(len(there))
    truth = loaded.face_model.encode(np.asarray(subjects.truth.vertices, np.float64))
    return Reliability.measured(truth, np.concatenate(said), doubts=np.concatenate(doubted) if doubted else None)


def explained(known: Reliability, views: int) -> tuple[float, float]:
    """Shares of the coefficients' variance that so many photographs' estimates explain: their mean, and joined.

    By the moments that were measured, as if people had as many photographs; mean over the levels of doubt.
    """
    mean, joined = np.mean([_explained(level, views) for level in known.levels], axis=0)
    return float(mean), float(joined)


def _explained(known: Reliability, views: int) -> tuple[float, float]:
    of_mean = known.together + (known.alone - known.together) / views
    spread = np.trace(known.truth)
    left = spread - 2 * np.trace(known.with_truth) + np.trace(of_mean)
    joined = np.trace(np.linalg.solve(of_mean, known.with_truth) @ known.with_truth.T)
    return float(1 - left / spread), float(joined / spread)
