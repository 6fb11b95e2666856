"""What every test shares: quiet libraries, few threads, fixed seeds and the ICT-FaceKit checkout."""

import os

# Read when the libraries are first imported, hence before anything else. With pytest -n each worker takes its share
# of the cores, otherwise every worker's thread pool would take them all. A worker inherits what this file has set in
# the process that starts it, for a single one: it must be set anew.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = str(max(1, (os.cpu_count() or 1) // _WORKERS))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[_pool] = _THREADS

# Whoever has it reconstructs with it: tests ask for it by the fixture `face_landmarker_task`. Worker processes of
# pytest-xdist inherit the environment of the one that starts them, and this file is read in both.
_LANDMARKER = os.environ.pop("FACE_LANDMARKER_TASK", "") or os.environ.get("TFFACE_TESTED_LANDMARKER", "")
os.environ["TFFACE_TESTED_LANDMARKER"] = _LANDMARKER

import gc  # noqa: E402
import pathlib  # noqa: E402
import random  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import Any  # noqa: E402

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# The same examples in every run, and no verdict from the clock of a busy machine.
hypothesis.settings.register_profile("tfface", derandomize=True, deadline=None)
hypothesis.settings.load_profile("tfface")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of tests/serving_conformance_test.py, which also holds for servers that are not this project's."""
    group = parser.getgroup("tfface")
    group.addoption("--server", help="host:port of a server's gRPC to test; the default is the embedded server")
    group.addoption("--rest_server", help="host:port of its REST; without it, the tests of REST are skipped")
    group.addoption("--server_model", default="default", help="the model that it serves, exported by tfface.export")


LONGEST = (
    "multi_worker",
    "training",
    "faults_training",
    "tutorials",
    "faults_commands",
    "serving_lifecycle",
    "ridge",
    "page_browser",
    "encoders",
    "adjusted_rows",
    "pipeline",
    "scans",
    "expression_head",
    "export",
    "evaluate",
    "scans_to_training",
    "point_training",
    "reconstruction_run",
    "registration",
    "precision",
    "makehuman_people",
    "study",
)
"""Files of tests that are begun first: no worker is left with one of them while the others have nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; pytest-xdist keeps the order with --no-loadscope-reorder."""
    place = {f"{name}_test": index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: the garbage collector need not look through it, nor come so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000)  # of 700 to 2000 by default: a TensorFlow graph alone is thousands of objects


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Every test starts from the same global seeds, whatever ran before it in the same process.

    Keras draws the seeds of its layers from Python's. TensorFlow's global seed is left alone: nothing here draws from
    it, and whoever sets it has all that is compiled compiled anew, a fifth of a second for the smallest network.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.fixture(scope="session")
def ict_facekit_dir() -> pathlib.Path:
    """The checkout of ICT-FaceKit that ICT_FACEKIT_DIR names."""
    folder = os.environ.get("ICT_FACEKIT_DIR")
    if not folder:
        pytest.skip("ICT_FACEKIT_DIR is not set: it names a checkout of ICT-FaceKit")
    path = pathlib.Path(folder)
    if not path.is_dir():
        pytest.fail(f"ICT_FACEKIT_DIR: expected a folder, got {folder!r}")
    return path


@pytest.fixture(scope="session")
def face_landmarker_task() -> pathlib.Path:
    """The bundle of MediaPipe's face landmarker that FACE_LANDMARKER_TASK names."""
    pytest.importorskip("mediapipe", reason="the extra mediapipe is not installed")
    if not _LANDMARKER:
        pytest.skip("FACE_LANDMARKER_TASK is not set: it names face_landmarker.task of MediaPipe")
    return pathlib.Path(_LANDMARKER)


@pytest.fixture(scope="module")
def keras_session() -> Iterator[None]:
    """What Keras holds of networks goes when a module ends: not test by test, as looking for it takes time."""
    import keras

    yield
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def small_encoder() -> Iterator[None]:
    """Networks with the encoder vgg16 are built with few channels."""
    import small_vgg  # loads Keras, which many tests do not need

    with small_vgg.in_place_of_vgg16():
        yield


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Chromium that listens to a test."""
    import chromium  # selenium, which few tests need

    if reason := chromium.missing():
        pytest.skip(reason)
    with chromium.running(tmp_path_factory.mktemp("browser")) as running:
        yield running
