"""The options of server and export: the flags of `tfface.serve` and `tfface.export`."""

import dataclasses
from typing import ClassVar

from tfface.options import Options, option, required

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""What an exported encoder computes in, by name: Keras' dtype policies. Weights and all that follows are float32."""


@dataclasses.dataclass(frozen=True)
class ExportOptions(Options):
    """What to export."""

    command: ClassVar[str] = "tfface.export"

    model: str = required("A trained model (.keras, or starter).")
    out: str = required("The exported model's base path: the folder of its versions.")
    precision: str = option("float32", "What the exported encoder computes in.", choices=PRECISIONS)
    version: int = option(0, "Number of the exported version; 0 is the one behind the newest.", lower=0)
    warmup_batch: int = option(
        32, "Examples in the larger warm-up request; the server's largest batch.", lower=1, upper=1000
    )
    litert: str = option("", "Where to write a LiteRT (TFLite) file of a single view model too.")


@dataclasses.dataclass(frozen=True)
class ServerOptions(Options):
    """How to serve; the names are TensorFlow Serving's where it has them."""

    command: ClassVar[str] = "tfface.serve"

    model_base_path: str = option("", "Folder of the versions of an exported model.")
    model_name: str = option("default", "Name of the served model.")
    model_config_file: str = option("", "Several models instead: TensorFlow Serving's ModelServerConfig, as text.")
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 is reachable from other machines.")
    port: int = option(8500, "Port of gRPC; 0 takes a free one.", lower=0, upper=65535)
    rest_port: int = option(8501, "Port of REST and metrics; 0 takes a free one, -1 opens none.", lower=-1, upper=65535)
    file_system_poll_wait_seconds: float = option(1.0, "Seconds between looks for new versions.", lower=0.01)
    max_batch_size: int = option(32, "Examples that run together.", lower=1)
    batch_timeout_micros: int = option(0, "Microseconds that an idle model waits for a batch to fill.", lower=0)
    max_enqueued_batches: int = option(8, "Full batches that may wait; more is refused.", lower=1)
    num_batch_threads: int = option(1, "Batches that run at a time.", lower=1)
    max_pending: int = option(256, "Predictions under way at a time; more are refused.", lower=1)
    rest_api_timeout_in_ms: int = option(
        30000, "A REST request has so many ms to arrive and be answered; its answer has as many to be taken.", lower=1
    )
    grace_seconds: float = option(
        30.0, "Seconds that requests under way may take once the server is told to stop.", lower=0.0
    )
    tensorflow_threads: int = option(
        0, "Threads of TensorFlow inside one operation; 0 leaves it to TensorFlow.", lower=0
    )
    ssl_server_key: str = option("", "PEM key; with --ssl_server_cert, gRPC is served over TLS.")
    ssl_server_cert: str = option("", "PEM certificate chain of the server.")
    ssl_client_ca: str = option("", "PEM certificates that a client's has to be signed by; clients then need one.")
