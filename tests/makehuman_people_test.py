"""MakeHuman's heads on ICT-FaceKit's topology. The registration of the base head, which takes long, is stood in for."""

import os
import pathlib
import shutil

import makehuman_targets_test
import numpy as np
import pytest

from tfface import people
from tfface.face.importers.ict import NUM_FACE_VERTICES
from tfface.people import makehuman, makehuman_targets
from tfface.people.photographer import PhotographySettings

ICT, ASSETS = os.environ.get("ICT_FACEKIT_DIR"), os.environ.get("MAKEHUMAN_ASSETS_DIR")
pytestmark = pytest.mark.skipif(not (ICT and ASSETS), reason="ICT_FACEKIT_DIR or MAKEHUMAN_ASSETS_DIR is not set")
SETTINGS = PhotographySettings(image_size=64, num_views=1)
folder = makehuman_targets_test.folder


WIDER = 0.2


@pytest.fixture
def source(folder, tmp_path, monkeypatch):
    """People who differ by one target, which makes heads a fifth wider."""
    shutil.copy(pathlib.Path(ASSETS) / "3dobjs/base.obj", folder / "3dobjs/base.obj")
    heads = makehuman_targets.Heads(folder)
    rows = [f"{i} {WIDER * x / 100} 0 0" for i, (x, _, _) in zip(heads.index, heads.vertices, strict=True)]
    for name in makehuman_targets._macro_names():
        wider = rows if name == "caucasian-male-young" else []
        makehuman_targets_test._write(folder / f"targets/macrodetails/{name}.target.gz", wider)

    def placed(directory, named):
        face = np.asarray(people.open_source("ict", directory=directory, num_subjects=1).template.vertices)
        tip = heads.vertices[heads.vertices[:, 2].argmin()]
        return (face + tip - face[face[:, 2].argmin()]).astype(np.float32)

    monkeypatch.setattr(makehuman, "_register", placed)
    makehuman._heads.cache_clear()
    return people.open_source(
        "makehuman", directory=ICT, num_subjects=2, makehuman=folder, settings=SETTINGS, cache_dir=tmp_path / "cache"
    )


def test_the_face_goes_where_the_surface_under_it_goes(source):
    widths, shares = [], []
    for i in range(2):
        widths.append(np.ptp(source.shape(i)[:, 0]))
        rng = np.random.default_rng([0, i, 0])
        race, (male, old, _) = rng.dirichlet(np.full(3, 0.4)), rng.uniform((0, 0, -1), 1)
        shares.append(1 + WIDER * race[2] * male * (1 - old))
    assert widths[1] / widths[0] == pytest.approx(shares[1] / shares[0], abs=0.01)
    assert abs(shares[1] / shares[0] - 1) > 0.02


def test_the_head_has_that_face_and_is_photographed(source):
    head = source.head_shape(1)
    np.testing.assert_array_equal(head[:NUM_FACE_VERTICES], source.shape(1))
    assert source.subject_id(1) == "makehuman-0-000001"
    assert len(source.views(1)) == 1
    assert source.coefficients(1).shape == (100,)


def test_a_folder_without_the_data_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected a folder of MakeHuman's data, got none with 3dobjs/base\.obj"):
        people.open_source("makehuman", directory=ICT, num_subjects=1, makehuman=tmp_path)
