"""Reconstructs the people of the page, one after the other, by a model that stays open."""

import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import io
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

import numpy as np
from absl import logging
from PIL import Image

from tfface import files
from tfface.reconstruction import json_file, reconstruction_run, results
from tfface.reconstruction.assembly import Models
from tfface.reconstruction.cropping import CroppedFace
from tfface.reconstruction.options import MESH, PAGE, USDZ, ReconstructionOptions
from tfface.reconstruction.progress import FINDING, LOADING, PREDICTING, STEPS, TEXTURE
from tfface.reconstruction.progress import PAGE as PAGE_STEP
from tfface.studio.gallery import DONE, FAILED, WORKING, Gallery, without_folders
from tfface.studio.options import AppOptions

FILES = ("face.glb", "face.usdz", "face.obj", "face.mtl", "face.png", json_file.FILE, reconstruction_run.PAGE_FILE)
"""What the page may show or offer."""

THUMBNAIL = 480
"""px, the longer side of the small pictures of photographs."""
_QUALITY = 85
_FIRST_GUESS = {LOADING: 12.0, FINDING: 1.0, PREDICTING: 4.0, TEXTURE: 8.0, PAGE_STEP: 3.0}
"""Seconds of each step, `FINDING` a photograph, before any was measured."""
_MEMORY = 0.5  # how much of an estimate the newest measurement is


class Estimates:
    """How long the steps take here, learnt from those that were taken."""

    def __init__(self) -> None:
        self._seconds = dict(_FIRST_GUESS)

    def of(self, step: str, photographs: int) -> float:
        """Seconds of a step for so many photographs."""
        return self._seconds[step] * (photographs if step == FINDING else 1)

    def learn(self, step: str, photographs: int, seconds: float) -> None:
        """Takes what a step took into account."""
        each = seconds / (photographs if step == FINDING else 1)
        self._seconds[step] += _MEMORY * (each - self._seconds[step])


class Worker:
    """A thread that works through a queue of people, and one that opens the model meanwhile."""

    def __init__(self, gallery: Gallery, options: AppOptions, failed: Callable[[], None]):
        """Opens nothing yet; `start` does, as that takes seconds.

        Args:
          gallery: The people.
          options: The model, and what is written.
          failed: Called by another thread if the model cannot be opened; `models` then says why.

        Raises:
          FileNotFoundError: If there is no such model.
          ValueError: If an option of the model is wrong.
        """
        self._gallery = gallery
        outputs = (MESH, PAGE, USDZ) if importlib.util.find_spec("pxr") else (MESH, PAGE)
        self._options = reconstruction_run.with_local_models(
            ReconstructionOptions(
                ("",),
                "",
                model=options.model,
                single_view_model=options.single_view_model,
                outputs=outputs,
                texture_size=options.texture_size,
            )
        )
        for path in filter(None, (self._options.model, self._options.single_view_model)):
            if not Path(path).is_file():
                raise FileNotFoundError(f"model: no such file: {path}")
        self._estimates = Estimates()
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._failed = failed
        self.models: concurrent.futures.Future[Models] = concurrent.futures.Future()
        """Those that are opened, or why they cannot be."""
        self._stack = contextlib.ExitStack()
        self._opening = threading.Thread(target=self._open, name="opening", daemon=True)
        self._thread = threading.Thread(target=self._work, name="reconstruction", daemon=True)

    def start(self) -> None:
        """Begins to work: opens the model, for whoever comes first."""
        self._opening.start()
        self._thread.start()

    def put(self, person_id: str) -> None:
        """Lets a person wait for their turn."""
        self._queue.put(person_id)

    def stop(self) -> None:
        """Ends after the person under way."""
        self._queue.put(None)
        self._thread.join()

    def _open(self) -> None:
        try:
            self.models.set_result(reconstruction_run.open_models(self._options, self._stack))
        except Exception as error:  # noqa: BLE001 - whatever it is, `models` keeps it
            self.models.set_exception(error)
            self._failed()

    def _work(self) -> None:
        with self._stack:
            while (person_id := self._queue.get()) is not None:
                if self._gallery.has(person_id):
                    self._reconstruct(person_id)

    def _reconstruct(self, person_id: str) -> None:
        dropped = self._gallery.dropped(person_id)
        follower = _Follower(self._gallery, person_id, len(dropped), self._estimates)
        self._gallery.change(person_id, status=WORKING)
        root = dropped[0].parent
        options = dataclasses.replace(
            self._options,
            images=tuple(map(str, dropped)),
            out=str(self._gallery.result(person_id)),
        )
        try:
            follower.step(LOADING)
            summary = reconstruction_run.reconstruct(
                options, progress=False, tell=lambda _: None, models=self.models.result(), watcher=follower
            )
            (result,) = summary.results
            faults = [fault.replace(f"{root}/", "") for fault in result.faults]
            done = result.status == results.DONE
        except Exception as error:  # noqa: BLE001 - whatever it is, the next person has their turn; this one is told
            logging.exception("a reconstruction failed")
            faults, done = [f"{type(error).__name__}: {error}".replace(f"{root}/", "")], False
        follower.end()
        if done:
            # Photographs are read side by side: faces come as they are found, and are shown at last as dropped.
            order = {path.name: place for place, path in enumerate(dropped)}
            faces = sorted(follower.faces, key=lambda face: _place(str(face["name"]), order))
            self._finish(person_id, root, faults, faces)
        else:
            self._gallery.change(person_id, status=FAILED, step="", share=1.0, seconds_left=None, faults=faults)
        self._gallery.finished(person_id)

    def _finish(self, person_id: str, root: Path, faults: list[str], faces: list[dict[str, object]]) -> None:
        result = self._gallery.result(person_id)
        without_folders(result / json_file.FILE, root)
        shown = {shot["image"]: shot for shot in files.read_json(result / json_file.FILE)["photographs"]}
        for face in faces:
            landmarks = shown.get(face["name"], {}).get("landmarks_px", {})
            if not face["landmarks"]:
                face["landmarks"] = np.round(list(landmarks.values()), 1).tolist()
        found = [name for name in FILES if (result / name).is_file()]
        self._gallery.change(
            person_id, status=DONE, step="", share=1.0, seconds_left=0.0, faces=faces, faults=faults, files=found
        )


