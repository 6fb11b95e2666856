"""What a model says of single photographs with marked landmarks, kept in a file for each."""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files, schema
from tfface.evaluation.annotations import Annotation
from tfface.face import MorphableModel
from tfface.geometry import camera
from tfface.photographs import photograph
from tfface.photographs.detector import DetectedFace, find_faces
from tfface.photographs.photograph import Photograph
from tfface.reconstruction import cropping
from tfface.reconstruction.adjusting import Adjuster
from tfface.reconstruction.assembly import Models, assemble
from tfface.reconstruction.cropping import CropSettings, PersonCrops
from tfface.reconstruction.reconstructed_face import Reconstruction
from tfface.reconstruction.reframing import reframed

Array = npt.NDArray[np.floating]

FORMAT = 8
"""Raised whenever what a file holds, or how it is made, changes, so that no old one is taken over."""
_LEAST_OVERLAP = 0.1
"""Intersection over union with the box of the marked points, from which a found face is theirs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predicted:
    """What a model says of a photograph, in the pixels of the upright photograph.

    Attributes:
      landmarks_px: [68, 2], the projected landmarks of the posed shape.
      marked_px: [68, 2], the marked ones; [0, 2] where nobody marked any.
      coefficients: [K].
      expression: [E]; [0] of a model without a head of expressions.
      quaternion: [4], cam_from_model.
      translation: [3], mm.
      intrinsics: [3, 3].
    """

    landmarks_px: Array
    marked_px: Array
    coefficients: Array
    expression: Array
    quaternion: Array
    translation: Array
    intrinsics: Array

    @classmethod
    def of(cls, person: Reconstruction, marked_px: Array) -> "Predicted":
        """What a reconstruction from one photograph says."""
        (view,) = person.views
        pose = view.quaternion, view.translation, view.intrinsics
        places = person.posed(0)[[person.face_model.landmarks[name] for name in schema.IBUG68]]
        px = camera.project_array(np.asarray(places, np.float64), *pose)
        expression = np.zeros(0, np.float32) if person.expressions is None else person.expressions[0]
        return cls(px, marked_px, person.coefficients, expression, *pose)

    def posed(self, face_model: MorphableModel) -> Array:
        """[P, 3] mm, the mesh in the photograph, of the model's 3DMM."""
        neutral = face_model.decode(np.asarray(self.coefficients, np.float32))
        moving = face_model.expressions
        if not len(self.expression) or moving is None:
            return neutral
        return neutral + moving.displacement(np.asarray(self.expression, np.float32))


