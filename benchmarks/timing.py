"""Measuring several things in turn, so that what else happens on the machine weighs on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from table import Ratio


class Spent(NamedTuple):
    """What one call took.

    Attributes:
      wall: seconds by the clock.
      processor: seconds of all cores, which other programs on the machine change little.
    """

    wall: float
    processor: float


Call = Callable[[], object]


def spent(call: Call) -> Spent:
    """Calls once."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return Spent(time.perf_counter() - wall, time.process_time() - processor)


class Rounds:
    """What each of several calls took, round by round."""

    def __init__(self, times: Mapping[str, list[Spent]]):
        self._times = times

    def wall(self, name: str) -> list[float]:
        """Seconds by the clock, of each round."""
        return [taken.wall for taken in self._times[name]]

    def median(self, name: str) -> float:
        """Seconds by the clock."""
        return statistics.median(self.wall(name))

    def processor(self, name: str) -> float:
        """Median seconds of the processor."""
        return statistics.median(taken.processor for taken in self._times[name])

    def ratio(self, name: str, other: str, scale: float = 1.0) -> Ratio:
        """Time of one over time of another, `scale` times."""
        return Ratio.of([scale * seconds for seconds in self.wall(name)], self.wall(other))

    def processor_ratio(self, name: str, other: str, scale: float = 1.0) -> Ratio:
        """The same of the processor's time."""
        return Ratio.of(
            [scale * taken.processor for taken in self._times[name]], [taken.processor for taken in self._times[other]]
        )


def in_turn(calls: Mapping[str, Call | Callable[[], Spent]], rounds: int, warm_up: int = 2) -> Rounds:
    """Calls each in turn, A B C A B C ...

    Args:
      calls: by name. One that returns `Spent` has measured itself, because it ran in another process.
      rounds: that count.
      warm_up: rounds before them, which do not.
    """
    times: dict[str, list[Spent]] = {name: [] for name in calls}
    for number in range(warm_up + rounds):
        for name, call in calls.items():
            results: list[object] = []
            taken = spent(lambda call=call, results=results: results.append(call()))
            if number >= warm_up:
                times[name].append(results[0] if isinstance(results[0], Spent) else taken)
    return Rounds(times)
