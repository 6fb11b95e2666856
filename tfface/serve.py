r"""Serves exported models as TensorFlow Serving does: gRPC, REST, health and metrics, without Docker.

    python -m tfface.serve --model_name=faces --model_base_path=runs/serving/faces --port=8500 --rest_port=8501

It listens on this machine only unless --host says otherwise. What it loads is told on standard error. SIGTERM and
Ctrl-C end it after what is under way, --grace_seconds later at the latest.
"""

import logging
import signal
import types

from absl import app
from absl import logging as absl_logging

from tfface import config, memory
from tfface.serving.options import ServerOptions


def main(argv: list[str]) -> None:
    """Serves until a signal comes."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    from tfface.serving import server
    from tfface.serving.errors import ServingError

    def request_stop(number: int, frame: types.FrameType | None) -> None:
        del number, frame
        serving.request_stop()

    # gRPC would write a traceback for every message that is none; the client is told, and that is enough.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # of loaders that it will take away one day
    absl_logging.set_verbosity(max(absl_logging.get_verbosity(), absl_logging.INFO))
    try:
        options = config.values(ServerOptions)
        memory.return_large_buffers()
        serving = server.Server(options)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, request_stop)
        serving.start()
    except (ValueError, OSError, ServingError) as error:
        config.fail(ServerOptions, error)
    print(f"gRPC on {options.host}:{serving.port}", flush=True)
    if options.rest_port >= 0:
        print(f"REST on http://{options.host}:{serving.rest_port}/v1/models/", flush=True)
    serving.wait()
    serving.stop()


if __name__ == "__main__":
    config.define(ServerOptions)
    app.run(main)
