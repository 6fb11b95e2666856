"""What answers for crops with shapes and poses, wherever the model runs."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Crop:
    """What a model sees of a face: the picture [S, S, 3] uint8, RGB, of any size, and its K [3, 3]."""

    pixels: npt.NDArray[np.uint8]
    intrinsics: npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """A model's answer to one set of n crops, n at most N.

    Attributes:
      coefficients: [K], of `schema.COEFFICIENTS`.
      vertices: [P, 3] mm, of `schema.VERTICES`.
      quaternions: [n, 4], of `schema.QUATERNIONS`, in the crops' cameras.
      translations: [n, 3] mm, of `schema.TRANSLATIONS`, in the crops' cameras.
      expressions: [n, E], of `schema.EXPRESSIONS`; None of a model that predicts none.
      points: [n, Q, 2] px of crops of the model's size, of `schema.POINTS`; None of a model that finds none.
      deviations: [n, Q] px, of `schema.DEVIATIONS`; likewise.
    """

    coefficients: Array
    vertices: Array
    quaternions: Array
    translations: Array
    expressions: Array | None = None
    points: Array | None = None
    deviations: Array | None = None


_OF_VIEWS = (schema.QUATERNIONS, schema.TRANSLATIONS, schema.EXPRESSIONS, schema.POINTS, schema.DEVIATIONS)


class Predictor(Protocol):
    """A model, wherever it runs.

    Attributes:
      num_views: N, the crops that it takes.
      size: Side of the crops that it sees, px.
      takes_fewer: Whether it takes fewer than N crops.
      face_model: Its 3DMM.
      surface: Where the points that it finds lie on the 3DMM; None if it finds none.
    """

    num_views: int
    size: int
    takes_fewer: bool
    face_model: MorphableModel
    surface: SurfacePoints | None

    def predict(self, sets: Sequence[Sequence[Crop]]) -> list[Prediction]:
        """Predicts each set of crops.

        Raises:
          ValueError: If a set is empty or larger than N, or smaller and the model does not take that, or a prediction
            is not finite.
          OSError: If a server does not answer, or refuses.
        """
        ...


def batches(sets: Sequence[Sequence[Crop]], size: int, predictor: Predictor) -> Iterator[Sequence[Sequence[Crop]]]:
    """Sets of crops, at most `size` at a time.

    Raises:
      ValueError: If a set is not one that the predictor takes.
    """
    least = 1 if predictor.takes_fewer else predictor.num_views
    for crops in sets:
        if not least <= len(crops) <= predictor.num_views:
            raise ValueError(f"crops: expected {least} to {predictor.num_views} of a person, got {len(crops)}")
    for begin in range(0, len(sets), size):
        yield sets[begin : begin + size]


def by_view(model: Predictor, people: Sequence[Sequence[Crop]]) -> list[list[tuple[Prediction, int]]]:
    """What a model says of every crop: an answer, and which of its views the crop is.

    Crops are shown to the model in the order given, N at a time; the last ones of a person are filled up with the
    first, as a view's pose does not depend on the others.
    """
    count = model.num_views
    sets, sizes = [], []
    for crops in people:
        for begin in range(0, len(crops), count):
            part = list(crops[begin : begin + count])
            sizes.append(len(part))
            sets.append(part if model.takes_fewer else (part + list(crops) * count)[:count])
    answers = iter(zip(model.predict(sets), sizes, strict=True))
    found: list[list[tuple[Prediction, int]]] = []
    for crops in people:
        of_person: list[tuple[Prediction, int]] = []
        while len(of_person) < len(crops):
            answer, size = next(answers)
            of_person += [(answer, place) for place in range(size)]
        found.append(of_person)
    return found


def unseen(batch: int, views: int) -> tuple[Array, Array]:
    """Inputs for views that are not there.

    Returns:
      Intrinsics [B, N, 3, 3], with which nothing divides by zero, and a mask [B, N] that leaves the views out.
    """
    return np.tile(np.eye(3, dtype=np.float32), (batch, views, 1, 1)), np.zeros((batch, views), np.float32)


def predictions(batch: Sequence[Sequence[Crop]], outputs: Mapping[str, npt.NDArray[Any]]) -> list[Prediction]:
    """A model's outputs, `schema.MODEL_OUTPUTS` by key, [B, ...] each, as a prediction for each of B sets of crops.

    Raises:
      ValueError: If one is not finite.
    """
    of_person = [outputs[field.key] for field in (schema.COEFFICIENTS, schema.VERTICES)]
    of_views = [outputs.get(field.key) for field in _OF_VIEWS]
    found = []
    for row, crops in enumerate(batch):
        seen = (None if output is None else output[row, : len(crops)] for output in of_views)
        one = Prediction(*(output[row] for output in of_person), *seen)
        if not all(np.isfinite(value).all() for value in vars(one).values() if value is not None):
            raise ValueError("model: a prediction is not finite")
        found.append(one)
    return found
