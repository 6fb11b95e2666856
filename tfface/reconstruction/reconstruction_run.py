"""From photographs to files, for one person or for thousands: faces, crops, model, outputs.

Some threads read photographs and find faces while the model predicts, others write results: decoding, resampling and
TensorFlow all release Python's lock. Only a few people are in memory at a time.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tfface import files, starter
from tfface.fitting import reliability
from tfface.photographs import face_landmarker, photograph
from tfface.photographs.detector import Detector, shared_mtcnn
from tfface.photographs.lens import open_lens
from tfface.reconstruction import adjusting, irises, json_file, model_file, outputs, page, scale, scene
from tfface.reconstruction.adjusting import Adjuster
from tfface.reconstruction.assembly import Models, assemble
from tfface.reconstruction.cropping import ALL, CropSettings, PersonCrops, crop_faces
from tfface.reconstruction.input_files import Person, find_people
from tfface.reconstruction.options import MEDIAPIPE, OFF, ON, PAGE, REFINED, USDZ, ReconstructionOptions
from tfface.reconstruction.outputs import avatar_usd
from tfface.reconstruction.predictor import Predictor
from tfface.reconstruction.progress import FINDING, LOADING, PREDICTING, TEXTURE, Progress, Watcher
from tfface.reconstruction.progress import PAGE as PAGE_STEP
from tfface.reconstruction.reconstructed_face import Reconstruction
from tfface.reconstruction.refining import Refiner, Sizes
from tfface.reconstruction.reframing import reframed
from tfface.reconstruction.results import DONE, FAILED, Result, Results, key_of
from tfface.reconstruction.test_time_augmentation import with_test_time_augmentation

PAGE_FILE = "index.html"
_AHEAD = 2  # people a thread who are read before the model asks for them


@dataclasses.dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Attributes:
      results: Of every person, those of runs before it first.
      reused: How many of them are of runs before it.
      unfitted: Why nobody was adjusted to points, though that was wanted; empty otherwise.
    """

    results: tuple[Result, ...]
    reused: int
    unfitted: str = ""

    @property
    def done(self) -> int:
        """How many there are reconstructions of."""
        return sum(result.status == DONE for result in self.results)

    @property
    def sound(self) -> bool:
        """Whether every photograph of every person could be used."""
        return not any(result.faults for result in self.results)


