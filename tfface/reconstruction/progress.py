"""How far a reconstruction is: a bar of people or, for one person alone, of the steps."""

from types import TracebackType
from typing import Protocol

from tqdm import tqdm

from tfface.reconstruction.cropping import CroppedFace

LOADING, FINDING, PREDICTING, TEXTURE, PAGE = (
    "loading the model",
    "finding faces",
    "predicting shape and poses",
    "texture and pictures",
    "page",
)
STEPS = (LOADING, FINDING, PREDICTING, TEXTURE, PAGE)


class Watcher(Protocol):
    """Who follows the reconstruction of one person, from whichever thread something happens in."""

    def step(self, name: str) -> None:
        """One of `STEPS` begins."""
        ...

    def face(self, found: CroppedFace) -> None:
        """A face was found in a photograph."""
        ...


class Progress:
    """The bar; a context manager.

    Args:
      people: How many there are.
      finished: How many of them were finished by a run before.
      shown: Whether there is a bar at all.
      watcher: Who is told of the steps too, for one person alone.
    """

    def __init__(self, people: int, finished: int, shown: bool, watcher: Watcher | None = None):
        self._watcher = watcher
        self._alone = people == 1
        total, unit = (len(STEPS), "step") if self._alone else (people, "person")
        self._bar = tqdm(total=total, initial=finished, unit=unit, disable=not shown or finished == people)

    def begin(self, step: str) -> None:
        """Says which of the steps begins; nothing where there are several people, who are at different steps."""
        if self._alone:
            self._bar.update(max(STEPS.index(step) - self._bar.n, 0))
            self._bar.set_description(step)
            if self._watcher is not None:
                self._watcher.step(step)

    def finish_person(self) -> None:
        """Counts a person."""
        self._bar.update(len(STEPS) - self._bar.n if self._alone else 1)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
