"""What may befall a cache of frozen features: kills while it is filled, a folder that nobody may write to.

`docs/faults.md` lists the cases. `make test` kills once; TFFACE_KILLS=10 does so ten times.
"""

import functools
import pathlib
import signal
from collections.abc import Iterator

import fuzz_models_test
import keras
import killing
import numpy as np
import pytest
import training_process

from tfface import schema
from tfface.training import feature_cache
from tfface.training.feature_cache import CacheSpec, FeatureCache, Origin

SUBJECTS, VIEWS, VARIANTS = 60, 2, 2
SPEC = CacheSpec("records", "train", "encoder", SUBJECTS, VIEWS, VARIANTS, mirror=False, augment="none", seed=0)
STEPS = ("posix_fallocate", "link", "pwrite", "replace")
"""What the filling of a cache does to its files."""


def _batches(variant: int, part: tuple[int, int], vertices: int) -> Iterator[list[dict[str, np.ndarray]]]:
    for subject in range(*part):
        rng = np.random.default_rng([variant, subject])
        of_view = {key: (1, VIEWS, *shape) for key, shape in feature_cache._PER_VIEW.items()}
        shapes = {"crops": (1, VIEWS, 8, 8, 3), schema.VERTICES.key: (1, vertices, 3), **of_view}
        yield [{key: rng.random(shape).astype(np.float32) for key, shape in shapes.items()}]


def _network() -> keras.Model:
    crops = keras.Input((8, 8, 3))
    network = keras.Model(crops, keras.layers.Conv2D(2, 3)(crops))
    network.set_weights([np.random.default_rng(0).normal(size=weight.shape) for weight in network.weights])
    return network


def _fill(folder: pathlib.Path) -> None:
    network, model = _network(), fuzz_models_test.model()
    batches = functools.partial(_batches, vertices=model.num_vertices)
    feature_cache._BATCHES_A_MARK = 2
    FeatureCache.build(str(folder), SPEC, Origin(network, "crops", batches), model)


def _dying(folder: pathlib.Path, number: int) -> None:
    """Fills a cache in a process that a kill ends within so many steps."""
    killing.die_within(number, STEPS)
    _fill(folder)


def _unprivileged(folder: pathlib.Path) -> None:
    killing.without_privileges()
    _fill(folder)


def _ends(work, *given: object) -> int | None:
    process = training_process._SERVER.Process(target=work, args=given)
    process.start()
    process.join(training_process.PATIENCE)
    return process.exitcode


def _content(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("whole")
    _fill(folder)
    return folder


def test_a_killed_cache_goes_on_and_ends_as_if_undisturbed(whole, tmp_path):
    rng, folder = np.random.default_rng(11), tmp_path / "cache"
    for number in range(killing.KILLS):
        within = 5 if number % 5 == 1 else int(rng.integers(15, 60))  # while its files are made; while it is filled
        assert _ends(_dying, folder, within) == -signal.SIGKILL
    _fill(folder)
    assert _content(folder) == _content(whole)


def test_a_whole_cache_is_read_where_nobody_may_write(whole):
    before = {path: path.stat() for path in (whole, *whole.rglob("*"))}
    for path, status in before.items():
        path.chmod(status.st_mode & ~0o222)
    try:
        assert _ends(_unprivileged, whole) == 0
    finally:
        for path, status in before.items():
            path.chmod(status.st_mode)


def test_a_view_that_a_person_lacks_is_not_computed(tmp_path):
    """What the network says of an empty picture, its bias, would stand there otherwise. The first has no view."""
    network, model = _network(), fuzz_models_test.model()
    people = [
        {**person, schema.VIEW_MASK.key: np.float32([[number > 0, number % 2]])}
        for number in range(SUBJECTS)
        for (person,) in _batches(0, (number, number + 1), model.num_vertices)
    ]

    def batches(_: int, part: tuple[int, int]) -> Iterator[list[dict[str, np.ndarray]]]:
        yield from ([person] for person in people[slice(*part)])

    FeatureCache.build(str(tmp_path), SPEC, Origin(network, "crops", batches), model)
    (held,) = (np.load(path) for path in tmp_path.glob(f"*/{schema.FEATURES.key}.npy"))
    mask, crops = (np.concatenate([person[key] for person in people]) for key in (schema.VIEW_MASK.key, "crops"))
    for copy in range(VARIANTS):
        assert not held[:, copy][mask == 0].any()
        np.testing.assert_allclose(held[:, copy][mask > 0], network(crops[mask > 0]), rtol=2e-3, atol=2e-3)
