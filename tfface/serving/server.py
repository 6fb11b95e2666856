"""The embedded server: TensorFlow Serving's protocol without TensorFlow Serving.

For a laptop, for tests and for small services. gRPC (PredictionService, ModelService, health) on one port, REST and
Prometheus' metrics on another, models watched and reloaded as TensorFlow Serving does it.
"""

import concurrent.futures
import pathlib
import threading
import time

import grpc
from absl import logging
from google.protobuf import text_format
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from tfface.serving import batching, rest, versions
from tfface.serving.batching import Batcher
from tfface.serving.grpc_service import MODEL_SERVICE, PREDICTION_SERVICE, ModelService, PredictionService
from tfface.serving.http_server import HttpServer
from tfface.serving.manager import ModelManager
from tfface.serving.metrics import MICROSECONDS, Metrics
from tfface.serving.options import ServerOptions
from tfface.serving.servable import Servable
from tfface.serving.service import Service

_MAX_MESSAGE_BYTES = (1 << 31) - 1  # TensorFlow Serving's
_SPARE_THREADS = 16  # for what is not a prediction: health, status, refusals


class Server:
    """Starts with `start`, ends with `stop`; a context manager does both.

    Raises:
      ValueError: If the options name no model, or a file of theirs cannot be read.
    """

    def __init__(self, options: ServerOptions):
        self._options = options
        self._config = _read_config(options)
        self.metrics = Metrics()
        self._limits = batching.Limits(
            options.max_batch_size,
            options.batch_timeout_micros / 1e6,
            options.max_enqueued_batches,
            options.num_batch_threads,
        )
        self.manager = ModelManager(self._load, self._batcher)
        paths = [entry.base_path for entry in self._config.model_config_list.config]
        self.service = Service(self.manager, self.metrics, options.max_pending, paths)
        self._health = health.HealthServicer()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="versions", daemon=True)
        self._grpc: grpc.Server | None = None
        self._rest = rest.Rest(self.service, options.rest_api_timeout_in_ms / 1000)
        self._http: HttpServer | None = None
        self.port = self.rest_port = 0

    def start(self) -> None:
        """Takes its ports, loads what is there, and answers from then on; returns when it does.

        Who asks while models are being loaded is told so (UNAVAILABLE, 503).

        Raises:
          OSError: If a port is taken.
          ServingError: If the configuration is not one.
        """
        self._set_health()
        try:
            self._start_grpc()
            if self._options.rest_port >= 0:
                self._start_rest()
            self.manager.configure(self._config, may_wait=True)
        except BaseException:
            self.stop(0.0)
            raise
        self.service.open()
        self._set_health()
        self._watcher.start()

    def stop(self, grace: float | None = None) -> None:
        """Takes no more requests, lets those under way end within `grace` seconds, and unloads the models.

        Args:
          grace: Seconds, instead of the options' `grace_seconds`; what is under way after them is cancelled.
        """
        grace = self._options.grace_seconds if grace is None else grace
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        grpc_ended = self._grpc.stop(grace) if self._grpc is not None else None
        if self._http is not None:
            self._http.stop(grace)
        if grpc_ended is not None:
            grpc_ended.wait()
        self._rest.close()
        if self._watcher.is_alive():
            self._watcher.join()
        self.manager.close()

    def wait(self) -> None:
        """Blocks until `stop`."""
        self._stopping.wait()

    def request_stop(self) -> None:
        """Ends `wait`; for signal handlers."""
        self._stopping.set()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_grpc(self) -> None:
        options = self._options
        workers = options.max_pending + _SPARE_THREADS
        server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="grpc"),
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a rival
            ],
            maximum_concurrent_rpcs=workers,
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(self.service), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self.service), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        address = f"[{options.host}]:{options.port}" if ":" in options.host else f"{options.host}:{options.port}"
        credentials = _credentials(options)
        try:
            if credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"port: cannot listen on {address}: {error}") from error
        server.start()
        self._grpc = server

    def _start_rest(self) -> None:
        options = self._options
        seconds = options.rest_api_timeout_in_ms / 1000
        try:
            self._http = HttpServer(self._rest.application(), options.host, options.rest_port, seconds)
        except OSError as error:
            raise OSError(f"rest_port: cannot listen on {options.host}:{options.rest_port}: {error}") from error
        self.rest_port = self._http.port
        self._http.start()

    def _load(self, name: str, number: int, path: str) -> Servable:
        """A warm servable."""
        begun = time.monotonic()
        try:
            servable = Servable(path, name, number, self._options.tensorflow_threads)
        except BaseException:
            self.metrics.load_attempts.labels(path, "fail").inc()
            raise
        self.metrics.load_attempts.labels(path, "success").inc()
        loaded = time.monotonic()
        self.metrics.load_latency.labels(path).observe(MICROSECONDS * (loaded - begun))
        try:
            servable.warm_up()
        except BaseException:
            servable.close()
            raise
        self.metrics.warmup_latency.labels(path, "OK").observe(MICROSECONDS * (time.monotonic() - loaded))
        return servable

    def _batcher(self, servable: Servable) -> Batcher:
        def observe(seconds: float) -> None:
            self.metrics.queuing_latency.labels(servable.name).observe(MICROSECONDS * seconds)

        return Batcher(servable.run, self._limits, observe)

    def _watch(self) -> None:
        while not self._stopping.wait(self._options.file_system_poll_wait_seconds):
            try:
                self.manager.poll()
            except Exception:  # noqa: BLE001 - what is loaded is served on, and the next look may go well
                logging.exception("looking for versions failed")
            self._set_health()

    def _set_health(self) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING
        status = serving if self.manager.is_ready() else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", PREDICTION_SERVICE, MODEL_SERVICE):
            self._health.set(name, status)


def _read_config(options: ServerOptions) -> model_server_config_pb2.ModelServerConfig:
    if bool(options.model_base_path) == bool(options.model_config_file):
        raise ValueError("model_base_path: expected either it or model_config_file")
    if options.model_base_path:
        return versions.single(options.model_name, options.model_base_path)
    path = pathlib.Path(options.model_config_file)
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), model_server_config_pb2.ModelServerConfig())
    except (OSError, text_format.ParseError) as error:
        raise ValueError(f"model_config_file: {path}: {error}") from error


def _credentials(options: ServerOptions) -> grpc.ServerCredentials | None:
    if bool(options.ssl_server_key) != bool(options.ssl_server_cert):
        raise ValueError("ssl_server_key: expected it and ssl_server_cert, or neither")
    if options.ssl_client_ca and not options.ssl_server_key:
        raise ValueError("ssl_client_ca: expected ssl_server_key and ssl_server_cert with it")
    if not options.ssl_server_key:
        return None
    key, chain = (pathlib.Path(path).read_bytes() for path in (options.ssl_server_key, options.ssl_server_cert))
    authority = pathlib.Path(options.ssl_client_ca).read_bytes() if options.ssl_client_ca else None
    return grpc.ssl_server_credentials([(key, chain)], authority, bool(authority))
