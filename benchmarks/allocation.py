"""What it saves to keep freed memory for the next request (`tfface.memory.keep_buffers`), and what it costs in memory.

    python benchmarks/allocation.py [--image_size=96] [--batch_size=64] [--model=tfface/assets/starter.keras \
        --image=portrait.jpg]

Two processes do the same in turn; one of them has told glibc to keep what is freed, the other leaves it as it is. They
make a training step as in `training_step.py` and, with a model and a photograph, the head of one person from copies of
the photograph, warm, to its meshes. Prints a Markdown table.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import pathlib
import tempfile
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from peak import peak_megabytes
from table import Ratio, Row, markdown
from timing import Spent, in_turn, spent

NAME = "allocation"
_COPIES = 5


def _step(options: argparse.Namespace) -> Callable[[], object]:
    """A training step."""
    import workload

    face_model = workload.random_face_model(options.num_vertices)
    batch = workload.random_batch(options.batch_size, options.image_size, options.num_vertices)
    _, trainer = workload.trainer(face_model, options.image_size, options.batch_size, "float32")
    return lambda: trainer.step(batch)


def _head(options: argparse.Namespace) -> Callable[[], object]:
    """One person's photographs to GLB, OBJ and PLY."""
    import contextlib
    import dataclasses

    from reconstruction import copied

    from tfface.reconstruction import reconstruction_run
    from tfface.reconstruction.options import MESH, ReconstructionOptions

    folder = pathlib.Path(options.folder)
    images = copied(options.image, pathlib.Path(tempfile.mkdtemp(dir=folder)), _COPIES)
    base = ReconstructionOptions(images, "", model=options.model, outputs=(MESH,))
    models = reconstruction_run.open_models(base, contextlib.ExitStack())

    def reconstruct() -> None:
        one = dataclasses.replace(base, out=tempfile.mkdtemp(dir=folder))
        if not reconstruction_run.reconstruct(one, progress=False, models=models).done:
            raise ValueError(f"{options.image}: not reconstructed")

    return reconstruct


class _Process:
    """A process that makes a call whenever it is asked to."""

    _call: Callable[[], object]

    def __init__(
        self, kind: Callable[[argparse.Namespace], Callable[[], object]], options: argparse.Namespace, *, kept: bool
    ):
        context = multiprocessing.get_context("spawn")
        arguments = (kind, options, kept)
        self._pool = concurrent.futures.ProcessPoolExecutor(1, context, self._begin, arguments)

    @classmethod
    def _begin(
        cls, kind: Callable[[argparse.Namespace], Callable[[], object]], options: argparse.Namespace, kept: bool
    ) -> None:
        if kept:
            from tfface import memory

            memory.keep_buffers()
        cls._call = kind(options)

    @classmethod
    def _spent(cls) -> Spent:
        return spent(cls._call)

    def call(self) -> Spent:
        """What the call took there."""
        return self._pool.submit(self._spent).result()

    def end(self) -> float:
        """MB, its peak."""
        peak = self._pool.submit(peak_megabytes).result()
        self._pool.shutdown()
        return peak


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    kinds = {f"training step, {options.image_size} px, batch {options.batch_size}": _step}
    if options.model and options.image:
        kinds[f"{_COPIES} photographs to GLB, OBJ and PLY, warm"] = _head
    rows = []
    for described, kind in kinds.items():
        kept, given_back = (_Process(kind, options, kept=kept) for kept in (True, False))
        rounds = in_turn({"kept": kept.call, "given back": given_back.call}, options.rounds)
        walls = [f"{rounds.median(name):.2f} s" for name in ("kept", "given back")]
        times = [f"{rounds.processor(name):.2f} s" for name in ("kept", "given back")]
        peaks = kept.end(), given_back.end()
        megabytes = [f"{peak:.0f} MB" for peak in peaks]
        against = "glibc left as it is"
        rows += [
            Row(NAME, described, walls[0], against, walls[1], rounds.ratio("kept", "given back"), "<= 1"),
            Row(
                NAME,
                f"{described}, processor time",
                times[0],
                against,
                times[1],
                rounds.processor_ratio("kept", "given back"),
            ),
            Row(
                NAME, f"{described}, peak memory", megabytes[0], against, megabytes[1], Ratio.once(peaks[0] / peaks[1])
            ),
        ]
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--num_vertices", type=int, default=9409)
    parser.add_argument("--model", default="", help="with --image: heads are made too")
    parser.add_argument("--image", default="", help="a photograph with a face")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as options.folder:
        print(markdown(measure(options)))


if __name__ == "__main__":
    main()
