r"""A page on this machine: drop photographs or a video of a person, and see, turn, move and take away their head.

    python -m tfface.app

It tells the address to open in a browser. Nothing leaves this machine; what is dropped and what is made of it lies in
--folder until it is deleted on the page. Ctrl-C ends it.
"""

from absl import app

from tfface import config
from tfface.studio.options import AppOptions


def main(argv: list[str]) -> None:
    """Serves the page until Ctrl-C."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    config.errors_only()
    try:
        from tfface.studio import server

        options = config.values(AppOptions)
        serving = server.App(options)
        print(f"Open {serving.address} in a browser. Photographs stay in {serving.gallery.root}", flush=True)
        serving.run()
    except (ValueError, OSError, ModuleNotFoundError) as error:
        config.fail(AppOptions, error)


if __name__ == "__main__":
    config.define(AppOptions)
    app.run(main)