def _to_stderr(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def reconstruct(
    options: ReconstructionOptions,
    *,
    progress: bool = True,
    tell: Callable[[str], None] = _to_stderr,
    models: Models | None = None,
    watcher: Watcher | None = None,
) -> Summary:
    """Reconstructs people from their photographs.

    A file that cannot be read or shows no face is reported in one line; the others are reconstructed.

    Args:
      options: What to do.
      progress: Whether to show a bar: of people, or of the steps for one person alone.
      tell: Takes each of those lines; by default they go to standard error.
      models: Those that the options name, if they are open already.
      watcher: Follows the steps for one person alone, and the faces that are found.

    Returns:
      The outcome for each person.

    Raises:
      FileNotFoundError: If there is no such model or 3DMM.
      ModuleNotFoundError: If the detector, what reads videos, or what writes USDZ is not installed.
      OSError: If the output cannot be written, or a server does not answer.
      ValueError: If an option is wrong, a model, a 3DMM or a file of intrinsics is none, or another run is writing to
        the output.
    """
    if options.model and options.server:
        raise ValueError("model: expected a model or a server, got both")
    if USDZ in options.outputs:
        avatar_usd.require()
    people = find_people(options.images, options.each, options.out)
    options = with_local_models(options)
    if options.cameras and (options.intrinsics or options.fov):
        raise ValueError("cameras: expected them, or intrinsics or fov, got both")
    lens = open_lens(options.intrinsics, options.fov)
    if options.camera_poses == REFINED and options.fit == OFF:
        raise ValueError("camera_poses: they are refined in the adjustment, expected fit=on, got off")
    given = scene.open_cameras(options.cameras, options.scene_unit, options.camera_poses)
    sizes = Sizes(given, scale.parse(options.scale))
    settings = _settings(options)
    keys = {person.name: key_of(person, settings) for person in people}
    output = Path(options.out)
    with contextlib.ExitStack() as stack:
        stack.enter_context(files.held(output, "out"))
        results = stack.enter_context(Results(output, keys))
        finished = {result.person for result in results.kept}
        todo = [person for person in people if person.name not in finished]
        made: list[Result] = []
        unfitted = ""
        bar = stack.enter_context(Progress(len(people), len(finished), progress, watcher))
        if todo:
            bar.begin(LOADING)
            # What cannot work fails before a model is loaded.
            if options.fit == ON and options.landmark_source == MEDIAPIPE:
                adjusting.find_bundle(options.landmark_source, options.face_landmarker)
            detector = open_detector(options.detector, options.face_landmarker)
            if models is None:
                models = open_models(options, stack)
            opened = open_adjuster(options.fit, options.landmark_source, options.face_landmarker, models.main)
            unfitted = opened if isinstance(opened, str) else ""
            adjuster = None
            if isinstance(opened, Adjuster):
                adjuster = dataclasses.replace(opened, camera_poses=options.camera_poses)
            how = CropSettings(
                models.main.size,
                detector,
                lens,
                options.face,
                options.max_pixels,
                options.frames,
                None if given is None else given.cameras,
                None if watcher is None else watcher.face,
                None if adjuster is None else adjuster.source,
            )
            stack.enter_context(photograph.without_pillows_limit())
            refiner = Refiner(adjuster, sizes)
            run = _Run(how, models, options, refiner, keys, bar, alone=len(people) == 1 and options.face != ALL)
            for result in run.results(todo):
                for fault in result.faults:
                    tell(fault)
                results.add(result)
                made.append(result)
    return Summary((*results.kept, *made), len(results.kept), unfitted)


def open_adjuster(fit: str, source: str, bundle: str, model: Predictor) -> Adjuster | str | None:
    """What adjusts to points, as options say: None if it is off, or why there is none; see `adjusting`."""
    return adjusting.open_adjuster(source, bundle, model) if fit == ON else None


def open_detector(named: str, bundle: str) -> Detector:
    """What finds faces, as options say.

    Raises:
      ValueError: If MediaPipe's model is not at hand.
      ModuleNotFoundError: If it is not installed.
    """
    if named != MEDIAPIPE:
        return shared_mtcnn()
    path = face_landmarker.find_bundle(bundle)
    if path is None:
        raise ValueError(
            f"detector: mediapipe needs its model; name it by --face_landmarker or {face_landmarker.BUNDLE_VARIABLE}"
        )
    return face_landmarker.LandmarkDetector(path)


def with_local_models(options: ReconstructionOptions) -> ReconstructionOptions:
    """ReconstructionOptions that name files of this machine; what they are not is fetched.

    With neither a model nor a server, the model of the package is taken.
    """
    if options.model == starter.NAME or not (options.model or options.server):
        options = dataclasses.replace(options, model=str(starter.path()))
    given = {name: getattr(options, name) for name in ("model", "single_view_model", "face_model")}
    paths: dict[str, Any] = {name: model_file.local(path, name) for name, path in given.items() if path}
    return dataclasses.replace(options, **paths)


def _settings(options: ReconstructionOptions) -> dict[str, Any]:
    """What a result depends on beside the person's own files."""
    given = dataclasses.asdict(options)
    for name in ("images", "out", "batch_size", "workers", "each"):
        del given[name]
    named = {name: given[name] for name in ("model", "face_model", "single_view_model", "intrinsics") if given[name]}
    for name, path in named.items():
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{name}: no such file: {path}")
    given["scene"] = scene.stamps(options.cameras)
    return {**given, "files": [[os.path.getsize(path), os.stat(path).st_mtime_ns] for path in named.values()]}


def open_models(options: ReconstructionOptions, stack: contextlib.ExitStack) -> Models:
    """Opens the models that options name; what has to be closed is left to the stack.

    Raises:
      FileNotFoundError: If there is no such model or 3DMM.
      ValueError: If one is none.
      OSError: If a server does not answer.
    """
    from tfface.reconstruction.loaded_model import LoadedModel

    def opened(path: str) -> Predictor:
        return with_test_time_augmentation(LoadedModel(path, options.batch_size))

    main: Predictor
    if options.server:
        from tfface.reconstruction.served_model import ServedModel

        if not options.face_model:
            raise ValueError("face_model: a server does not send its 3DMM; name face_model.h5 of the model's records")
        served = ServedModel(options.server, options.model_name, options.face_model, options.batch_size)
        main = with_test_time_augmentation(stack.enter_context(served))
    else:
        main = opened(str(options.model))
    alone = options.single_view_model or (str(options.face_model if options.server else options.model))
    known = reliability.beside(alone, main.face_model.num_modes)
    return Models(main, opened(options.single_view_model) if options.single_view_model else None, known)


class _Run:
    """People under way: read by threads, predicted here, written by threads."""

    def __init__(
        self,
        how: CropSettings,
        models: Models,
        options: ReconstructionOptions,
        refiner: Refiner,
        keys: Mapping[str, str],
        progress: Progress,
        *,
        alone: bool,
    ):
        self._how, self._models, self._options, self._refiner = how, models, options, refiner
        self._keys, self._progress, self._alone = keys, progress, alone
        self._workers = options.workers or len(os.sched_getaffinity(0))
        # For one person; several keep the cores at work as they are.
        self._inner_workers = self._workers if len(keys) == 1 else 1

    def results(self, people: Sequence[Person]) -> Iterator[Result]:
        """The outcome for each of the people, in their order."""
        workers = self._workers
        pool = concurrent.futures.ThreadPoolExecutor(workers)
        try:
            waiting = iter(people)
            reading: deque[tuple[Person, concurrent.futures.Future[list[PersonCrops]]]] = deque()
            writing: deque[tuple[bool, concurrent.futures.Future[Result]]] = deque()
            self._progress.begin(FINDING)
            self._read_ahead(pool, waiting, reading, workers)
            while reading:
                ready = [reading.popleft()]
                while reading and reading[0][1].done() and len(ready) < self._options.batch_size:
                    ready.append(reading.popleft())
                seen = [(person, future.result()) for person, future in ready]
                self._read_ahead(pool, waiting, reading, workers)
                self._progress.begin(PREDICTING)
                for last, person, crops, made in self._predicted(seen):
                    writing.append((last, pool.submit(self._finish, person, crops, made)))
                while writing and (writing[0][1].done() or len(writing) > _AHEAD * workers):
                    yield self._next(writing)
            while writing:
                yield self._next(writing)
        finally:
            pool.shutdown(cancel_futures=True)

    def _read_ahead(
        self,
        pool: concurrent.futures.Executor,
        waiting: Iterator[Person],
        reading: deque[tuple[Person, concurrent.futures.Future[list[PersonCrops]]]],
        workers: int,
    ) -> None:
        while len(reading) < _AHEAD * workers and (person := next(waiting, None)) is not None:
            reading.append((person, pool.submit(crop_faces, person, self._how, self._inner_workers)))

    def _predicted(
        self, seen: Sequence[tuple[Person, list[PersonCrops]]]
    ) -> list[tuple[bool, Person, PersonCrops, Reconstruction | None]]:
        """Whether it is the last of its person, the person, what was seen, and the reconstruction if there is one."""
        people = [one for _, of_person in seen for one in of_person if one.found]
        usable = reframed(people, self._models) if self._options.reframe == ON else people
        framed, assembled = iter(usable), iter(assemble(usable, self._models, self._options.average))
        flat = [
            (one is of_person[-1], person, next(framed) if one.found else one)
            for person, of_person in seen
            for one in of_person
        ]
        predicted: list[tuple[bool, Person, PersonCrops, Reconstruction | None]] = []
        for last, person, one in flat:
            made = next(assembled) if one.found else None
            if isinstance(made, Reconstruction):
                try:
                    made = self._refiner.refined(made, one)
                except ValueError as error:
                    made = error
                else:
                    faces = [(found.photograph.name, found.face) for found in one.found]
                    made = made if made.scale is not None else made.scaled(irises.size(made, faces))
            if isinstance(made, ValueError):
                one, made = dataclasses.replace(one, faults=(*one.faults, str(made))), None
            predicted.append((last, person, one, made))
        return predicted

    def _finish(self, person: Person, seen: PersonCrops, made: Reconstruction | None) -> Result:
        """Writes a reconstruction."""
        key = self._keys[person.name]
        if made is None:
            return Result(seen.name, person.name, FAILED, "", (), seen.faults, key)
        below = "" if self._alone else made.name
        folder, wanted = Path(self._options.out) / below, self._options.outputs
        gains = None
        try:
            if wanted:
                self._progress.begin(TEXTURE)
                size, pose = self._options.texture_size, self._options.pose
                workers = self._inner_workers
                made_files = outputs.write(made, folder, wanted, texture_size=size, pose=pose, workers=workers)
                gains = made_files.face.gains
                if PAGE in wanted:
                    self._progress.begin(PAGE_STEP)
                    page.write(folder / PAGE_FILE, made, made_files.face, parts=made_files.parts)
        except ValueError as error:
            faults = (*seen.faults, f"{made.name}: {error}")
            return Result(made.name, person.name, FAILED, below, (), faults, key)
        if made.scene is not None:
            scene.write(made, folder)
        # Last, as it says that the folder is whole.
        json_file.write(made, folder, {one.photograph.name: one.intrinsics_from for one in seen.found}, gains)
        names = tuple(view.name for view in made.views)
        return Result(made.name, person.name, DONE, below, names, seen.faults, key)

    def _next(self, writing: deque[tuple[bool, concurrent.futures.Future[Result]]]) -> Result:
        last, future = writing.popleft()
        result = future.result()
        if last:
            self._progress.finish_person()
        return result