class Kept:
    """The files of what a model said, one a photograph."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        """Takes the folder of a model.

        Args:
          folder: Of the files.
          settings: All that predictions depend on beside the photograph and its landmarks, of JSON types.
        """
        self._folder = folder
        self._settings = {"format": FORMAT, "conventions": schema.CONVENTIONS_VERSION, **settings}

    def load(self, name: str, path: Path, annotation: Annotation | None) -> Predicted | str | None:
        """What was said of a photograph as it is now, or why nothing could be; None if nobody asked.

        Args:
          name: Of the photograph.
          path: Where it is.
          annotation: Its landmarks; None if there are none.
        """
        held = files.load_keyed(self._path(name), self._key(name, path, annotation))
        if held is None:
            return None
        return str(held["fault"]) if "fault" in held else Predicted(**held)

    def save(self, name: str, path: Path, annotation: Annotation | None, found: Predicted | str) -> None:
        """Keeps what was said of a photograph; arguments as of `load`."""
        arrays = {"fault": np.array(found)} if isinstance(found, str) else vars(found)
        files.save_keyed(self._path(name), self._key(name, path, annotation), arrays)

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        return self._folder / f"{files.name_of(Path(name).stem)[:40]}-{digest}.npz"

    def _key(self, name: str, path: Path, annotation: Annotation | None) -> str:
        stamp = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        points = None if annotation is None else files.digest_of([annotation.points])
        return json.dumps([name, stamp, points, self._settings], sort_keys=True)


def predict(
    photographs: Mapping[str, Path],
    annotations: Mapping[str, Annotation],
    models: Mapping[str, Models],
    how: CropSettings,
    batch_size: int,
    adjusters: Mapping[str, Adjuster],
    *,
    reframe: bool,
) -> Iterator[tuple[str, dict[str, Predicted | str]]]:
    """Lets models predict from single photographs, each of a person of its own.

    Of several faces, that one is taken whose box is nearest to that of the marked points, by intersection over union;
    without marked points, the largest.

    Args:
      photographs: Paths by name.
      annotations: By name of the photograph.
      models: By name, of single photographs.
      how: How faces are found and cropped; each model's crops have its own size.
      batch_size: Photographs at a time.
      adjusters: By name of the model, what adjusts its predictions to points.
      reframe: Whether crops are framed anew by what the model sees in them, see `reframing`.

    Yields:
      Each photograph's name, and by model what it says, or why it cannot say anything.
    """
    names = list(photographs)
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for begin in range(0, len(names), batch_size):
            batch = names[begin : begin + batch_size]
            seen = list(pool.map(lambda name: _seen(photographs[name], annotations.get(name), how), batch))
            by_model = {
                key: _by_model(seen, own, how, adjusters.get(key), reframe=reframe) for key, own in models.items()
            }
            for place, name in enumerate(batch):
                yield name, {key: said[place] for key, said in by_model.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """A photograph, the face in question and the marked points, upright."""

    shown: Photograph
    face: DetectedFace
    marked_px: Array


def _seen(path: Path, annotation: Annotation | None, how: CropSettings) -> _Seen | str:
    """What a photograph shows; or why it cannot be used."""
    try:
        shown = photograph.read(path, how.max_pixels)
        marked = np.zeros((0, 2)) if annotation is None else annotation.upright(shown)
        return _Seen(shown, _face(find_faces(shown.pixels, how.detector), marked), marked)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    except MemoryError:
        return "does not fit into memory"


def _face(faces: Sequence[DetectedFace], marked: Array) -> DetectedFace:
    if not faces:
        raise ValueError("no face found")
    if not len(marked):
        return max(faces, key=lambda face: face.area)
    box = np.concatenate((marked.min(axis=0), marked.max(axis=0)))
    overlaps = [_overlap(face.box, box) for face in faces]
    if max(overlaps) < _LEAST_OVERLAP:
        raise ValueError(f"no face found where the landmarks are, but {len(faces)} elsewhere")
    return faces[int(np.argmax(overlaps))]


def _overlap(one: Array, other: Array) -> float:
    """Intersection over union of boxes [4], left, top, right, bottom."""

    def area(box: Array) -> float:
        return float(np.prod(np.maximum(box[2:] - box[:2], 0)))

    shared = area(np.concatenate((np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:]))))
    return shared / (area(one) + area(other) - shared)


def _by_model(
    seen: Sequence[_Seen | str], models: Models, how: CropSettings, adjuster: Adjuster | None, *, reframe: bool
) -> list[Predicted | str]:
    """What a model says of each photograph."""
    settings = dataclasses.replace(how, size=models.main.size, source=None if adjuster is None else adjuster.source)
    said: list[Predicted | str] = ["" if isinstance(one, _Seen) else one for one in seen]
    people, marked, places = [], [], []
    for place, one in enumerate(seen):
        if isinstance(one, _Seen):
            try:
                found = cropping.cropped(one.shown, one.face, settings)
            except ValueError as error:
                said[place] = str(error).removeprefix(f"{one.shown.name}: ")
                continue
            people.append(PersonCrops(one.shown.name, (found,), ()))
            marked.append(one.marked_px)
            places.append(place)
    if reframe:
        people = reframed(people, models)
    made = assemble(people, models, 1)
    for place, crops, marked_px, person in zip(places, people, marked, made, strict=True):
        if adjuster is not None and isinstance(person, Reconstruction):
            person = adjuster.adjusted(person, crops)
        said[place] = Predicted.of(person, marked_px) if isinstance(person, Reconstruction) else str(person)
    return said
