"""Avatars as binary glTF 2.0 with morph targets; the frame is that of `mesh_files`.

Most targets move few vertices, so that their displacements are sparse accessors (section 3.6.2.3 of the specification):
a head of 71 targets takes 6 MB instead of 25.
"""

import dataclasses
import io
import os

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfface import files
from tfface.reconstruction.outputs.avatar import Avatar, Material
from tfface.reconstruction.outputs.mesh_files import file_displacement, file_normals, file_vertices

Array = npt.NDArray[np.floating]

STILL = 1e-5  # m; a smaller displacement is none


def write(avatar: Avatar, path: str | os.PathLike[str]) -> None:
    """Writes a GLB: one mesh of a primitive a part, morph targets with their names in ``mesh.extras.targetNames``.

    Args:
      avatar: What to write.
      path: Of the file, which is there as a whole or as it was.

    Raises:
      ModuleNotFoundError: If pygltflib is missing (extra `reconstruct`).
    """
    files.write_bytes(path, encode(avatar))


def encode(avatar: Avatar) -> bytes:
    """The content of the file; see `write`."""
    import pygltflib as gltf

    writer = _Writer()
    triangles = np.concatenate([part.vertex[part.triangles] for part in avatar.parts])
    positions = file_vertices(avatar.vertices)
    normals = file_normals(avatar.vertices, triangles)
    targets = [file_displacement(moved) for moved in avatar.targets.values()]
    primitives = [
        gltf.Primitive(
            attributes=gltf.Attributes(
                POSITION=writer.floats(positions[part.vertex], bounds=True),
                NORMAL=writer.floats(normals[part.vertex]),
                TEXCOORD_0=writer.floats(part.uv.astype(np.float32)),
            ),
            indices=writer.indices(part.triangles),
            material=writer.material(part.material),
            targets=[{"POSITION": writer.sparse(moved[part.vertex])} for moved in targets],
        )
        for part in avatar.parts
    ]
    document = gltf.GLTF2(
        asset=gltf.Asset(version="2.0", generator="tfface"),
        scene=0,
        scenes=[gltf.Scene(nodes=[0])],
        nodes=[gltf.Node(mesh=0, name="head")],
        meshes=[
            gltf.Mesh(
                name=avatar.name,
                primitives=primitives,
                weights=[0.0] * len(targets),
                extras={"targetNames": list(avatar.targets)},
            )
        ],
        materials=writer.materials,
        textures=writer.textures,
        images=writer.images,
        samplers=[gltf.Sampler(magFilter=gltf.LINEAR, minFilter=gltf.LINEAR_MIPMAP_LINEAR)] if writer.images else [],
        accessors=writer.accessors,
        bufferViews=writer.views,
        buffers=[gltf.Buffer(byteLength=len(writer.content))],
    )
    document.set_binary_blob(bytes(writer.content))
    return b"".join(document.save_to_bytes())


@dataclasses.dataclass
class _Writer:
    """Collects what a glTF file has, and the bytes that it refers to."""

    content: bytearray = dataclasses.field(default_factory=bytearray)
    views: list = dataclasses.field(default_factory=list)
    accessors: list = dataclasses.field(default_factory=list)
    materials: list = dataclasses.field(default_factory=list)
    textures: list = dataclasses.field(default_factory=list)
    images: list = dataclasses.field(default_factory=list)

    def _view(self, data: bytes, target: int | None = None) -> int:
        import pygltflib as gltf

        self.content.extend(b"\0" * (-len(self.content) % 4))  # accessors start at multiples of their component's size
        self.views.append(gltf.BufferView(buffer=0, byteOffset=len(self.content), byteLength=len(data), target=target))
        self.content.extend(data)
        return len(self.views) - 1

    def _accessor(self, **fields: object) -> int:
        import pygltflib as gltf

        self.accessors.append(gltf.Accessor(**fields))
        return len(self.accessors) - 1

    def floats(self, values: Array, *, bounds: bool = False) -> int:
        """An accessor of float vectors ``[C, 2 or 3]``."""
        import pygltflib as gltf

        values = np.ascontiguousarray(values, "<f4")
        limits = {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()} if bounds else {}
        return self._accessor(
            bufferView=self._view(values.tobytes(), gltf.ARRAY_BUFFER),
            componentType=gltf.FLOAT,
            count=len(values),
            type=f"VEC{values.shape[1]}",
            **limits,
        )

    def indices(self, triangles: npt.NDArray[np.integer]) -> int:
        """An accessor of corners."""
        import pygltflib as gltf

        flat = np.ascontiguousarray(triangles, "<u4").reshape(-1)
        return self._accessor(
            bufferView=self._view(flat.tobytes(), gltf.ELEMENT_ARRAY_BUFFER),
            componentType=gltf.UNSIGNED_INT,
            count=len(flat),
            type="SCALAR",
        )

    def sparse(self, moved: Array) -> int:
        """An accessor of displacements ``[C, 3]`` that names only those corners that move."""
        import pygltflib as gltf

        index = np.flatnonzero(np.abs(moved).max(axis=1) > STILL)
        values = np.zeros_like(moved, dtype="<f4")
        values[index] = moved[index]
        fields: dict[str, object] = {
            "byteOffset": None,  # of a buffer view, which it has none of
            "componentType": gltf.FLOAT,
            "count": len(moved),
            "type": "VEC3",
            "min": values.min(axis=0).tolist(),
            "max": values.max(axis=0).tolist(),
        }
        if len(index):
            fields["sparse"] = gltf.Sparse(
                count=len(index),
                indices=gltf.AccessorSparseIndices(
                    bufferView=self._view(index.astype("<u4").tobytes()), componentType=gltf.UNSIGNED_INT
                ),
                values=gltf.AccessorSparseValues(bufferView=self._view(values[index].tobytes())),
            )
        return self._accessor(**fields)

    def material(self, material: Material) -> int:
        """A material and, if it has one, its picture."""
        import pygltflib as gltf

        texture = None
        if material.image is not None:
            self.images.append(
                gltf.Image(bufferView=self._view(_png(material.image)), mimeType=gltf.IMAGEPNG, name=material.name)
            )
            self.textures.append(gltf.Texture(source=len(self.images) - 1, sampler=0))
            texture = gltf.TextureInfo(index=len(self.textures) - 1)
        transparent = material.color[3] < 1 or (material.image is not None and material.image.shape[-1] == 4)
        self.materials.append(
            gltf.Material(
                name=material.name,
                pbrMetallicRoughness=gltf.PbrMetallicRoughness(
                    baseColorFactor=list(material.color),
                    baseColorTexture=texture,
                    metallicFactor=0.0,
                    roughnessFactor=material.roughness,
                ),
                doubleSided=material.double_sided,
                alphaMode=gltf.BLEND if transparent else gltf.OPAQUE,
                alphaCutoff=None,
            )
        )
        return len(self.materials) - 1


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
