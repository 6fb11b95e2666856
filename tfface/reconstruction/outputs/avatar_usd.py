"""Avatars as USDZ, which AR Quick Look opens: a skeleton's root with a mesh a part and UsdSkel's blend shapes.

The frame is that of `mesh_files`: metres, y up. What Apple asks for stands in "Creating USD files for Apple devices":
a package without compression, PNG textures, UsdPreviewSurface, and blend shapes below a SkelRoot with a skeleton.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.reconstruction.outputs.avatar import Avatar, Material, Part
from tfface.reconstruction.outputs.avatar_glb import STILL
from tfface.reconstruction.outputs.mesh_files import file_displacement, file_normals, file_vertices

Array = npt.NDArray[np.floating]

_ROOT = "/head"
_SKELETON, _ANIMATION, _MATERIALS = f"{_ROOT}/skeleton", f"{_ROOT}/animation", f"{_ROOT}/materials"


def require() -> None:
    """Checks that USD is installed.

    Raises:
      ModuleNotFoundError: If it is not.
    """
    try:
        import pxr  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "writing USDZ needs usd-core, which comes with the extra usd: pip install 'tfface[usd]'"
        ) from error


def write(avatar: Avatar, path: str | os.PathLike[str]) -> None:
    """Writes a USDZ: below a SkelRoot, a mesh a part, a skeleton of one joint, and an animation that holds the weights.

    Args:
      avatar: What to write. The names of its targets are those of the blend shapes, characters that USD forbids
        replaced by ``_``.
      path: Of the file, which is there as a whole or as it was.

    Raises:
      ModuleNotFoundError: If usd-core is missing (extra `usd`).
    """
    require()
    from pxr import Sdf

    with tempfile.TemporaryDirectory(prefix="usdz-") as folder, files.written(Path(path)) as beside:
        layer = Path(folder) / "face.usdc"
        textures = _write_stage(avatar, layer)
        with Sdf.ZipFileWriter.CreateNew(str(beside)) as writer:
            for content in (layer, *textures):  # the layer that is opened comes first
                writer.AddFile(str(content), content.name)


def blend_shape_names(avatar: Avatar) -> list[str]:
    """The names that USD gives the targets, in their order."""
    from pxr import Tf

    return [Tf.MakeValidIdentifier(name) for name in avatar.targets]


def _write_stage(avatar: Avatar, path: Path) -> list[Path]:
    """Writes the layer, and beside it the textures that it names; returns their paths."""
    from pxr import Tf, Usd, UsdGeom, UsdSkel, Vt

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, UsdGeom.LinearUnits.meters)
    root = UsdSkel.Root.Define(stage, _ROOT)
    stage.SetDefaultPrim(root.GetPrim())
    root.GetPrim().SetDisplayName(avatar.name)
    _define_skeleton(stage, blend_shape_names(avatar))
    UsdGeom.Scope.Define(stage, _MATERIALS)
    triangles = np.concatenate([part.vertex[part.triangles] for part in avatar.parts])
    positions = file_vertices(avatar.vertices)
    normals = file_normals(avatar.vertices, triangles)
    moved = dict(zip(blend_shape_names(avatar), map(file_displacement, avatar.targets.values()), strict=True))
    textures: dict[int, Path] = {}
    for part in avatar.parts:
        mesh = _define_mesh(stage, part, positions, normals)
        _bind_blend_shapes(stage, mesh, {name: values[part.vertex] for name, values in moved.items()})
        if part.material.image is not None and id(part.material.image) not in textures:
            textures[id(part.material.image)] = path.parent / f"{Tf.MakeValidIdentifier(part.material.name)}.png"
            textures[id(part.material.image)].write_bytes(part.material.png)
        _bind_material(stage, mesh, part.material, textures.get(id(part.material.image)))
    extent = np.stack((positions.min(axis=0), positions.max(axis=0)))
    root.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(extent))
    stage.GetRootLayer().Save()
    return list(textures.values())


def _define_skeleton(stage: Any, names: list[str]) -> None:
    """A joint that stands still, and an animation of every blend shape at weight 0."""
    from pxr import Gf, UsdSkel, Vt

    skeleton = UsdSkel.Skeleton.Define(stage, _SKELETON)
    skeleton.CreateJointsAttr(Vt.TokenArray(["root"]))
    still = Vt.Matrix4dArray([Gf.Matrix4d(1.0)])
    skeleton.CreateBindTransformsAttr(still)
    skeleton.CreateRestTransformsAttr(still)
    animation = UsdSkel.Animation.Define(stage, _ANIMATION)
    animation.CreateBlendShapesAttr(Vt.TokenArray(names))
    animation.CreateBlendShapeWeightsAttr(Vt.FloatArray([0.0] * len(names)))
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([_ANIMATION])


def _define_mesh(stage: Any, part: Part, positions: Array, normals: Array) -> Any:
    from pxr import Sdf, Tf, UsdGeom, UsdSkel, Vt

    mesh = UsdGeom.Mesh.Define(stage, f"{_ROOT}/{Tf.MakeValidIdentifier(part.name)}")
    points = np.ascontiguousarray(positions[part.vertex])
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
    mesh.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack((points.min(axis=0), points.max(axis=0)))))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray([3] * len(part.triangles)))
    corners = np.ascontiguousarray(part.triangles, np.int32).reshape(-1)
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(corners))
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(normals[part.vertex])))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateDoubleSidedAttr(part.material.double_sided)
    # USD counts v upwards.
    uv = np.ascontiguousarray(part.uv * (1, -1) + (0, 1), np.float32)
    places = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
    places.Set(Vt.Vec2fArray.FromNumpy(uv))
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([_SKELETON])
    binding.CreateJointIndicesPrimvar(False, 1).Set(Vt.IntArray([0] * len(points)))
    binding.CreateJointWeightsPrimvar(False, 1).Set(Vt.FloatArray([1.0] * len(points)))
    return mesh


def _bind_blend_shapes(stage: Any, mesh: Any, moved: Mapping[str, Array]) -> None:
    """The blend shapes that move a mesh, with those points only that they move."""
    from pxr import UsdSkel, Vt

    names, paths = [], []
    for name, values in moved.items():
        index = np.flatnonzero(np.abs(values).max(axis=1) > STILL).astype(np.int32)
        if not len(index):
            continue
        path = mesh.GetPath().AppendChild(name)
        shape = UsdSkel.BlendShape.Define(stage, path)
        shape.CreateOffsetsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values[index])))
        shape.CreatePointIndicesAttr(Vt.IntArray.FromNumpy(index))
        names.append(name)
        paths.append(path)
    if names:
        binding = UsdSkel.BindingAPI(mesh.GetPrim())
        binding.CreateBlendShapesAttr(Vt.TokenArray(names))
        binding.CreateBlendShapeTargetsRel().SetTargets(paths)


def _bind_material(stage: Any, mesh: Any, material: Material, file: Path | None) -> None:
    """A UsdPreviewSurface with the picture in a file, which materials may share, if it has one."""
    from pxr import Gf, Sdf, Tf, UsdShade

    name = Tf.MakeValidIdentifier(material.name)
    path = f"{_MATERIALS}/{name}"
    made = UsdShade.Material.Define(stage, path)
    surface = UsdShade.Shader.Define(stage, f"{path}/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    color = surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
    opacity = surface.CreateInput("opacity", Sdf.ValueTypeNames.Float)
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(material.roughness)
    surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
    made.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(made)
    if material.image is None or file is None:
        color.Set(Gf.Vec3f(*material.color[:3]))
        opacity.Set(material.color[3])
        return
    reader = UsdShade.Shader.Define(stage, f"{path}/st")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    place = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    texture = UsdShade.Shader.Define(stage, f"{path}/texture")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(file.name)
    texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    texture.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(*material.color))
    texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(place)
    color.ConnectToSource(texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))
    if material.image.shape[-1] == 4:
        opacity.ConnectToSource(texture.CreateOutput("a", Sdf.ValueTypeNames.Float))
    else:
        opacity.Set(material.color[3])
