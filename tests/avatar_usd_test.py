"""Avatars as USDZ: what the package holds, how it poses, and what USD's own validators say of it."""

import sys
import zipfile

import avatar_test
import numpy as np
import pytest

from tfface.reconstruction import outputs, reconstruction_run
from tfface.reconstruction.options import ReconstructionOptions
from tfface.reconstruction.outputs import avatar_usd

pytest.importorskip("pxr", reason="usd-core is not installed (extra usd)")

from pxr import Usd, UsdGeom, UsdShade, UsdSkel, UsdValidation, Vt

TO_FILE = np.array([1e-3, -1e-3, -1e-3])


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("usd") / "new" / "face.usdz"
    avatar_usd.write(avatar_test.built(), path)
    assert [file.name for file in path.parent.iterdir()] == ["face.usdz"]
    return path


@pytest.fixture
def stage(package):
    return Usd.Stage.Open(str(package))


def _mesh(stage, part):
    return UsdGeom.Mesh.Get(stage, f"/head/{part.name}")


def test_the_stage_is_what_quick_look_expects(stage):
    assert UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.y
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    root = stage.GetDefaultPrim()
    assert root.IsA(UsdSkel.Root)
    assert root.GetDisplayName() == "painted"


def test_points_triangles_and_texture_are_the_avatars(stage, package):
    for part in avatar_test.built().parts:
        mesh = _mesh(stage, part)
        expected = avatar_test.built().vertices[part.vertex] * TO_FILE
        np.testing.assert_allclose(np.array(mesh.GetPointsAttr().Get()), expected, atol=1e-7)
        corners = np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
        np.testing.assert_array_equal(corners, part.triangles)
        st = np.array(UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").Get())
        np.testing.assert_allclose(st, part.uv * (1, -1) + (0, 1), atol=1e-6)
        assert UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()[0]
    with zipfile.ZipFile(package) as archive:
        assert archive.namelist() == ["face.usdc", "skin.png", "eyes.png"]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def test_blend_shapes_have_the_targets_names_and_move_the_points_as_they_do(stage):
    made = avatar_test.built()
    skin = _mesh(stage, made.parts[0])
    binding = UsdSkel.BindingAPI(skin)
    names = list(binding.GetBlendShapesAttr().Get())
    moving = [name for name, moved in made.targets.items() if np.abs(moved[made.parts[0].vertex]).max() > 0.01]
    assert names == moving
    assert {"jawOpen", "mouthSmileLeft", "eyeBlinkRight", "eyesClosed"} <= set(names)
    animation = UsdSkel.Animation.Get(stage, "/head/animation")
    every = list(animation.GetBlendShapesAttr().Get())
    assert every == list(made.targets)
    assert set(animation.GetBlendShapeWeightsAttr().Get()) == {0.0}

    posed = {"jawOpen": 0.75, "mouthSmileLeft": 0.5}
    animation.GetBlendShapeWeightsAttr().Set(Vt.FloatArray([posed.get(name, 0.0) for name in every]))
    assert UsdSkel.BakeSkinning(UsdSkel.Root(stage.GetDefaultPrim()))
    expected = made.vertices + sum(weight * made.targets[name] for name, weight in posed.items())
    found = np.array(skin.GetPointsAttr().Get())
    np.testing.assert_allclose(found, expected[made.parts[0].vertex] * TO_FILE, atol=2e-5)


def _complaints(stage):
    every = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert "usdUtilsValidators:UsdzPackageValidator" in {one.GetMetadata().name for one in every}
    return [error.GetErrorAsString() for error in UsdValidation.ValidationContext(every).Validate(stage)]


def test_usds_own_validators_find_nothing(stage):
    assert _complaints(stage) == []
    stage.GetPrimAtPath("/head/skin").RemoveAPI(UsdSkel.BindingAPI)
    assert _complaints(stage) != []


def test_the_outputs_have_it_where_it_is_wanted(tmp_path):
    written = outputs.write(avatar_test.person(), tmp_path, ("usdz",), texture_size=32)
    assert tmp_path / "face.usdz" in written.paths
    assert Usd.Stage.Open(str(tmp_path / "face.usdz")).GetPrimAtPath("/head/skin").IsValid()


def test_without_usd_it_is_said_before_anything_is_done(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ModuleNotFoundError, match=r"comes with the extra usd"):
        avatar_usd.write(avatar_test.built(), tmp_path / "face.usdz")
    assert list(tmp_path.iterdir()) == []
    options = ReconstructionOptions(images=["nowhere.jpg"], out=str(tmp_path), model="none.keras", outputs=["usdz"])
    with pytest.raises(ModuleNotFoundError, match="comes with the extra usd"):
        reconstruction_run.reconstruct(options)