def _place(name: str, order: Mapping[str, int]) -> int:
    """Of a photograph, or of a video's frame, whose name begins with the file's, among the files that were dropped."""
    return max(((len(file), place) for file, place in order.items() if name.startswith(file)), default=(0, len(order)))[
        1
    ]


class _Follower:
    """Tells the gallery how far a person is; a `Watcher`."""

    def __init__(self, gallery: Gallery, person_id: str, photographs: int, estimates: Estimates):
        self._gallery, self._person_id, self._photographs = gallery, person_id, photographs
        self._estimates = estimates
        self._lock = threading.Lock()
        self._step, self._since = "", 0.0
        self.faces: list[dict[str, object]] = []

    def step(self, name: str) -> None:
        """See `Watcher`."""
        with self._lock:
            if STEPS.index(name) <= (STEPS.index(self._step) if self._step else -1):
                return
            self._learn()
            self._step, self._since = name, time.monotonic()
            seconds = [self._estimates.of(one, self._photographs) for one in STEPS]
            left = sum(seconds[STEPS.index(name) :])
        self._gallery.change(self._person_id, step=name, share=1 - left / sum(seconds), seconds_left=left)

    def face(self, found: CroppedFace) -> None:
        """See `Watcher`."""
        pixels = found.photograph.pixels
        thumbnail = Image.fromarray(pixels)
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
        content = io.BytesIO()
        thumbnail.save(content, "JPEG", quality=_QUALITY)
        with self._lock:
            number = len(self.faces)
            face: dict[str, object] = {
                "name": PurePath(found.photograph.name).name,
                "thumbnail": number,
                "width": pixels.shape[1],
                "height": pixels.shape[0],
                "box": np.round(found.face.box, 1).tolist(),
                "points": np.round(found.face.points, 1).tolist(),
                "landmarks": [] if found.face.landmarks is None else np.round(found.face.landmarks, 1).tolist(),
            }
            files.write_bytes(self._gallery.result(self._person_id) / f"thumbnail-{number}.jpg", content.getvalue())
            self.faces.append(face)
            self._gallery.add_face(self._person_id, face)

    def end(self) -> None:
        """Nothing follows."""
        with self._lock:
            self._learn()

    def _learn(self) -> None:
        if self._step:
            self._estimates.learn(self._step, self._photographs, time.monotonic() - self._since)
