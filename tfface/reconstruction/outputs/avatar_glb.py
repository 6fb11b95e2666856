"""Avatars as binary glTF 2.0 with morph targets; the frame is that of `mesh_files`.

Most targets move few vertices, so that their displacements are sparse accessors (section 3.6.2.3 of the specification):
a head of 71 targets takes 6 MB instead of 25.
"""

import dataclasses
import json
import os
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.reconstruction.outputs.avatar import Avatar, Material
from tfface.reconstruction.outputs.mesh_files import file_displacement, file_normals, file_vertices

Array = npt.NDArray[np.floating]

STILL = 1e-5  # m; a smaller displacement is none

_FLOAT, _UNSIGNED_INT = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR, _REPEAT = 9729, 9987, 10497
"""Numbers that the specification has from OpenGL."""
_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
"""Of the container, section 4.4 of the specification."""


def write(avatar: Avatar, path: str | os.PathLike[str]) -> None:
    """Writes a GLB: one mesh of a primitive a part, morph targets with their names in ``mesh.extras.targetNames``.

    Args:
      avatar: What to write.
      path: Of the file, which is there as a whole or as it was.
    """
    files.write_bytes(path, encode(avatar))


def encode(avatar: Avatar) -> bytes:
    """The content of the file; see `write`."""
    writer = _Writer()
    triangles = np.concatenate([part.vertex[part.triangles] for part in avatar.parts])
    positions = file_vertices(avatar.vertices)
    normals = file_normals(avatar.vertices, triangles)
    targets = np.zeros((len(avatar.targets), *positions.shape), np.float32)
    for target, moved in zip(targets, avatar.targets.values(), strict=True):
        target[:] = file_displacement(moved)
    primitives = [
        {
            "attributes": {
                "POSITION": writer.floats(positions[part.vertex], bounds=True),
                "NORMAL": writer.floats(normals[part.vertex]),
                "TEXCOORD_0": writer.floats(part.uv),
            },
            "indices": writer.indices(part.triangles),
            "material": writer.material(part.material),
            "targets": [{"POSITION": number} for number in writer.sparse(targets.take(part.vertex, axis=1))],
        }
        for part in avatar.parts
    ]
    mesh = {
        "name": avatar.name,
        "primitives": primitives,
        "weights": [0.0] * len(targets),
        "extras": {"targetNames": list(avatar.targets)},
    }
    document = {
        "asset": {"version": "2.0", "generator": "tfface"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "head"}],
        "meshes": [mesh],
        **writer.tree(),
    }
    return _container(document, bytes(writer.content))


def _container(document: dict[str, Any], binary: bytes) -> bytes:
    """Header and two chunks, each a multiple of 4 bytes long: JSON filled up by spaces, binary data by zeros."""
    text = json.dumps(_without_empty(document), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = (struct.pack("<2I", len(text), _JSON), text, struct.pack("<2I", len(binary), _BIN), binary)
    return b"".join((struct.pack("<3I", _MAGIC, _VERSION, 12 + sum(map(len, chunks))), *chunks))


def _without_empty(value: Any) -> Any:
    """A tree of JSON without empty lists, which the specification forbids."""
    if isinstance(value, dict):
        return {key: _without_empty(inner) for key, inner in value.items() if inner != []}
    return [_without_empty(inner) for inner in value] if isinstance(value, list) else value


@dataclasses.dataclass
class _Writer:
    """Collects what a glTF file has, and the bytes that it refers to."""

    content: bytearray = dataclasses.field(default_factory=bytearray)
    views: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    accessors: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    materials: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    images: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    pictures: dict[int, int] = dataclasses.field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """What the document has of it."""
        sampler = {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _REPEAT, "wrapT": _REPEAT}
        return {
            "materials": self.materials,
            "textures": [{"sampler": 0, "source": number} for number in range(len(self.images))],
            "images": self.images,
            "samplers": [sampler] if self.images else [],
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.content)}],
        }

    def _view(self, data: bytes, target: int | None = None) -> int:
        self.content.extend(b"\0" * (-len(self.content) % 4))  # accessors start at multiples of their component's size
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(data)}
        self.views.append(view if target is None else {**view, "target": target})
        self.content.extend(data)
        return len(self.views) - 1

    def _accessor(self, component: int, count: int, kind: str, **fields: object) -> int:
        self.accessors.append({"componentType": component, "count": count, "type": kind, **fields})
        return len(self.accessors) - 1

    def floats(self, values: Array, *, bounds: bool = False) -> int:
        """An accessor of float vectors ``[C, 2 or 3]``."""
        values = np.ascontiguousarray(values, "<f4")
        limits = {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()} if bounds else {}
        view = self._view(values.tobytes(), _ARRAY_BUFFER)
        return self._accessor(_FLOAT, len(values), f"VEC{values.shape[1]}", bufferView=view, **limits)

    def indices(self, triangles: npt.NDArray[np.integer]) -> int:
        """An accessor of corners."""
        flat = np.ascontiguousarray(triangles, "<u4").reshape(-1)
        view = self._view(flat.tobytes(), _ELEMENT_ARRAY_BUFFER)
        return self._accessor(_UNSIGNED_INT, len(flat), "SCALAR", bufferView=view)

    def sparse(self, moved: Array) -> Iterator[int]:
        """Accessors of displacements ``[E, C, 3]``, each of which names only those corners that move."""
        for target in moved:
            index = np.flatnonzero((np.abs(target) > STILL).any(axis=1))
            values = target[index].astype("<f4")
            still = np.zeros((1 if len(index) < len(target) else 0, 3))
            within = np.concatenate((values, still))
            fields: dict[str, object] = {"min": within.min(axis=0).tolist(), "max": within.max(axis=0).tolist()}
            if len(index):
                fields["sparse"] = {
                    "count": len(index),
                    "indices": {
                        "bufferView": self._view(index.astype("<u4").tobytes()),
                        "componentType": _UNSIGNED_INT,
                    },
                    "values": {"bufferView": self._view(values.tobytes())},
                }
            yield self._accessor(_FLOAT, len(target), "VEC3", **fields)

    def _image(self, material: Material) -> int:
        """Number of a picture, which materials may share."""
        if id(material.image) not in self.pictures:
            self.images.append({"bufferView": self._view(material.png), "mimeType": "image/png", "name": material.name})
            self.pictures[id(material.image)] = len(self.images) - 1
        return self.pictures[id(material.image)]

    def material(self, material: Material) -> int:
        """A material and, if it has one, its picture."""
        surface: dict[str, Any] = {
            "baseColorFactor": list(material.color),
            "metallicFactor": 0.0,
            "roughnessFactor": material.roughness,
        }
        if material.image is not None:
            surface["baseColorTexture"] = {"index": self._image(material)}
        transparent = material.color[3] < 1 or (material.image is not None and material.image.shape[-1] == 4)
        self.materials.append(
            {
                "name": material.name,
                "pbrMetallicRoughness": surface,
                "doubleSided": material.double_sided,
                "alphaMode": "BLEND" if transparent else "OPAQUE",
            }
        )
        return len(self.materials) - 1
