"""What may befall a cache of frozen features: kills while it is filled, a folder that nobody may write to.

`docs/faults.md` lists the cases. `make test` kills once; TFFACE_KILLS=10 does so ten times.
"""

import dataclasses
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
from tfface.training.cache_spec import CacheSpec, Origin
from tfface.training.feature_cache import FeatureCache

SUBJECTS, VIEWS, VARIANTS = 60, 2, 2
SPEC = CacheSpec(
    "records", "train", "encoder", SUBJECTS, VIEWS, SUBJECTS * VIEWS, VARIANTS, mirror=False, augment="none", seed=0
)
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
    FeatureCache.build(str(folder), SPEC, Origin(network, "crops", batches, np.ones((SUBJECTS, VIEWS), bool)), model)


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


def test_a_view_that_a_person_lacks_is_neither_computed_nor_kept(tmp_path):
    """The first has no view, every second only one."""
    network, model = _network(), fuzz_models_test.model()
    exists = np.array([[number > 0, number % 2 == 1] for number in range(SUBJECTS)])
    people = [
        {**person, schema.VIEW_MASK.key: np.float32(exists[number : number + 1])}
        for number in range(SUBJECTS)
        for (person,) in _batches(0, (number, number + 1), model.num_vertices)
    ]

    def batches(_: int, part: tuple[int, int]) -> Iterator[list[dict[str, np.ndarray]]]:
        yield from ([person] for person in people[slice(*part)])

    spec, origin = dataclasses.replace(SPEC, photographs=int(exists.sum())), Origin(network, "crops", batches, exists)
    cache = FeatureCache.build(str(tmp_path), spec, origin, model)
    (held,) = (np.load(path) for path in tmp_path.glob(f"*/{schema.FEATURES.key}.npy"))
    crops = np.concatenate([person["crops"] for person in people])
    expected = np.zeros((SUBJECTS, VIEWS, *network.output_shape[1:]), np.float32)
    expected[exists] = network(crops[exists])
    for copy in range(VARIANTS):
        np.testing.assert_allclose(held[:, copy], expected[exists], rtol=2e-3, atol=2e-3)
    (evaluated,) = cache.evaluation(VIEWS, SUBJECTS)
    features, mask = (evaluated[key.key].numpy() for key in (schema.FEATURES, schema.VIEW_MASK))
    np.testing.assert_array_equal(mask.sum(axis=1), exists.sum(axis=1))
    seen = (features * mask[..., None, None, None]).sum(axis=1)
    np.testing.assert_allclose(seen, expected.sum(axis=1), rtol=2e-3, atol=5e-3)  # in order of yaw
    above = keras.Input(network.output_shape[1:])
    of_cache = cache.origin(keras.Model(above, keras.layers.Flatten()(above))).batches(0, (0, SUBJECTS))
    again = np.concatenate([batch[schema.FEATURES.key] for (batch,) in of_cache])
    np.testing.assert_allclose(again, expected, rtol=2e-3, atol=2e-3)
    others = dataclasses.replace(spec, records="others")
    with pytest.raises(ValueError, match="cache: subjects 2 to 2 have other photographs than before"):
        FeatureCache.build(str(tmp_path), others, dataclasses.replace(origin, exists=exists[:, ::-1]), model)
    with pytest.raises(ValueError, match=r"exists: expected 120 photographs of 60 subjects in 2 views, got 89"):
        FeatureCache.build(str(tmp_path), SPEC, origin, model)
