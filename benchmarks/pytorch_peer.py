"""The single view model and Eq. 2 in plain PyTorch, as a process that makes a training step whenever it is told to.

    python benchmarks/pytorch_peer.py --arrays=FILE.npz --dtype=float32 --layout=channels_last

`pytorch_step.py` starts it with a Python that has PyTorch, which tfface does not need, hands it weights and a batch of
the Keras model, and compares. It imports nothing of tfface. On `step` it answers with the seconds, the processor's
seconds and the loss of the step; at the end of its input it ends.
"""

import argparse
import json
import os
import sys
import time

import numpy as np

_MEAN_BGR = (103.939, 116.779, 123.68)
_BLOCKS = (2, 2, 3, 3, 3)
_REFERENCE_LENGTH, _MAX_LOG_CHANGE, _MIN_DEPTH = 100.0, 4.0, 1.0  # as in tfface.models.decoders and tfface.schema
_NORMALIZATION_EPSILON = 1e-3  # the default of Keras


def build(arrays: dict[str, np.ndarray], dtype: str, layout: str):
    """The step: a function without arguments that gives the loss before it."""
    import torch
    from torch import nn
    from torch.nn import functional

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(arrays[name]))

    def parameter(name: str, order: tuple[int, ...] | None = None) -> nn.Parameter:
        value = tensor(name)
        return nn.Parameter(value if order is None else value.permute(order).contiguous())

    class Encoder(nn.Module):
        """VGG-16 without its classifier, [M, 3, H, W] -> [M, 512, h, w]."""

        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for block, count in enumerate(_BLOCKS, start=1):
                for index in range(1, count + 1):
                    name = f"block{block}_conv{index}"
                    outputs, inputs = arrays[f"{name}/kernel"].shape[3], arrays[f"{name}/kernel"].shape[2]
                    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
                    convolution.weight = parameter(f"{name}/kernel", (3, 2, 0, 1))
                    convolution.bias = parameter(f"{name}/bias")
                    layers += [convolution, nn.ReLU(inplace=True)]
                layers.append(nn.MaxPool2d(2))
            self.layers = nn.Sequential(*layers)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layers(images)

    class Mlp(nn.Module):
        """Normalisation, one hidden layer, output."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.gamma, self.beta = parameter(f"{name}/gamma"), parameter(f"{name}/beta")
            self.hidden, self.hidden_bias = parameter(f"{name}/hidden", (1, 0)), parameter(f"{name}/hidden_bias")
            self.output, self.output_bias = parameter(f"{name}/output", (1, 0)), parameter(f"{name}/output_bias")

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            normal = functional.layer_norm(features, features.shape[1:], self.gamma, self.beta, _NORMALIZATION_EPSILON)
            hidden = functional.relu(functional.linear(normal, self.hidden, self.hidden_bias))
            return functional.linear(hidden, self.output, self.output_bias)

    def multiply(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Product of quaternions (x, y, z, w)."""
        (x1, y1, z1, w1), (x2, y2, z2, w2) = p.unbind(-1), q.unbind(-1)
        return torch.stack(
            [
                x1 * w2 + y1 * z2 - z1 * y2 + w1 * x2,
                -x1 * z2 + y1 * w2 + z1 * x2 + w1 * y2,
                x1 * y2 - y1 * x2 + z1 * w2 + w1 * z2,
                -x1 * x2 - y1 * y2 - z1 * z2 + w1 * w2,
            ],
            dim=-1,
        )

    def rotation(q: torch.Tensor) -> torch.Tensor:
        """Rotation matrices of unit quaternions."""
        x, y, z, w = q.unbind(-1)
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    def project(points: torch.Tensor, q: torch.Tensor, t: torch.Tensor, intrinsics: torch.Tensor) -> torch.Tensor:
        """Eq. 3-4; [B, 2, P], coordinates first, which is the faster way round."""
        turned = rotation(q)
        focal, centre = intrinsics[:, :2, :2], intrinsics[:, :2, 2:]
        matrix = torch.cat([focal @ turned[:, :2], turned[:, 2:]], dim=1)
        offset = torch.cat([focal @ t[:, :2, None], t[:, 2:, None]], dim=1)
        scaled = torch.baddbmm(offset, matrix, points.transpose(1, 2))
        return scaled[:, :2] / scaled[:, 2:].clamp(min=_MIN_DEPTH) + centre

    class SingleView(nn.Module):
        """Section 3.1 of the paper."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder()
            self.shape, self.quaternion, self.translation = (
                Mlp("shape_mlp"),
                Mlp("quaternion_mlp"),
                Mlp("translation_mlp"),
            )
            for name in ("translation_mean", "translation_std"):
                self.register_buffer(name, tensor(name))
            self.register_buffer("mean", tensor("mean").reshape(-1))
            self.register_buffer("basis", (tensor("basis") * tensor("eigenvalues").sqrt()[:, None, None]).flatten(1))

        def forward(self, images: torch.Tensor, intrinsics: torch.Tensor) -> tuple[torch.Tensor, ...]:
            height, width = images.shape[1:3]
            crops = (images.flip(-1) - images.new_tensor(_MEAN_BGR)).permute(0, 3, 1, 2)
            crops = crops.contiguous(memory_format=memory_format)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                encoded = self.encoder(crops)
            features = encoded.float().permute(0, 2, 3, 1).flatten(1)
            vertices = torch.addmm(self.mean, self.shape(features), self.basis).reshape(len(images), -1, 3)
            return (
                vertices,
                self._pose(self.quaternion(features), intrinsics, width, height),
                self._place(self.translation(features), intrinsics, width, height),
            )

        def _pose(self, raw: torch.Tensor, intrinsics: torch.Tensor, width: int, height: int) -> torch.Tensor:
            x = (width / 2 - intrinsics[:, 0, 2]) / intrinsics[:, 0, 0]
            y = (height / 2 - intrinsics[:, 1, 2]) / intrinsics[:, 1, 1]
            length = (x * x + y * y + 1).sqrt()
            ray = functional.normalize(torch.stack([-y, x, torch.zeros_like(x), 1 + length], dim=-1), dim=-1)
            identity = raw.new_tensor((0.0, 0.0, 0.0, 1.0))
            return multiply(ray, functional.normalize(identity + float(arrays["quaternion_scale"]) * raw, dim=-1))

        def _place(self, raw: torch.Tensor, intrinsics: torch.Tensor, width: int, height: int) -> torch.Tensor:
            mean, std = self.translation_mean, self.translation_std
            centre = (mean[:2] + raw[:, :2] * std[:2]) * raw.new_tensor((width, height))
            change = (raw[:, 2:] * std[2]).clamp(-_MAX_LOG_CHANGE, _MAX_LOG_CHANGE)
            focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], dim=-1)
            depth = focal[:, :1] * _REFERENCE_LENGTH / (width * torch.exp(mean[2] + change))
            return torch.cat([(centre - intrinsics[:, :2, 2]) * depth / focal, depth], dim=-1)

    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    model = SingleView().to(memory_format=memory_format)
    optimizer = torch.optim.Adam(model.parameters(), float(arrays["learning_rate"]), eps=1e-7, fused=True)
    images, intrinsics, vertices, quaternions, translations = (
        tensor(name) for name in ("images", "intrinsics", "vertices", "quaternions", "translations")
    )

    def step() -> float:
        optimizer.zero_grad()
        predicted = project(*model(images, intrinsics), intrinsics)
        true = project(vertices, quaternions, translations, intrinsics)
        loss = (true - predicted).square().sum(dim=1).mean(dim=-1).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    """Answers until its input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", required=True, help="weights and batch, as pytorch_step.py writes them")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--layout", choices=("channels_last", "contiguous"), default="channels_last")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with np.load(options.arrays) as archive:
        step = build(dict(archive), options.dtype, options.layout)
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        if line.strip() != "step":
            raise ValueError(f"expected the word step, got {line!r}")
        wall, processor = time.perf_counter(), time.process_time()
        loss = step()
        spent = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
        print(json.dumps({**spent, "loss": loss}), flush=True)


if __name__ == "__main__":
    main()
