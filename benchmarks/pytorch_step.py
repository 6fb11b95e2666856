"""The training step of tfface against the same model and loss in plain PyTorch, on the same cores, in turn.

    python benchmarks/pytorch_step.py --torch_python=PATH [--image_size=64] [--batch_size=32] [--num_vertices=9409]

PATH is a Python that has PyTorch and NumPy, of an environment of its own: tfface needs no PyTorch. That process gets
the Keras model's weights and the same batch; the losses of the first steps have to agree before anything is timed.
PyTorch runs in both memory layouts, with its fused Adam and, for bfloat16, its own mixed precision; the faster layout
counts. Without --torch_python a line says that the comparison was left out. Prints a Markdown table.
"""

import argparse
import functools
import json
import os
import pathlib
import subprocess
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from table import Row, markdown
from timing import Spent, in_turn

NAME = "PyTorch"
DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
LAYOUTS = ("channels_last", "contiguous")
AGREEMENT = {"float32": 1e-3, "bfloat16": 5e-2}
"""Largest relative difference of the first losses; bfloat16 keeps eight bits."""
LEARNING_RATE = 1e-5


class Peer:
    """A process with PyTorch that makes a step when it is told to."""

    def __init__(self, python: str, arrays: str, dtype: str, layout: str):
        program = pathlib.Path(__file__).with_name("pytorch_peer.py")
        command = [python, os.fspath(program), f"--arrays={arrays}", f"--dtype={dtype}", f"--layout={layout}"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.started = self._read()

    def _read(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process with PyTorch ended with code {self._process.wait()}")
        return json.loads(line)

    def step(self) -> dict:
        """One step: its seconds and its loss."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return self._read()

    def timed(self) -> Spent:
        """One step: what it took over there."""
        answer = self.step()
        return Spent(answer["wall"], answer["processor"])

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _arrays(model, batch: dict) -> dict:
    """Weights, 3DMM and batch of the Keras model as the peer names them."""
    from tfface import models, schema
    from tfface.models import mlp

    found = {"learning_rate": LEARNING_RATE}
    face_model = models.FaceModel(model)
    for layer in face_model.encoder.layers:
        if layer.weights:
            found[f"{layer.name}/kernel"], found[f"{layer.name}/bias"] = layer.get_weights()
    for head in face_model.regressor.heads:
        name = head.mlp
        normalization, hidden, output = mlp.layers(face_model.regressor.mlp(head))
        found[f"{name}/gamma"], found[f"{name}/beta"] = normalization.get_weights()
        for kind, layer in (("hidden", hidden), ("output", output)):
            found[f"{name}/{kind}"], found[f"{name}/{kind}_bias"] = layer.get_weights()
    decoder, camera = face_model.shape_decoder, face_model.camera_statistics
    for name, array in (("mean", decoder.mean_shape), ("basis", decoder.basis), ("eigenvalues", decoder.eigenvalues)):
        found[name] = array.numpy()
    found["quaternion_scale"] = camera.quaternion_scale
    found |= {"translation_mean": camera.translation_mean, "translation_std": camera.translation_std}
    per_view = (schema.IMAGES, schema.INTRINSICS, schema.QUATERNIONS, schema.TRANSLATIONS)
    found |= {field.key: batch[field.key].numpy()[:, 0] for field in per_view}
    found[schema.VERTICES.key] = batch[schema.VERTICES.key].numpy()
    import numpy as np

    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def _check_losses(ours: list[float], theirs: list[float], name: str, dtype: str) -> float:
    """The largest relative difference of the first losses.

    Raises:
      RuntimeError: If the two do not compute the same.
    """
    worst = max(abs(mine - other) / abs(mine) for mine, other in zip(ours, theirs, strict=True))
    if not worst <= AGREEMENT[dtype]:
        raise RuntimeError(f"{name}: expected the losses {ours}, got {theirs}: these are not the same computations")
    return worst


def measure(options: argparse.Namespace) -> list[Row]:
    """The rows of the table."""
    import numpy as np
    import workload

    face_model = workload.random_face_model(options.num_vertices)
    batch = workload.random_batch(options.batch_size, options.image_size, options.num_vertices)
    size = f"{options.image_size} px, batch {options.batch_size}, {options.num_vertices} vertices"
    rows = []
    for name, dtype in DTYPES.items():
        model, trainer = workload.trainer(face_model, options.image_size, options.batch_size, dtype)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "arrays.npz")
            np.savez(path, **_arrays(model, batch))
            peers = {layout: Peer(options.torch_python, path, name, layout) for layout in LAYOUTS}
        try:
            ours = [trainer.step(batch) for _ in range(3)]
            worst = max(
                _check_losses(ours, [peer.step()["loss"] for _ in range(3)], f"PyTorch, {layout}", name)
                for layout, peer in peers.items()
            )
            calls = {"ours": functools.partial(trainer.step, batch)}
            calls |= {layout: peer.timed for layout, peer in peers.items()}
            rounds = in_turn(calls, options.rounds, warm_up=1)
        finally:
            for peer in peers.values():
                peer.close()
        best = min(LAYOUTS, key=rounds.median)
        version = peers[best].started["torch"]
        times = [f"{1000 * rounds.median(call):.0f} ms" for call in ("ours", best)]
        against = f"PyTorch {version}, {best}"
        agreement = f"losses agree to {worst:.0e}"
        rows += [
            Row(NAME, f"{name}, {size}; {agreement}", times[0], against, times[1], rounds.ratio(best, "ours"), ">= 1"),
            Row(NAME, f"{name}, processor time", "", against, "", rounds.processor_ratio(best, "ours")),
        ]
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default="", help="a Python that has PyTorch, e.g. VENV/bin/python")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--num_vertices", type=int, default=9409)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    if not options.torch_python:
        print("PyTorch: left out, no --torch_python was given.")
        return
    print(markdown(measure(options)))


if __name__ == "__main__":
    main()
