"""Counters and histograms under TensorFlow Serving's names, in Prometheus' text format."""

import bisect
import threading
from collections.abc import Iterator, Sequence

PATH = "/monitoring/prometheus/metrics"
_BOUNDS = tuple(10 * 1.8**power for power in range(33))  # microseconds; TensorFlow Serving's


class Counter:
    """A number that only grows, one for each combination of its labels.

    Args:
      name: As Prometheus shows it.
      doc: One line.
      labels: Names of the labels.
    """

    kind = "counter"

    def __init__(self, name: str, doc: str, labels: Sequence[str]):
        self.name, self.doc, self.labels = name, doc, tuple(labels)
        self._values: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: int = 1) -> None:
        """Counts."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount

    def samples(self) -> Iterator[str]:
        """Its lines."""
        with self._lock:
            values = dict(self._values)
        for labels, value in sorted(values.items()):
            yield f"{self.name}{_labels(self.labels, labels)} {value}"


class Histogram:
    """How values, in microseconds, are distributed, for each combination of its labels.

    Args:
      name: As Prometheus shows it.
      doc: One line.
      labels: Names of the labels.
    """

    kind = "histogram"

    def __init__(self, name: str, doc: str, labels: Sequence[str]):
        self.name, self.doc, self.labels = name, doc, tuple(labels)
        self._values: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        self._lock = threading.Lock()

    def observe(self, seconds: float, *labels: str) -> None:
        """Counts one value, given in seconds."""
        microseconds = seconds * 1e6
        with self._lock:
            counts, total = self._values.setdefault(labels, ([0] * (len(_BOUNDS) + 1), [0.0]))
            counts[bisect.bisect_left(_BOUNDS, microseconds)] += 1
            total[0] += microseconds

    def samples(self) -> Iterator[str]:
        """Its lines."""
        with self._lock:
            values = {labels: (list(counts), total[0]) for labels, (counts, total) in self._values.items()}
        names = (*self.labels, "le")
        for labels, (counts, total) in sorted(values.items()):
            reached = 0
            for bound, count in zip((*(f"{bound:.6g}" for bound in _BOUNDS), "+Inf"), counts, strict=True):
                reached += count
                yield f"{self.name}_bucket{_labels(names, (*labels, bound))} {reached}"
            yield f"{self.name}_sum{_labels(self.labels, labels)} {total:.6g}"
            yield f"{self.name}_count{_labels(self.labels, labels)} {reached}"


class Metrics:
    """All that a server measures."""

    def __init__(self) -> None:
        self.request_count = Counter(
            ":tensorflow:serving:request_count", "The total number of requests.", ["model_name", "status"]
        )
        self.request_latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            ["model_name", "API", "entrypoint", "status"],
        )
        self.runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ["model_name", "API", "runtime"],
        )
        self.queuing_latency = Histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing.",
            ["model_name"],
        )
        self.warmup_latency = Histogram(
            ":tensorflow:serving:model_warmup_latency",
            "Distribution of wall time (in microseconds) for warming up the model.",
            ["model_path", "status"],
        )
        self.load_attempts = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was requested to be loaded.",
            ["model_path", "status"],
        )
        self.load_latency = Histogram(
            ":tensorflow:cc:saved_model:load_latency",
            "Distribution of wall time (in microseconds) for loading a SavedModel.",
            ["model_path"],
        )

    def page(self) -> str:
        """All of it in Prometheus' text format, version 0.0.4."""
        lines = []
        for metric in vars(self).values():
            lines.append(f"# HELP {metric.name} {metric.doc}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines.extend(metric.samples())
        return "\n".join(lines) + "\n"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = (f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
