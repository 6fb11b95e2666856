"""Counters and histograms under TensorFlow Serving's names, kept and printed by prometheus-client."""

import re
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

PATH = "/monitoring/prometheus/metrics"
MICROSECONDS = 1e6
"""In a second: all histograms count microseconds."""

_BOUNDS = tuple(10 * 1.8**power for power in range(33))  # microseconds; TensorFlow Serving's
_COUNTER = re.compile(rb"(?m)^((?:# (?:HELP|TYPE) )?:tensorflow:[a-z_:]+)_total(?=[ {])")


class Metrics:
    """All that a server measures."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.request_count = Counter(
            ":tensorflow:serving:request_count",
            "The total number of requests.",
            ["model_name", "status"],
            registry=self._registry,
        )
        self.request_latency = self._histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            ["model_name", "API", "entrypoint", "status"],
        )
        self.runtime_latency = self._histogram(
            ":tensorflow:serving:runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ["model_name", "API", "runtime"],
        )
        self.queuing_latency = self._histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing.",
            ["model_name"],
        )
        self.warmup_latency = self._histogram(
            ":tensorflow:serving:model_warmup_latency",
            "Distribution of wall time (in microseconds) for warming up the model.",
            ["model_path", "status"],
        )
        self.load_attempts = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was requested to be loaded.",
            ["model_path", "status"],
            registry=self._registry,
        )
        self.load_latency = self._histogram(
            ":tensorflow:cc:saved_model:load_latency",
            "Distribution of wall time (in microseconds) for loading a SavedModel.",
            ["model_path"],
        )

    def _histogram(self, name: str, doc: str, labels: list[str]) -> Histogram:
        return Histogram(name, doc, labels, buckets=_BOUNDS, registry=self._registry)

    def collect(self) -> Iterator[Metric]:
        """Everything measured, without the times of creation, which TensorFlow Serving does not print."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric

    def page(self) -> bytes:
        """All of it in Prometheus' text format, version 0.0.4.

        prometheus-client ends the name of every counter in ``_total``, TensorFlow Serving's names do not.
        """
        return _COUNTER.sub(rb"\1", generate_latest(self))
